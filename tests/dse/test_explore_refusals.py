"""The search as a function refuses what the command refuses, in the same words."""

import pytest
import torch
from torch import nn

import dse
from dse import search
from luts import InputError
from tests.dse._searching import TINY, call

SPLITS = {
    name: (torch.rand(32, 1, 5, 5), torch.arange(32) % 3)
    for name in ("train", "validation", "test")
}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trials": 0}, ("--trials", 0)),
        ({"sampler": "nsga9"}, ("--sampler", "nsga9")),
        ({"max_drop": 1.0}, ("--max-drop", 1)),
        ({"multipliers": "mul8s_1XYZ"}, ("--multipliers", "mul8s_1XYZ")),
        ({"max_distinct": 0}, ("--max-distinct", 0)),
        ({"tie": "column"}, ("--tie", "column")),
        (
            {"objective": "accuracy", "max_energy": 1e-4},
            ("--objective", "accuracy", "--max-energy", 1e-4),
        ),
        ({"exact": ("none*",)}, ("--exact", "none*")),
    ],
)
def test_refusals_are_those_of_the_command(settings, words, capsys, tmp_path):
    out = tmp_path / "never"
    command = ("--arch", TINY, "--train-epochs", 1, *words, "--out", out)
    assert call(search, *command) == 2
    said = capsys.readouterr().err.strip().removeprefix("error: ")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(25, 3))
    with pytest.raises(InputError) as refused:
        dse.explore(net, SPLITS, out=out, quiet=True, **settings)
    mine = str(refused.value)
    # What the network itself decides, its energies and the names of its sites, differs.
    assert mine.split(":")[0].split(";")[0] == said.split(":")[0].split(";")[0]
    assert not out.exists()
