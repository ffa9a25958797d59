"""Machines that share the cells of the fixed-multiplier matrix through a database."""

import pytest

from dse.study import open_storage
from luts import InputError
from models.training._files import CACHE_VARIABLE
from studies.fixed_multiplier import __main__ as study
from studies.fixed_multiplier import _queue
from studies.fixed_multiplier._plan import read_preset
from studies.fixed_multiplier._queue import Shared
from studies.fixed_multiplier._results import Results, cell_of
from tests.studies.tiny_matrix import TINY, command, record


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "presets.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def join(config, tmp_path, monkeypatch):
    """Makes a process on a machine; all share one database."""
    preset, opened = read_preset("tiny", config), []

    def enter(machine, cells=None):
        monkeypatch.setattr(_queue.platform, "node", lambda: machine)
        results = Results(tmp_path / machine, preset)
        url = f"sqlite:///{tmp_path / 'shared.db'}"
        opened.append(Shared(url, preset, cells or preset.cells(), results))
        return opened[-1]

    yield enter
    for queue in opened:
        queue.close()


@pytest.fixture
def stand_in(monkeypatch):
    """Cells measured without a network; what was measured, in order."""
    measured = []

    def measure(bench, cell):
        measured.append(cell)
        return record(cell, bench.preset)

    monkeypatch.setattr(study.Bench, "measure", measure)
    monkeypatch.setattr(study, "estimated_hours", lambda *a: 0.0)
    return measured


def test_machines_share_cells_through_a_database(config, tmp_path, stand_in, capsys):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    preset = read_preset("tiny", config)
    results = Results(tmp_path / "other", preset)
    other = Shared(url, preset, preset.cells(), results)
    first = other.take()
    assert first == preset.cells()[0]
    flags = ("--preset", "tiny", "--config", config, "--storage", url)
    assert command(*flags, "--results", tmp_path / "mine") == 0
    assert "cells still with other processes: 1;" in capsys.readouterr().err
    assert first not in stand_in
    assert sorted(stand_in, key=str) == sorted(preset.cells()[1:], key=str)
    other.done(first, record(first, preset))
    assert other.take() is None
    assert other.collect() == 24
    other.close()
    assert len(results.records()) == 24
    assert {cell_of(found) for found in results.records()} == set(preset.cells())
    # Who was first gets the last cell by asking again; nobody measures it twice.
    assert command(*flags, "--results", tmp_path / "mine") == 0
    assert "other processes" not in capsys.readouterr().err
    assert len(stand_in) == 23
    assert len(Results(tmp_path / "mine", preset).records()) == 24


def test_a_refusal_lets_go_of_the_database(join, config, monkeypatch):
    join("a").close()
    config.write_text(TINY.replace("test_images = 50", "test_images = 60"))
    opened, preset = [], read_preset("tiny", config)

    def remembered(*arguments, **keywords):
        opened.append(open_storage(*arguments, **keywords))
        return opened[-1]

    monkeypatch.setattr(_queue, "open_storage", remembered)
    url = f"sqlite:///{config.parent / 'shared.db'}"
    with pytest.raises(InputError, match="made with other settings"):
        Shared(url, preset, preset.cells(), Results(config.parent / "b", preset))
    pool = opened[0].engine.pool
    assert pool.checkedin() + pool.checkedout() == 0


def test_no_study_is_made_before_its_images_are_found(config, tmp_path, capsys):
    config.write_text(TINY.replace('"digits"', '"cifar10-images"'))
    database = tmp_path / "shared.db"
    flags = ("--preset", "tiny", "--config", config, "--storage", f"sqlite:///{database}")
    assert command(*flags, "--images", tmp_path / "no.tar.xz", "--results", tmp_path / "r") == 2
    assert "no.tar.xz" in capsys.readouterr().err
    assert not database.exists()


def die(queue):
    """Give no more signs of life, for long; what it took is not given back."""
    queue.close()
    with queue._storage.engine.connect() as connection:
        old = "UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'"
        connection.exec_driver_sql(old)
        connection.commit()
    queue.close()


