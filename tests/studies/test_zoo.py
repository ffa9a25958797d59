import dataclasses

import pytest
import torch
from torch import nn

from luts import EXACT
from models import emulate
from studies.zoo import __main__ as study
from studies.zoo import _causes, _measure, causes
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


def test_a_seed_gives_the_same_noise_again():
    torch.manual_seed(0)
    network, x = nn.Sequential(*(nn.Linear(8, 8) for _ in range(12))), torch.randn(6, 8)
    emulated = emulate(network, EXACT, calibration=[x])
    with torch.no_grad():
        one, two, other = (_measure.with_rounding_noise(emulated, seed)(x) for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_an_error_beyond_noise_is_said():
    row = {"coverage": 1.0, "error": 0.5, "noise_error": 0.1, "backward": "ok"}
    assert _measure._short_of(row, ["all"]) == ["errs more than rounding noise does"]


def test_clipping_and_rounding_together_are_what_int8_does():
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)), torch.randn(256, 64)
    x[0, 0] = 40  # beyond the 99.99th percentile
    emulated = emulate(network, EXACT, calibration=[x])
    with torch.no_grad():
        wanted = network(x)
        found = {
            change: _causes.with_operands(emulated, change)(x)
            for change in (_causes.clipped, _causes.rounded, _causes.quantised)
        }
        torch.testing.assert_close(found[_causes.quantised], emulated(x), rtol=1e-4, atol=1e-4)
    off = {change: (y - wanted).abs() for change, y in found.items()}
    assert off[_causes.clipped][0].max() > 10 * off[_causes.rounded][0].max()
    assert off[_causes.clipped][1:].max() < off[_causes.rounded][1:].max()


def test_causes_are_of_the_networks_that_err_more(tmp_path, capsys, monkeypatch):
    cell = ZooCell("own", "one")
    monkeypatch.setattr(ZooStudy, "cells", lambda self: iter([cell, ZooCell("own", "two")]))
    monkeypatch.setattr(_causes, "made", lambda *_: subject(nn.Sequential(nn.Linear(8, 4))))
    census = "network,reason\none,errs more than rounding noise does\ntwo,\n"
    (tmp_path / "census.csv").write_text(census)
    assert call(causes, "--results", tmp_path, "--quiet") == 0
    header, row = (tmp_path / "causes.csv").read_text().splitlines()
    assert header.startswith("network,int8,noise,clipped,rounded") and row.startswith("one,0.0")
    (tmp_path / "census.csv").write_text("network,reason\none,\ntwo,\n")
    assert call(causes, "--results", tmp_path) == 2
    assert "no network of the census errs more" in capsys.readouterr().err


def test_all_networks_of_the_configuration_have_their_own_cell():
    cells = list(ZooStudy.read().cells())
    assert len({cell.name for cell in cells}) == len(cells) > 100
    assert all(dataclasses.asdict(cell).keys() == {"library", "network"} for cell in cells)
