"""What studies share: cells that are kept, options, tables with their making."""

import dataclasses
import json
import re

import pandas as pd
import pytest

from luts import InputError
from luts.console import SILENT, Reporter
from luts.settings import read_settings
from studies import _options
from studies._files import together, write_table
from studies._matrix import CellStore, announce, measure_all
from studies._options import (
    STUDIES,
    check_known,
    read_config,
    read_preset_table,
    study_parser,
    study_settings,
)
from studies.emulation_speed._subjects import SpeedStudy
from studies.energy_check._cases import EnergyCheck
from studies.screening.__main__ import ScreeningStudy
from studies.search_overhead.__main__ import OverheadStudy
from studies.trained_weights.__main__ import WeightsStudy


@dataclasses.dataclass(frozen=True)
class Square:
    """A cell that is measured by multiplying."""

    network: str
    seed: int

    @property
    def name(self):
        return f"{self.network}-{self.seed}"


CELLS = [Square(network, seed) for network in ("a", "b") for seed in (0, 1, 2)]


def measured(cell, sha256="ab" * 32):
    return {**dataclasses.asdict(cell), "weights_sha256": sha256, "square": cell.seed**2}


def test_a_kept_cell_is_read_back_and_never_replaced(tmp_path):
    store = CellStore(tmp_path / "results")
    assert not (tmp_path / "results").exists()
    store.keep(CELLS[1], measured(CELLS[1]))
    store.keep(CELLS[1], measured(CELLS[1]) | {"square": 5})
    assert store.has(CELLS[1]) and not store.has(CELLS[0])
    assert store.read(CELLS[1]) == measured(CELLS[1])
    assert CellStore(tmp_path / "results").records() == [measured(CELLS[1])]


def test_only_what_is_wanted_and_not_there_is_missing(tmp_path):
    store = CellStore(tmp_path)
    store.keep(CELLS[0], measured(CELLS[0]))
    assert store.missing(CELLS) == CELLS[1:]
    assert store.missing(CELLS, network=["a"], seed=None) == CELLS[1:3]
    assert store.missing(CELLS, network=None, seed=[0, 2]) == [CELLS[2], CELLS[3], CELLS[5]]
    assert store.missing(CELLS, network=[]) == []


def test_other_weights_of_a_network_are_refused(tmp_path):
    store = CellStore(tmp_path)
    store.keep(CELLS[0], measured(CELLS[0], "a" * 64))
    for known in (store, CellStore(tmp_path)):
        known.check_weights("a", "a" * 64)
        known.check_weights("b", "c" * 64)
        with pytest.raises(InputError, match=r"a-0\.json started from other weights \(aaa"):
            known.check_weights("a", "c" * 64)
        with pytest.raises(InputError, match=r"a-0 \(aaa.* and a-1 \(ccc.* different weights"):
            known.keep(CELLS[1], measured(CELLS[1], "c" * 64))
        assert not known.has(CELLS[1])


def test_folders_that_were_put_together_are_compared(tmp_path):
    for cell, sha256 in ((CELLS[0], "a" * 64), (CELLS[1], "c" * 64)):
        CellStore(tmp_path / cell.name).keep(cell, measured(cell, sha256))
    (tmp_path / "a-1/cells/a-1.json").rename(tmp_path / "a-0/cells/a-1.json")
    with pytest.raises(InputError, match="different weights"):
        CellStore(tmp_path / "a-0")


@pytest.mark.parametrize("text", ["{", "[]", "3", "{}", '{"network": "a"}'])
def test_what_is_not_a_cell_is_named(tmp_path, text):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells/x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json is not a cell of this study .*; move it away"):
        CellStore(tmp_path)


def test_a_stopped_matrix_goes_on_where_it_was(tmp_path):
    store, seen = CellStore(tmp_path), []

    def stopped(cell):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(cell)
        return measured(cell)

    with pytest.raises(KeyboardInterrupt):
        measure_all(store, CELLS, stopped, lambda cell, record: "", SILENT)
    assert store.missing(CELLS) == CELLS[4:]
    seen.clear()
    said = []

    def kept(cell, record):
        assert store.has(cell)
        said.append(record["square"])
        return f"{record['square']}"

    measure_all(CellStore(tmp_path), CELLS, stopped, kept, SILENT)
    assert seen == CELLS[4:]
    assert said == [1, 4]
    assert [record["square"] for record in store.records()] == [0, 1, 4, 0, 1, 4]


def test_progress_and_the_estimate_are_told(tmp_path, capsys):
    store = CellStore(tmp_path)
    announce(CELLS[:2], lambda cell: 1800.0 * cell.seed, Reporter())
    measure_all(store, CELLS[:2], measured, lambda cell, record: "a square", Reporter())
    announce(store.missing(CELLS[:2]), lambda cell: 0.0, Reporter())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "2 cells to measure, about 0.50 hours on this machine as it is now"
    assert lines[1:3] == ["[1/2, 0.00 h] a-0: a square", "[2/2, 0.00 h] a-1: a square"]
    assert lines[3] == "every cell is there already"