def test_the_cell_of_a_machine_that_dies_later_is_taken_by_who_is_there(join, config):
    last = read_preset("tiny", config).cells()[-1:]
    dead, heir = join("a", last), join("b", last)
    assert dead.take() == last[0]
    assert heir.take() is None
    die(dead)
    assert heir.take() == last[0]
    assert heir.elsewhere == 0


def test_the_cell_of_a_machine_that_died_is_measured_by_another(config, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    preset = read_preset("tiny", config)
    dead = Shared(url, preset, preset.cells(), Results(tmp_path / "a", preset), beat_seconds=1)
    cell = dead.take()
    die(dead)
    heir = Shared(url, preset, preset.cells(), Results(tmp_path / "b", preset), beat_seconds=1)
    assert heir.take() == cell
    heir.give_back(cell)
    assert heir.take() == cell
    heir.close()


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
    first, second = one.take(), other.take()
    assert first == preset.cells()[0]
    assert second.base != first.base
    for queue, cell in ((one, first), (other, second)):
        queue.done(cell, record(cell, preset))
        for _ in range(5):  # 2 multipliers × 3 recoveries, the retrained ones too
            cell_too = queue.take()
            assert cell_too.base == cell.base
            queue.done(cell_too, record(cell_too, preset))
    # Two float networks are left, and one process takes all of them.
    left = [one.take() for _ in range(12)]
    assert len({cell.base for cell in left}) == 2
    assert {first.base, second.base}.isdisjoint(cell.base for cell in left)
    assert one.take() is None


def test_a_machine_that_starts_again_goes_on_with_its_own_float_network(join, config):
    preset = read_preset("tiny", config)
    one, other = join("a"), join("b")
    cells = {queue: queue.take() for queue in (one, other)}
    for queue, cell in cells.items():
        queue.done(cell, record(cell, preset))
    again = join("b").take()
    # Neither a's, which is first in order, nor one that would have to be trained anew.
    assert again.base == cells[other].base


def test_what_others_are_at_is_taken_when_nothing_else_is_left(join, config):
    preset = read_preset("tiny", config)
    same = [cell for cell in preset.cells() if cell.base == preset.cells()[0].base]
    one, other = join("a", same), join("b", same)
    assert one.take() == same[0]
    assert other.take() == same[1]


def test_who_comes_second_looks_again(join, monkeypatch):
    one, other = join("a"), join("b")
    claim, taken = other._storage.set_trial_state_values, []

    def late(*arguments):
        if not taken:
            taken.append(one.take())
        return claim(*arguments)

    monkeypatch.setattr(other._storage, "set_trial_state_values", late)
    assert other.take().base != taken[0].base


def test_machines_that_started_from_different_weights_are_told(join, config):
    preset = read_preset("tiny", config)
    same = preset.cells()[:2]
    one, other = join("a", same), join("b", same)
    first, second = one.take(), other.take()
    one.done(first, record(first, preset))
    # The network was trained anew, while the first machine was still measuring.
    with pytest.raises(InputError, match="started from other weights"):
        other.check_weights(second, "00" * 32)
    other.check_weights(second, "ab" * 32)
    other.done(second, record(second, preset, weights="00" * 32))
    for queue in (one, other):
        with pytest.raises(InputError, match=f"{first.name} .*{second.name} .*different weights"):
            queue.collect()


def test_a_refusal_at_the_end_closes_the_database(config, tmp_path, stand_in, monkeypatch, capsys):
    measure, closed = study.Bench.measure, []

    def mixed(bench, cell):
        found = measure(bench, cell)
        return found | {"base": found["base"] | {"weights_sha256": f"{len(stand_in):064}"}}

    monkeypatch.setattr(study.Bench, "measure", mixed)
    monkeypatch.setattr(Shared, "close", lambda queue: closed.append(queue._heart.stop()))
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    flags = ("--preset", "tiny", "--config", config, "--storage", url, "--quiet")
    assert command(*flags, "--results", tmp_path / "r") == 2
    assert "different weights" in capsys.readouterr().err
    assert len(closed) == 1
