"""The fixed-multiplier matrix: its machinery on a tiny preset; its figures are its results."""

import io
import json

import pandas as pd
import pytest

from luts import InputError
from models.training._files import CACHE_VARIABLE
from studies.fixed_multiplier import __main__ as study
from studies.fixed_multiplier import _accuracy, _report, _tables
from studies.fixed_multiplier._plan import HERE, FixedCell, read_preset
from studies.fixed_multiplier._results import Results
from tests.studies.tiny_matrix import TINY, command, record


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory):
    """All runs of this module share one trained network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def states(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, one_cache):
    folder = tmp_path_factory.mktemp("study")
    (folder / "presets.toml").write_text(TINY)
    flags = ("--preset", "tiny", "--config", folder / "presets.toml", "--quiet")
    assert command(*flags, "--results", folder / "results") == 0
    return folder


def test_precision_counts_as_a_setting_only_where_it_is_not_the_usual_one(config):
    usual = read_preset("tiny", config)
    assert "precision" not in usual.settings(usual.cells()[0])
    config.write_text(TINY + 'precision = "bfloat16"\n')
    low = read_preset("tiny", config)
    assert low.settings(low.cells()[0])["precision"] == "bfloat16"
    assert low.networks[0].recipe().precision == "bfloat16"
    config.write_text(TINY + 'precision = "int3"\n')
    with pytest.raises(InputError, match=r"unknown networks\[0\].precision 'int3'"):
        read_preset("tiny", config)


def test_retraining_takes_the_networks_precision(config, tmp_path):
    cell = ("--part", "1/4", "--quiet")
    config.write_text(TINY + 'precision = "bfloat16"\n')
    folder = tmp_path / "results"
    assert command("--preset", "tiny", "--config", config, *cell, "--results", folder) == 0
    rows = pd.read_csv(folder / "matrix.csv")
    retrained = rows[rows["recovery"] == "retrained"]
    assert retrained["how"].str.endswith("straight-through gradient in bfloat16").all()
    assert len(retrained) > 0


def test_every_cell_is_measured_and_says_how(finished):
    rows = pd.read_csv(finished / "results/matrix.csv")
    assert len(rows) == 2 * 2 * 2 * 3
    assert not rows.duplicated(["topology", "multiplier", "recovery", "seed"]).any()
    exact = rows[rows["multiplier"] == "mul8s_1KV8"]
    assert (exact["drop_points"] == 0).all()
    assert exact["energy_rel"].tolist() == pytest.approx([1.0] * len(exact), abs=0.01)
    cheap = rows[rows["multiplier"] == "mul8s_1L1G"]
    assert cheap["energy_rel"].tolist() == pytest.approx([0.2965] * len(cheap), abs=0.01)
    assert set(rows["test_images"]) == {50}
    assert (rows["seconds"] > 0).all()
    for column in ("commit", "device", "base_epochs", "float_weights_sha256"):
        assert rows[column].notna().all()
    how = rows.set_index("recovery")["how"]
    assert set(how["none"]) == {"as approximated"}
    assert set(how["recalibrated"]) == {
        "tuned weight codes, BatchNorm statistics of 32 training images"
    }
    assert how["retrained"].str.contains("0.25 epochs of sgd").all()
    assert rows["retrain_epochs"].notna().tolist() == (rows["recovery"] == "retrained").tolist()
    # One float network a topology and seed.
    assert rows.groupby(["topology", "seed"])["float_weights_sha256"].nunique().eq(1).all()
    assert rows["float_weights_sha256"].nunique() == 4


def test_figures_claims_and_summary_are_written(finished):
    results = finished / "results"
    for name in ("without-retraining.png", "after-retraining.png"):
        assert (results / name).stat().st_size > 20_000
    claims = (results / "claims.md").read_text()
    assert claims.count("**not measured here**") == 6
    table = pd.read_csv(results / "summary.csv")
    assert set(table["seeds"]) == {2}
    assert table["accuracy_half_width"].notna().all()
    assert not list(results.rglob("*.part"))
    assert "/tmp" not in claims
    for path in (results / "cells").glob("*.json"):
        assert str(finished) not in path.read_text()


def test_a_finished_run_measures_nothing_again(finished, monkeypatch):
    before = states(finished / "results/cells")
    monkeypatch.setattr(study.Bench, "measure", lambda *a: pytest.fail("measured again"))
    flags = ("--preset", "tiny", "--config", finished / "presets.toml", "--quiet")
    assert command(*flags, "--results", finished / "results") == 0
    assert command(*flags, "--results", finished / "results", "--draw") == 0
    assert states(finished / "results/cells") == before


def test_what_needs_no_training_can_be_measured_alone(config, tmp_path, capsys):
    folder = tmp_path / "results"
    flags = ("--preset", "tiny", "--config", config, "--results", folder, "--part", "1/4")
    assert command(*flags, "--recovery", "none", "recalibrated") == 0
    rows = pd.read_csv(folder / "matrix.csv")
    assert sorted(rows["recovery"]) == ["none", "none", "recalibrated", "recalibrated"]
    assert "4 of 24 cells" in capsys.readouterr().out
    assert command(*flags, "--recovery", "retrained") == 0
    assert len(pd.read_csv(folder / "matrix.csv")) == 6


def test_a_stopped_run_goes_on_and_repeats_its_figures(finished, config, tmp_path, monkeypatch):
    measured, measure = [], study.Bench.measure

    def interrupted(bench, cell):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(cell)
        return measure(bench, cell)

    flags = ("--preset", "tiny", "--config", config, "--results", tmp_path / "results")
    monkeypatch.setattr(study.Bench, "measure", interrupted)
    assert command(*flags, "--part", "1/4") == 130
    assert len(list((tmp_path / "results/cells").iterdir())) == 3
    monkeypatch.undo()
    assert command(*flags, "--part", "1/4", "--quiet") == 0
    names = {path.name for path in (tmp_path / "results/cells").iterdir()}
    assert len(names) == 6
    for name in names:
        mine, theirs = (
            json.loads((folder / "results/cells" / name).read_text())
            for folder in (tmp_path, finished)
        )
        for key in ("cell", "settings", "test", "validation", "energy_rel"):
            assert mine[key] == theirs[key], name


def test_bad_arguments_are_one_line(config, tmp_path, capsys):
    tiny = ("--preset", "tiny", "--config", config, "--results", tmp_path / "r")
    images = TINY.replace('"digits"', '"cifar10-images"')
    (tmp_path / "images.toml").write_text(images)
    nowhere = (*tiny[:2], "--config", tmp_path / "images.toml", *tiny[4:])
    for arguments, message in (
        (("--preset", "smok"), "did you mean smoke"),
        ((*tiny, "--part", "3/2"), "--part is I/N"),
        ((*tiny, "--part", "a"), "--part is I/N"),
        ((*tiny, "--device", "gpu"), "--device gpu cannot be used"),
        ((*tiny, "--draw"), "holds no cell"),
        ((*nowhere, "--images", tmp_path / "no.tar.xz"), "no.tar.xz: name a folder"),
        ((*tiny, "--storage", "here"), "is not a database URL"),
    ):
        assert command(*arguments) == 2, arguments
        err = capsys.readouterr().err
        assert message in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_results_of_another_configuration_are_not_touched(finished, config, tmp_path, capsys):
    results = finished / "results"
    before = states(results)
    for change, message in (
        (("retrain_epochs = 0.25", "retrain_epochs = 0.5"), "with retrain_epochs 0.25, not 0.5"),
        (("test_images = 50", "test_images = 60"), "with test_images 50, not 60"),
        (('dataset = "digits"', 'dataset = "cifar10"'), "does not have"),
        (("tiny", "other"), "results of preset tiny, not of other"),
    ):
        config.write_text(TINY.replace(*change))
        name = "other" if change[1] == "other" else "tiny"
        assert command("--preset", name, "--config", config, "--results", results) == 2
        err = capsys.readouterr().err
        assert message in err
        assert "--results" in err
    assert states(results) == before


def test_more_seeds_extend_a_folder(finished, config):
    config.write_text(TINY.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"))
    Results(finished / "results", read_preset("tiny", config))


def test_a_damaged_cell_is_named(tmp_path, config):
    preset = read_preset("tiny", config)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells/x.json").write_text("{")
    with pytest.raises(InputError, match=r"x\.json is not a cell"):
        Results(tmp_path, preset)


def test_other_float_weights_are_refused(tmp_path, config):
    preset = read_preset("tiny", config)
    results = Results(tmp_path, preset)
    cell, sibling = preset.cells()[:2]
    results.keep(cell, record(cell, preset))
    results.check_weights(sibling.network, "ab" * 32)
    with pytest.raises(InputError, match="started from other weights"):
        results.check_weights(sibling.network, "cd" * 32)


def test_a_kept_cell_is_never_replaced(tmp_path, config):
    preset = read_preset("tiny", config)
    results = Results(tmp_path, preset)
    cell = preset.cells()[0]
    results.keep(cell, record(cell, preset))
    results.keep(cell, record(cell, preset) | {"seconds": 2.0})
    assert results.read(cell)["seconds"] == 1.0


def test_cells_of_one_float_network_with_different_weights_are_refused(tmp_path, config):
    preset = read_preset("tiny", config)
    cell, sibling = preset.cells()[:2]
    results = Results(tmp_path / "a", preset)
    results.keep(cell, record(cell, preset))
    both = rf"{cell.name} \(abab.*{sibling.name} \(0000.* different weights"
    with pytest.raises(InputError, match=both):
        results.keep(sibling, record(sibling, preset, weights="00" * 32))
    assert not results.has(sibling)
    # Folders of several machines, put together.
    other = Results(tmp_path / "b", preset)
    other.keep(sibling, record(sibling, preset, weights="00" * 32))
    for path in (tmp_path / "b/cells").iterdir():
        path.rename(tmp_path / "a/cells" / path.name)
    with pytest.raises(InputError, match="different weights"):
        Results(tmp_path / "a", preset)


@pytest.mark.parametrize("folder", sorted((HERE / "results").glob("*")), ids=lambda path: path.name)
def test_committed_tables_and_claims_are_of_the_committed_cells(folder):
    preset = read_preset(folder.name)
    rows = _tables.matrix(Results(folder, preset).records())
    for name, table in (("matrix.csv", rows), ("summary.csv", _tables.summary(rows))):
        again = io.StringIO(table.to_csv(index=False, float_format="%.6g"))
        pd.testing.assert_frame_equal(pd.read_csv(folder / name), pd.read_csv(again))
    caption = _report.making(rows, preset)
    claims, _ = _report.page_of(rows, preset, caption)
    assert (folder / "claims.md").read_text(encoding="utf-8") == claims
    accuracy = _accuracy.as_markdown(_tables.summary(rows), preset.name, caption)
    assert (folder / "accuracy.md").read_text(encoding="utf-8") == accuracy


def test_a_cell_is_named_by_all_its_parts():
    cell = FixedCell("vit_small", "tiny-imagenet", "hard", "v2022/mul8s_1L2J", "none", 2)
    assert cell.name == "vit_small-tiny-imagenet-hard-v2022_mul8s_1L2J-none-2"
