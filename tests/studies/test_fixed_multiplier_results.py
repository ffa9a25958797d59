"""The results folder of the fixed-multiplier matrix: what is refused, and what is written anew."""

import dataclasses
import json

import pytest

from luts import InputError
from studies.fixed_multiplier import _report, _tables
from studies.fixed_multiplier._plan import HERE, read_preset
from studies.fixed_multiplier._results import _SHAPE, WRITTEN, Results
from tests.studies.tiny_matrix import command, record


def keys(shape, *above):
    """Where values are in a table of tables."""
    for key, inner in shape.items():
        yield (*above, key)
        if isinstance(inner, dict):
            yield from keys(inner, *above, key)


def without(table, key, *below):
    inner = {key: without(table[key], *below)} if below else {}
    return {name: value for name, value in table.items() if name != key} | inner


def cut_to(shape, value):
    if not isinstance(shape, dict) or value is None:
        return value
    return {key: cut_to(inner, value[key]) for key, inner in shape.items()}


@pytest.fixture
def retrained(config):
    """A cell's name, and a record that has everything."""
    preset = read_preset("tiny", config)
    cell = next(cell for cell in preset.cells() if cell.recovery == "retrained")
    full = record(cell, preset) | {"settings": {}}
    return cell.name, full | {"validation": full["test"]}


@pytest.mark.parametrize("key", list(keys(_SHAPE)), ids=".".join)
def test_a_cell_that_lacks_a_key_is_named(key, retrained, tmp_path, config):
    name, full = retrained
    file = tmp_path / f"cells/{name}.json"
    file.parent.mkdir()
    file.write_text(json.dumps(without(full, *key)))
    with pytest.raises(InputError, match=rf"{name}\.json is not a cell of this study .*{key[-1]}"):
        Results(tmp_path, read_preset("tiny", config))


def test_a_cell_that_lacks_nothing_can_be_told_of(retrained, config):
    rows = _tables.matrix([cut_to(_SHAPE, retrained[1])])
    assert len(_tables.summary(rows)) == 1
    assert "1 of 24 cells" in _report.making(rows, read_preset("tiny", config))


def retrained_cells(preset, count):
    return [cell for cell in preset.cells() if cell.recovery == "retrained"][:count]


def test_cells_of_another_recipe_are_refused(tmp_path, config):
    """What settles a recovery beside the preset's settings: its steps and their settings."""
    preset = read_preset("tiny", config)
    results, (one, other) = Results(tmp_path, preset), retrained_cells(preset, 2)
    full = {"tune_weights": "squared", "images": 32}
    results.check_recipe(one, full)
    results.keep(one, record(one, preset) | {"recipe": full})
    less = full | {"tune_weights": "none"}
    with pytest.raises(InputError, match=r"different recipes \(tune_weights\).*--results"):
        Results(tmp_path, preset).check_recipe(other, less)
    Results(tmp_path, preset).check_recipe(other, full)
    # Another recovery of the same network has a recipe of its own.
    Results(tmp_path, preset).check_recipe(dataclasses.replace(other, recovery="none"), {})
    mixed = record(other, preset) | {"recipe": less}
    with pytest.raises(InputError, match="are recovered by different recipes"):
        results.keep(other, mixed)
    # Put there by hand, as cells of several machines are.
    (tmp_path / f"cells/{other.name}.json").write_text(json.dumps(mixed))
    with pytest.raises(InputError, match="are recovered by different recipes"):
        Results(tmp_path, preset)


def test_a_cell_from_before_recipes_were_kept_is_told_by_its_words(tmp_path, config):
    preset = read_preset("tiny", config)
    results, (one, other) = Results(tmp_path, preset), retrained_cells(preset, 2)
    results.keep(one, record(one, preset) | {"how": "BatchNorm statistics of 32 images"})
    results.keep(other, record(other, preset) | {"how": "BatchNorm statistics of 32 images"})
    again = Results(tmp_path, preset)
    with pytest.raises(InputError, match=f"{one.name}.json and {other.name}, which is to be"):
        again.check_recipe(other, {"tune_weights": "squared", "images": 32})