def test_a_table_says_what_it_was_made_with(tmp_path):
    table = pd.DataFrame({"name": ["x"], "value": [1 / 3], "count": [7]})
    write_table(tmp_path / "new/table.csv", table, "seed 5", {"a": 1}, digits=3)
    first, *lines = (tmp_path / "new/table.csv").read_text().splitlines()
    assert first.startswith("# commit ") and first.endswith("; seed 5; {'a': 1}")
    assert "torch 2" in first
    assert lines == ["name,value,count", "x,0.333,7"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.csv"]


def test_files_are_written_together_or_not_at_all(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), together(tmp_path) as new:
        new("a").write_text("new")
        new("b").write_text(str(1 / 0))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


def test_studies_take_their_common_options_alike():
    parser = study_parser("recovery", "what", "--images", "--networks", "--seeds", "--quiet")
    options = parser.parse_args(["--seeds", "0", "2", "--networks", "x"])
    assert options.results == STUDIES / "recovery/results"
    assert (options.seeds, options.networks, options.quiet) == ([0, 2], ["x"], False)
    assert parser.prog == "python -m studies.recovery"


def test_unknown_names_are_refused(tmp_path):
    check_known("network", None, ["a"])
    check_known("network", ["a"], {"a": 1})
    with pytest.raises(InputError, match="unknown network 'resnet2'; did you mean resnet20"):
        check_known("network", ["resnet20", "resnet2"], ["resnet20"])
    file = tmp_path / "config.toml"
    file.write_text("[smoke]\na = 1\n")
    assert read_preset_table(file, "smoke") == {"a": 1}
    with pytest.raises(InputError, match="unknown preset 'smok'; did you mean smoke"):
        read_preset_table(file, "smok")
    file.write_text("smoke = 3\n")
    with pytest.raises(InputError, match="preset smoke is a table of settings, not 3"):
        read_preset_table(file, "smoke")
    with pytest.raises(InputError, match="cannot read presets from"):
        read_preset_table(tmp_path / "no.toml", "smoke")


@pytest.mark.parametrize(
    "folder", sorted(STUDIES.glob("*/__init__.py")), ids=lambda p: p.parent.name
)
def test_every_study_is_a_command_of_its_own_name(folder):
    study = folder.parent
    assert (study / "__main__.py").exists()
    readme = (study / "README.md").read_text(encoding="utf-8")
    assert f"python -m studies.{study.name}" in readme
    for command in re.findall(rf"python -m studies\.{study.name}\.(\w+)", readme):
        assert not command.startswith("_") and (study / f"{command}.py").exists()
    assert f'study_parser("{study.name}"' in (study / "__main__.py").read_text(encoding="utf-8")
    if (study / "config.toml").exists():
        assert read_config(study.name)


@pytest.mark.parametrize(
    ("settings", "study"),
    [
        (EnergyCheck, "energy_check"),
        (OverheadStudy, "search_overhead"),
        (ScreeningStudy, "screening"),
        (SpeedStudy, "emulation_speed"),
    ],
)
def test_every_configuration_is_read_strictly(settings, study, monkeypatch):
    assert study_settings(settings, study)
    table = _options.read_config(study)
    known = next(iter(table))
    spoilt = table | {known: None, f"{known}x": 1}
    monkeypatch.setattr(_options, "read_config", lambda name: spoilt)
    with pytest.raises(InputError, match=f"no setting '{known}x': did you mean {known}") as refused:
        study_settings(settings, study)
    assert f"{known} is " in str(refused.value)


def test_every_network_of_trained_weights_has_legal_recipes():
    tables = read_config("trained_weights")
    for table in tables.values():
        study = read_settings(WeightsStudy, table, title="a network")
        assert study.recipe("hard") != study.recipe("dense")
    resnet = read_settings(WeightsStudy, tables["resnet20"], title="a network")
    assert resnet.recipe("dense").weight_decay == resnet.recipe("soft").weight_decay == 1e-3
    assert (resnet.recipe("soft").lr, resnet.recipe("hard").lr) == (0.015, 0.005)
    with pytest.raises(InputError, match="no setting 'epoch': did you mean epochs"):
        read_settings(WeightsStudy, tables["resnet20"] | {"dense": {"epoch": 3}}, title="a network")


def test_committed_cells_are_readable():
    for study, least in (("recovery", 60), ("search_efficiency", 4)):
        store = CellStore(STUDIES / study / "results")
        records = store.records()
        assert len(records) >= least
        assert json.loads(json.dumps(records)) == records
