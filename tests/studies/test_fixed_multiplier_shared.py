"""Machines that share the cells of the fixed-multiplier matrix through a database."""

import time

import pytest

from dse.study import Lease, open_storage
from luts import InputError
from models.training._files import CACHE_VARIABLE
from studies.fixed_multiplier import __main__ as study
from studies.fixed_multiplier import _shared
from studies.fixed_multiplier._plan import read_preset
from studies.fixed_multiplier._results import Results, cell_of
from studies.fixed_multiplier._shared import SharedResults
from tests.studies.tiny_matrix import TINY, command, record


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    """Processes give many signs of life, and soon count as dead."""
    monkeypatch.setattr(_shared, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(_shared, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(_shared, "POLL_SECONDS", 0.1)


class Process(SharedResults):
    """A process that measures some of the cells."""

    def __init__(self, url, path, preset, cells=None):
        super().__init__(url, path, preset)
        self.cells = cells or preset.cells()

    def next(self):
        return self.take(self.cells)


@pytest.fixture
def join(config, tmp_path, monkeypatch):
    """Makes a process on a machine; all share one database."""
    preset, opened = read_preset("tiny", config), []

    def enter(machine, cells=None):
        monkeypatch.setattr(_shared.platform, "node", lambda: machine)
        url = f"sqlite:///{tmp_path / 'shared.db'}"
        opened.append(Process(url, tmp_path / machine, preset, cells))
        return opened[-1]

    yield enter
    for process in opened:
        process.close()


@pytest.fixture
def stand_in(monkeypatch):
    """Cells measured without a network; what was measured, in order."""
    measured = []

    def measure(bench, cell):
        measured.append(cell)
        return record(cell, bench.preset)

    monkeypatch.setattr(study.Bench, "measure", measure)
    monkeypatch.setattr(study, "CellSeconds", lambda bench: lambda cell: 0.0)
    return measured


def test_machines_share_cells_through_a_database(config, tmp_path, stand_in, capsys):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    preset = read_preset("tiny", config)
    other = Process(url, tmp_path / "other", preset)
    first = other.next()
    assert first == preset.cells()[0]
    flags = ("--preset", "tiny", "--config", config, "--storage", url)
    assert command(*flags, "--results", tmp_path / "mine") == 0
    assert "cells still with other processes: 1;" in capsys.readouterr().err
    assert first not in stand_in
    assert sorted(stand_in, key=str) == sorted(preset.cells()[1:], key=str)
    other.keep(first, record(first, preset))
    assert other.next() is None
    other.collect()
    other.close()
    records = Results(tmp_path / "other", preset).records()
    assert len(records) == 24
    assert {cell_of(each) for each in records} == set(preset.cells())
    # Who was first gets the last cell by asking again; nobody measures it twice.
    assert command(*flags, "--results", tmp_path / "mine") == 0
    assert "other processes" not in capsys.readouterr().err
    assert len(stand_in) == 23
    assert len(Results(tmp_path / "mine", preset).records()) == 24


def test_a_refusal_lets_go_of_the_database(join, config, tmp_path, monkeypatch):
    join("a").close()
    config.write_text(TINY.replace("test_images = 50", "test_images = 60"))
    opened, preset = [], read_preset("tiny", config)

    def remembered(*arguments, **keywords):
        opened.append(open_storage(*arguments, **keywords))
        return opened[-1]

    monkeypatch.setattr(_shared, "open_storage", remembered)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with pytest.raises(InputError, match="made with other settings"):
        SharedResults(url, tmp_path / "b", preset)
    pool = opened[0].engine.pool
    assert pool.checkedin() + pool.checkedout() == 0


def test_no_study_is_made_before_its_images_are_found(config, tmp_path, capsys):
    config.write_text(TINY.replace('"digits"', '"cifar10-images"'))
    database = tmp_path / "shared.db"
    flags = ("--preset", "tiny", "--config", config, "--storage", f"sqlite:///{database}")
    assert command(*flags, "--images", tmp_path / "no.tar.xz", "--results", tmp_path / "r") == 2
    assert "no.tar.xz" in capsys.readouterr().err
    assert not database.exists()


def test_the_cell_of_a_machine_that_dies_later_is_taken_by_who_is_there(join, config):
    last = read_preset("tiny", config).cells()[-1:]
    dead, heir = join("a", last), join("b", last)
    assert dead.next() == last[0]
    assert heir.next() is None
    dead.close()
    assert heir.next() == last[0]
    assert not heir.elsewhere


def test_the_cell_of_a_machine_that_died_is_measured_by_another(join, config):
    last = read_preset("tiny", config).cells()[-1:]
    dead = join("a", last)
    cell = dead.next()
    dead.close()
    heir = join("b", last)
    assert heir.elsewhere == {cell}
    assert heir.next() == cell
    heir.give_back(cell)
    assert heir.next() == cell


def test_who_measures_keeps_the_cell_from_others(join, config, monkeypatch):
    last = read_preset("tiny", config).cells()[-1:]
    one, other = join("a", last), join("b", last)
    assert one.next() == last[0]
    started = time.monotonic()
    assert other.next() is None
    assert time.monotonic() - started > _shared.PATIENCE_SECONDS
    one.keep(last[0], record(last[0], one.preset))
    started = time.monotonic()
    assert other.next() is None
    assert time.monotonic() - started < _shared.PATIENCE_SECONDS


def test_a_database_of_other_settings_is_refused(config, tmp_path, stand_in, capsys):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    flags = ("--preset", "tiny", "--storage", url, "--results", tmp_path / "r")
    assert command(*flags, "--config", config, "--quiet") == 0
    config.write_text(TINY.replace("retrain_epochs = 0.25", "retrain_epochs = 0.5"))
    assert command(*flags[:-1], tmp_path / "r2", "--config", config) == 2
    assert "made with other settings" in capsys.readouterr().err


def test_a_process_stays_with_its_float_network_and_out_of_those_of_others(join, config):
    preset = read_preset("tiny", config)
    one, other = join("a"), join("b")
    first, second = one.next(), other.next()
    assert first == preset.cells()[0]
    assert second.network != first.network
    for queue, cell in ((one, first), (other, second)):
        queue.keep(cell, record(cell, preset))
        for _ in range(5):  # 2 multipliers × 3 recoveries, the retrained ones too
            cell_too = queue.next()
            assert cell_too.network == cell.network
            queue.keep(cell_too, record(cell_too, preset))
    # Two float networks are left, and one process takes all of them.
    left = [one.next() for _ in range(12)]
    assert len({cell.network for cell in left}) == 2
    assert {first.network, second.network}.isdisjoint(cell.network for cell in left)
    assert one.next() is None


def test_a_machine_that_starts_again_goes_on_with_its_own_float_network(join, config):
    preset = read_preset("tiny", config)
    one, other = join("a"), join("b")
    cells = {queue: queue.next() for queue in (one, other)}
    for queue, cell in cells.items():
        queue.keep(cell, record(cell, preset))
    again = join("b").next()
    # Neither a's, which is first in order, nor one that would have to be trained anew.
    assert again.network == cells[other].network


def test_what_others_are_at_is_taken_when_nothing_else_is_left(join, config):
    preset = read_preset("tiny", config)
    same = [cell for cell in preset.cells() if cell.network == preset.cells()[0].network]
    one, other = join("a", same), join("b", same)
    assert one.next() == same[0]
    assert other.next() == same[1]


def test_who_comes_second_looks_again(join, monkeypatch):
    one, other = join("a"), join("b")
    claim, taken = Lease.take, []

    def late(lease, patience):
        if not taken:
            taken.append(None)
            taken[0] = one.next()
        return claim(lease, patience)

    monkeypatch.setattr(Lease, "take", late)
    assert other.next().network != taken[0].network


def test_a_cell_that_was_measured_meanwhile_is_not_taken(join, config, monkeypatch):
    last = read_preset("tiny", config).cells()[-1:]
    one, other = join("a", last), join("b", last)
    claim, kept = Lease.take, []

    def late(lease, patience):
        if not kept:
            kept.append(None)
            cell = one.next()
            one.keep(cell, record(cell, one.preset))
        return claim(lease, patience)

    monkeypatch.setattr(Lease, "take", late)
    assert other.next() is None
    assert not other.elsewhere


def test_machines_that_started_from_different_weights_are_told(join, config):
    preset = read_preset("tiny", config)
    same = preset.cells()[:2]
    one, other = join("a", same), join("b", same)
    first, second = one.next(), other.next()
    one.keep(first, record(first, preset))
    # The network was trained anew, while the first machine was still measuring.
    with pytest.raises(InputError, match="started from other weights"):
        other.check_weights(second.network, "00" * 32)
    other.check_weights(second.network, "ab" * 32)
    with pytest.raises(InputError, match="different weights"):
        other.keep(second, record(second, preset, weights="00" * 32))


def test_machines_that_measured_with_different_weights_at_once_are_told(join, config):
    preset = read_preset("tiny", config)
    same = preset.cells()[:2]
    one, other = join("a", same), join("b", same)
    first, second = one.next(), other.next()
    one.keep(first, record(first, preset))
    other.keep(second, record(second, preset, weights="00" * 32))
    for process in (one, other):
        with pytest.raises(InputError, match="different weights") as refusal:
            process.collect()
        assert {first.name, second.name} <= set(str(refusal.value).split())


def test_a_refusal_at_the_end_closes_the_database(config, tmp_path, stand_in, monkeypatch, capsys):
    measure, closed = study.Bench.measure, []

    def mixed(bench, cell):
        found = measure(bench, cell)
        return found | {"base": found["base"] | {"weights_sha256": f"{len(stand_in):064}"}}

    monkeypatch.setattr(study.Bench, "measure", mixed)
    monkeypatch.setattr(
        SharedResults, "close", lambda results: closed.append(results._heartbeat.stop())
    )
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    flags = ("--preset", "tiny", "--config", config, "--storage", url, "--quiet")
    assert command(*flags, "--results", tmp_path / "r") == 2
    assert "different weights" in capsys.readouterr().err
    assert len(closed) == 1