def test_committed_cells_are_not_continued_by_another_recipe():
    preset = read_preset("cifar10-cpu")
    results = Results(HERE / "results/cifar10-cpu", preset)
    cell = next(cell for cell in preset.cells() if cell.recovery == "recalibrated")
    with pytest.raises(InputError, match="different recipes"):
        results.check_recipe(cell, {"tune_weights": "squared", "images": 1000})


@pytest.mark.parametrize(
    "change",
    [
        {"test": None},
        {"test": {"accuracy": "0.5", "cross_entropy": 1.0, "images": 50}},
        {"validation": 3},
        {"note": None},
        {"seconds": True},
        {"settings": []},
    ],
)
def test_a_cell_with_a_value_of_another_type_is_named(change, retrained, tmp_path, config):
    name, full = retrained
    (tmp_path / "cells").mkdir()
    (tmp_path / f"cells/{name}.json").write_text(json.dumps(full | change))
    with pytest.raises(InputError, match=r"is not a cell of this study \(TypeError"):
        Results(tmp_path, read_preset("tiny", config))


def test_a_copy_of_a_cell_does_not_count_twice(tmp_path, config, capsys):
    preset = read_preset("tiny", config)
    cell = preset.cells()[0]
    Results(tmp_path, preset).keep(cell, record(cell, preset))
    file = tmp_path / f"cells/{cell.name}.json"
    file.with_stem(f"{cell.name} (1)").write_bytes(file.read_bytes())
    flags = ("--preset", "tiny", "--config", config, "--results", tmp_path, "--draw")
    assert command(*flags) == 2
    err = capsys.readouterr().err
    assert f"{cell.name} (1).json holds the cell of {cell.name}.json" in err
    assert "move it away" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "matrix.csv").exists()


def test_a_results_folder_that_cannot_be_is_refused_before_any_work(config, tmp_path, capsys):
    file, half, nowhere = tmp_path / "file", tmp_path / "half", tmp_path / "link"
    file.touch()
    half.mkdir()
    (half / "cells").touch()
    nowhere.symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.rglob("*"))
    for results, named in (
        (file, file),
        (file / "a/b", file),
        (half, half / "cells"),
        (nowhere, nowhere),
    ):
        assert command("--preset", "tiny", "--config", config, "--results", results) == 2
        err = capsys.readouterr().err
        assert f"{named} is not a folder; name another with --results" in err
        assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", WRITTEN)
def test_files_of_somebody_else_are_not_written_over(name, config, tmp_path, capsys):
    (tmp_path / name).write_text("mine")
    flags = ("--preset", "tiny", "--config", config, "--results", tmp_path)
    for more in ((), ("--draw",)):
        assert command(*flags, *more) == 2
        assert f"{name} is there without cells" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_results_folder_that_may_not_be_written_is_refused(config, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path} cannot be written to; name another folder"):
        Results(tmp_path / "a/b", read_preset("tiny", config))


@pytest.mark.parametrize(
    "broken",
    [
        "_figures.draw_without",
        "_figures.draw_retrained",
        "_claims.judge",
        "as_markdown",
        "_accuracy.as_markdown",
    ],
)
def test_an_error_in_one_file_leaves_all_the_old_ones(broken, tmp_path, config, monkeypatch):
    preset = read_preset("tiny", config)
    results = Results(tmp_path, preset)
    first, *others = preset.cells()
    results.keep(first, record(first, preset))
    _report.write(results, preset)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert len(before) == len(WRITTEN)
    for cell in others:
        results.keep(cell, record(cell, preset))

    def breaks(*arguments, **named):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(f"studies.fixed_multiplier._report.{broken}", breaks)
        with pytest.raises(ZeroDivisionError):
            _report.write(results, preset)
    after = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before
    assert "24 of 24 cells" in _report.write(results, preset)
    assert all(path.read_bytes() != old for path, old in before.items())
