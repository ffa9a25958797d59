"""Circuits everywhere: which are swept, what is tested of them, and how classes compare."""

import dataclasses
import json
import sys

import pandas as pd
import pytest

import luts
from luts import circuits
from studies.circuit_codesign import __main__ as study
from studies.circuit_codesign import _cells
from studies.circuit_codesign._cells import CUT, NARROW, CodesignStudy, SweepCell, kind_of
from studies.circuit_codesign._table import (
    at_equal_power,
    candidates,
    compared,
    sentences,
    verdict,
)
from tests.models.bars import bars, trained_networks

NETWORKS = {
    "bars": {
        "arch": "resnet20",
        "images": "bars",
        "topologies": ["dense"],
        "weights": __file__,
        "searched": {"mul8s": "bars"},
    }
}


def study_of(multipliers: str) -> CodesignStudy:
    settings = {
        "multipliers": multipliers,
        "operands": "rounded",
        "calibration_images": 96,
        "first_images": 64,
        "seeds": (0,),
    }
    networks = {"bars": _cells.SweptNetwork(**NETWORKS["bars"] | {"topologies": ("dense",)})}
    return CodesignStudy(**settings, networks=networks)


def test_the_committed_study_sweeps_every_circuit_once():
    committed = CodesignStudy.read()
    names = luts.catalog.names(committed.multipliers)
    choices = committed.choices()
    assert {choice.multiplier for choice in choices} == set(names)
    products = set()
    for choice in choices:
        table = choice.arithmetic().table
        products.add(table.tobytes())
    assert len(products) == len(choices)
    # In whichever order a circuit is left out, its mirror image is there.
    for name in names:
        swapped = luts.Arithmetic(luts.catalog[name], swapped=True)
        swapped = dataclasses.replace(swapped, rounded=any(luts.ignored_bits(luts.catalog[name])))
        assert swapped.table.tobytes() in products


def test_narrow_arrays_are_exact_products_of_cut_operands():
    for name in circuits.members():
        multiplier = luts.catalog[name]
        first, second = luts.ignored_bits(multiplier)
        exact = luts.catalog[luts.EXACT].truth_table
        codes = range(256)
        a, b = [c >> first << first for c in codes], [c >> second << second for c in codes]
        is_narrow = (multiplier.truth_table == exact[a][:, b]).all()
        assert kind_of(name) == (NARROW if is_narrow else CUT)


def test_a_network_is_swept_and_compared(tmp_path, monkeypatch, capsys):
    data = bars()
    network = trained_networks(data)["convolutional"]
    monkeypatch.setattr(
        _cells.NamedNetwork, "load", lambda self, images, **how: (network.eval(), data)
    )
    made = study_of("mul8s_1KV8,mul8s_1KVL,mul8s_1L1G,array:a6b6d0,array:a5b5d0,array:a2b4d7")
    monkeypatch.setattr(study.CodesignStudy, "read", lambda: made)
    monkeypatch.setattr(
        sys, "argv", ["x", "--results", str(tmp_path / "r"), "--searched", str(tmp_path)]
    )
    study.main()
    record = json.loads((tmp_path / "r/cells/bars-dense-0.json").read_text())
    swept = {(c["multiplier"], c["swapped"]): c for c in record["circuits"]}
    assert len(swept) == len(made.choices())
    for (name, _), circuit in swept.items():
        relative = luts.catalog[name].power_mw / luts.catalog[luts.EXACT].power_mw
        assert circuit["energy_rel"] == pytest.approx(relative)
        assert circuit["first"]["images"] == 64
        if "test" in circuit:
            assert circuit["test"]["images"] == len(data.test)
            assert circuit["validation"]["images"] == len(data.validation)
    exact = swept["mul8s_1KV8", False]["first"]["accuracy"]
    useful = [c for c in swept.values() if c["first"]["accuracy"] >= exact - 0.08]
    assert 0 < len(useful) < len(swept)
    assert all(c in useful for c in swept.values() if "test" in c)
    cheapest = min(useful, key=lambda c: c["energy_rel"])
    assert "test" in cheapest
    comparison = pd.read_csv(tmp_path / "r/comparison.csv")
    published = comparison[comparison["kind"] == "published"]
    assert (published["energy_ratio"] == 1).all()
    arrays = comparison[comparison["kind"] == "arrays"]
    assert (arrays["energy_ratio"] <= 1).all()
    assert (tmp_path / "r/codesign.png").stat().st_size > 10_000
    assert "best published circuit" in capsys.readouterr().out
    before = (tmp_path / "r/cells/bars-dense-0.json").read_bytes()
    study.main()
    assert (tmp_path / "r/cells/bars-dense-0.json").read_bytes() == before


