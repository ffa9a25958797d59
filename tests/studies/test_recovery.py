"""The recovery study's bookkeeping; its figures are its results."""

import pandas as pd
import pytest

from luts import InputError
from studies._matrix import CellStore
from studies._options import check_known
from studies.recovery import _report
from studies.recovery._cells import RecoveryCell, RecoveryStudy


def test_the_committed_configuration_is_legal():
    config = RecoveryStudy.read()
    cells = list(config.cells())
    assert len(set(cells)) == len(cells)
    assert {cell.seed for cell in cells} == {0, 1}
    free = [c for c in cells if c.recipe == "free" and c.network == "resnet20-dense"]
    assert len(free) == 7 * 2
    tried = {cell.network for cell in cells if cell.recipe == "distilled"}
    assert tried == {"resnet20-dense"} and config.on["distilled"] == ("resnet20-dense",)
    assert config.recipes["free"].images == 1000
    for name, recipe in config.recipes.items():
        if recipe.fine_tuning is not None:
            assert recipe.fine_tuning.training.epochs >= 0.25, name
    digits = config.recipe("slope-2d", "vit_small-hard").fine_tuning
    assert (digits.training.epochs, digits.training.border) == (4.0, "zeros")
    assert digits.gradient == "slope-2d"
    assert config.recipe("slope-2d", "resnet20-hard") == config.recipes["slope-2d"]
    assert config.recipe("free", "vit_small-hard") == config.recipes["free"]
    with pytest.raises(InputError, match="unknown recipe 'fre'"):
        check_known("recipe", ["fre"], config.recipes)


def score(accuracy):
    return {"accuracy": accuracy, "cross_entropy": 1.0, "images": 100}


def cell(seed, after):
    step = {"seconds": 2.0, "note": "", "skipped": False}
    return {
        "network": "resnet20-dense",
        "multiplier": "mul8s_1L1G",
        "recipe": "free",
        "seed": seed,
        "weights_sha256": "ab" * 32,
        "epoch_seconds": 80.0,
        "exact": score(0.8),
        "steps": [
            {**step, "name": "recalibrate", "before": score(0.1), "after": score(0.4)},
            {**step, "name": "tune weights", "before": score(0.4), "after": score(after)},
        ],
    }


def test_report_adds_up(tmp_path):
    store = CellStore(tmp_path)
    for seed, after, commit in ((0, 0.66, "abc"), (1, 0.73, "abc+changes")):
        record = cell(seed, after) | {"making": {"commit": commit}}
        store.keep(RecoveryCell("resnet20-dense", "mul8s_1L1G", "free", seed), record)
    found = _report.write(store)
    row = found.iloc[0]
    assert row["recovered"] == pytest.approx(69.5)
    assert row["spread"] == pytest.approx(7.0)
    assert row["regained_pct"] == pytest.approx(85.0)
    assert (row["runs"], row["clean_runs"]) == (2, 1)
    assert row["seconds"] == 4.0
    assert row["pct_of_epoch"] == pytest.approx(5.0)
    ladder = pd.read_csv(tmp_path / "ladder.csv")
    assert list(ladder["regained"]) == pytest.approx([3 / 7, 0.8, 3 / 7, 0.9], abs=1e-5)
    assert (tmp_path / "ladder.png").stat().st_size > 5_000
    # Arrays are in the matrix too; the dearest circuit comes first.
    name = "array:a3b5d0"
    array = cell(0, 0.6) | {"multiplier": name}
    store.keep(RecoveryCell("resnet20-dense", name, "free", 0), array)
    assert _report.write(store)["multiplier"].tolist() == ["mul8s_1L1G", name]
    store.keep(RecoveryCell("resnet20-dense", "mul8s_1L1G", "free", 2), cell(2, 0.66))
    assert _report.write(store).iloc[0]["clean_runs"] == 1  # one does not say
