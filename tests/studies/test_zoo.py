import dataclasses

import pytest
import torch
from torch import nn

from luts import EXACT
from models import emulate
from studies.zoo import __main__ as study
from studies.zoo import _measure
from studies.zoo._networks import Subject, ZooCell, ZooStudy
from tests.dse._searching import call

NETWORKS = ("gpt2", "mixtral")


class TwoLayers(nn.Module):
    """Half of its products are no site."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        y = torch.relu(self.first(x))
        return torch.cdist(y, self.second.weight)


def subject(network):
    torch.manual_seed(0)
    return Subject(network.eval(), torch.randn(6, 8), "own")


def test_rows_are_measured_once_and_kept(tmp_path, capsys):
    pytest.importorskip("transformers", minversion="5")
    arguments = ["--networks", *NETWORKS, "--results", str(tmp_path), "--quiet"]
    assert call(study, *arguments) == 0
    first = {file.name: file.read_text() for file in (tmp_path / "cells").iterdir()}
    assert set(first) == {f"transformers-{name}.json" for name in NETWORKS}
    assert "2 of 2 networks are emulated" in capsys.readouterr().out
    table = (tmp_path / "census.csv").read_text()
    assert call(study, *arguments) == 0
    assert first == {file.name: file.read_text() for file in (tmp_path / "cells").iterdir()}
    assert (tmp_path / "census.csv").read_text() == table


def test_a_network_that_fails_has_a_row_with_the_reason(monkeypatch):
    def broken(*_):
        raise ValueError("no such\nthing")

    monkeypatch.setattr(_measure, "made", broken)
    row = _measure.measure(ZooStudy.read(), ZooCell("timm", "gone"))
    assert row["reason"] == "ValueError: no such thing" and "coverage" not in row
    assert study.answer([row])[0].startswith("0 of 1 networks")


def test_what_is_no_site_is_the_reason(monkeypatch):
    monkeypatch.setattr(_measure, "made", lambda *_: subject(TwoLayers()))
    row = _measure.measure(ZooStudy.read(), ZooCell("own", "two"))
    assert row["coverage"] == pytest.approx(0.5)
    assert "50.0% of the multiply-accumulates" in row["reason"] and "TwoLayers" in row["reason"]


def test_noise_is_as_large_as_rounding():
    torch.manual_seed(0)
    layer, x = nn.Linear(256, 128, bias=False), torch.randn(512, 256)
    emulated = emulate(nn.Sequential(layer), EXACT, calibration=[x], method="max")
    noisy = _measure.with_rounding_noise(emulated, seed=0)
    with torch.no_grad():
        wanted = layer(x)
        rounded, noise = emulated(x) - wanted, noisy(x) - wanted
    assert noise.std() == pytest.approx(float(rounded.std()), rel=0.05)
    assert torch.equal(emulated.layer("0").weight, layer.weight)


def test_an_error_beyond_noise_is_said():
    row = {"coverage": 1.0, "error": 0.5, "noise_error": 0.1, "backward": "ok"}
    assert _measure._short_of(row, ["all"]) == ["errs more than rounding noise does"]


def test_all_networks_of_the_configuration_have_their_own_cell():
    cells = list(ZooStudy.read().cells())
    assert len({cell.name for cell in cells}) == len(cells) > 100
    assert all(dataclasses.asdict(cell).keys() == {"library", "network"} for cell in cells)
