"""Several processes of one machine score; any of them may be killed."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from dse.problem import Outcome, Pending
from dse.scoring import WorkerPool
from luts import InputError
from models import Score
from tests.dse._stand_in import open_study, score, seeded


def _make(folder: Path):
    """Called in every worker."""
    return functools.partial(_score, folder)


def _score(folder: Path, pending: Pending) -> Outcome:
    with contextlib.suppress(FileNotFoundError):
        (folder / "killer").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"{os.getpid()}").touch()
    time.sleep(0.02)
    loss = len(pending.assignment.digest) / 100
    return Outcome(Score(0.9, loss, 100), "bias-corrected", 0.02)


@pytest.fixture
def pool(tmp_path):
    made = WorkerPool(functools.partial(_make, tmp_path), 2)
    yield made
    made.close()


def test_a_worker_killed_in_mid_trial_loses_and_doubles_nothing(pool, tmp_path):
    study = open_study(tmp_path / "s.db", "random")
    seeded(study)
    (tmp_path / "killer").touch()
    told = []
    while study.complete < 12:
        while len(pool.busy) < pool.size and study.open < 12:
            pending = study.ask()
            pool.submit(pending)
        for pending, _ in pool.wait():
            told.append(pending.number)
            study.tell(pending, score(pending))
    assert not (tmp_path / "killer").exists()
    assert sorted(told) == list(range(12))
    assert [t.number for t in study.trials()] == list(range(12))


def test_a_trial_that_kills_every_worker_ends_the_search(tmp_path):
    pool = WorkerPool(functools.partial(_make_deadly, tmp_path), 1)
    study = open_study(tmp_path / "s.db", "random")
    pending = study.ask()
    pool.submit(pending)
    with pytest.raises(InputError, match="died 3 times while scoring trial 0"):
        pool.wait()
    study.give_back(pending)
    assert study.ask().number == 0
    pool.close()


def _make_deadly(folder: Path):
    return _die


def _die(pending: Pending) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_the_server_of_workers_may_be_killed(pool, tmp_path):
    study = open_study(tmp_path / "s.db", "random")
    pool.submit(study.ask())
    assert len(pool.wait()) == 1
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    pool.submit(study.ask())
    pool.submit(study.ask())
    numbers = [pending.number for pending, _ in pool.wait()]
    while pool.busy:
        numbers += [pending.number for pending, _ in pool.wait()]
    assert sorted(numbers) == [1, 2]


ORPHANS = """
import functools, pathlib, sys
from dse.scoring import WorkerPool
from tests.dse.test_worker_pool import _make_sleeper
from tests.dse._stand_in import open_study

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    pool = WorkerPool(functools.partial(_make_sleeper, folder), 2)
    study = open_study(folder / "s.db", "random")
    pool.submit(study.ask())
    pool.submit(study.ask())
    pool.wait()
"""


def _make_sleeper(folder: Path):
    return functools.partial(_sleep, folder)


def _sleep(folder: Path, pending: Pending) -> Outcome:
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)
    raise AssertionError


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_with_the_process_that_made_them(tmp_path):
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    there = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen([sys.executable, script, tmp_path], env=there)
    until = time.monotonic() + 60
    while len(pids := [int(f.stem) for f in tmp_path.glob("*.pid")]) < 2:
        assert parent.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    assert all(map(_is_alive, pids))
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while any(map(_is_alive, pids)):
        assert time.monotonic() < until
        time.sleep(0.1)