def circuit(name: str, energy: float, validation: float, test: float, kind: str) -> dict:
    return {
        "multiplier": name,
        "swapped": False,
        "kind": kind,
        "energy_rel": energy,
        "validation": {"accuracy": validation},
        "test": {"accuracy": test},
    }


def test_classes_are_compared_seed_by_seed(tmp_path):
    made = study_of("mul8s_1KV8,mul8s_1L1G")
    records = [
        {
            "network": f"bars-dense-{seed}",
            "data": "bars",
            "topology": "dense",
            "seed": seed,
            "exact_validation": {"accuracy": 0.9},
            "circuits": [
                circuit("mul8s_1KV8", 1.0, 0.9, 0.88, NARROW),
                circuit("mul8s_1L1G", 0.4, 0.895, 0.88, NARROW),
                circuit("array:a3b5d0", 0.2, 0.895 if seed else 0.892, 0.87, NARROW),
                circuit("array:a2b4d7", 0.3, 0.896, 0.89, CUT),
                {"multiplier": "array:a7b7d0", "kind": NARROW},
            ],
        }
        for seed in (0, 1)
    ]
    pd.DataFrame(
        [
            {
                "topology": "dense",
                "seed": 0,
                "kind": kind,
                "multiplier": name,
                "energy_rel": energy,
                "drop_points": 0.9,
                "test_accuracy_pct": 88.0,
            }
            for kind, name, energy in (("searched", "", 0.1), ("fixed", "array:a4b4d0", 0.19))
        ]
    ).to_csv(tmp_path / "bars.csv", index=False)
    table = candidates(made, records, tmp_path)
    assert len(table) == 2 * (1 + 1 + 2 + 2 + 4) + 2 + 2
    found = compared(table).set_index(["drop_points", "kind"])
    row = found.loc[(1.0, "arrays")]
    assert (row["seeds"], row["energy_ratio"]) == (2, pytest.approx((0.475 + 0.5) / 2))
    assert row["matched_energy_ratio"] == pytest.approx((0.75 + 0.5) / 2)
    assert row["test_difference_points"] == pytest.approx((0 - 1) / 2)
    searched = found.loc[(1.0, "searched mul8s")]
    assert (searched["seeds"], searched["energy_ratio"]) == (1, 0.25)
    assert searched["matched_seeds"] == 0
    assert found.loc[(0.5, "searched mul8s"), "seeds"] == 0
    assert any("cut: 0.750 ×" in line for line in sentences(compared(table)))


def test_cut_arrays_stand_beside_narrow_ones_of_their_power():
    rows = [
        ("narrow", "array:a4b4d0", 0.2, 5.0, 80.0),
        ("arrays", "array:a4b4d0", 0.2, 5.0, 80.0),
        ("narrow", "mul8s_1KR3", 0.25, 20.0, 65.0),  # a cheaper one beats it
        ("narrow", "array:a2b2d0", 0.6, 1.0, 90.0),
        ("cut", "array:a3b3d8", 0.3, 4.0, 84.0),
        ("cut", "array:a3b3d8", 0.3, 4.0, 84.0),  # a search tried it too
        ("cut", "array:a1b1d6", 0.5, 2.0, 86.5),
        ("cut", "array:a6b6d9", 0.1, 9.0, 70.0),  # no narrow one is as cheap
    ]
    columns = ["kind", "circuit", "energy_rel", "drop_points", "test_accuracy_pct"]
    table = pd.DataFrame(rows, columns=columns).assign(data="bars", topology="dense", seed=0)
    found = at_equal_power(table).set_index("circuit")
    assert found["narrow_test_accuracy_pct"].tolist() == pytest.approx([82.5, 87.5])
    assert found["difference_points"].tolist() == pytest.approx([1.5, -1.0])
    said = verdict(found.reset_index())
    assert "+0.25 points" in said and "1 of 2 cut arrays are better" in said


def test_a_cell_is_named_after_its_network():
    assert SweepCell("resnet20-cifar10", "hard", 2).name == "resnet20-cifar10-hard-2"
