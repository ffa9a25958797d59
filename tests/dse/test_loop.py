"""The loop of a search among other processes, on a cheap stand-in for scoring."""

import contextlib
import gc
import time
import types

import pytest
import sqlalchemy

from dse.problem import Outcome
from dse.scoring import ThisProcess
from dse.study import _loop, run_trials
from dse.study._study import _quiet
from models import Score
from tests.dse._stand_in import SITES, open_study, problem_of, run_to, score, seeded


def work(study, total):
    """The loop until its end."""
    worker = ThisProcess(lambda pending: Outcome(Score(0.9, 0.1, 100), "bias-corrected", 0.0))
    run_trials(study, worker, total, lambda *_, **__: None)


@pytest.fixture
def two(tmp_path):
    """Two processes' views of a study with two assignments to propose."""
    problem = problem_of(SITES[:2], ["mul8s_1KV8", "mul8s_1L1G"])
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with contextlib.ExitStack() as stack:
        made = [open_study(url, "uniform", problem=problem, beat_seconds=60) for _ in range(2)]
        for study in made:
            stack.callback(study.close)
        yield made


@pytest.mark.parametrize("by_user", [False, True])
def test_the_collector_passes_over_what_was_there_before(two, monkeypatch, by_user):
    frozen = []
    monkeypatch.setattr(gc, "get_freeze_count", lambda: int(by_user))
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("freeze"))
    monkeypatch.setattr(gc, "unfreeze", lambda: frozen.append("unfreeze"))
    work(two[0], 2)
    assert frozen == ([] if by_user else ["freeze", "unfreeze"])


def age_beats(study):
    """As if all signs of life were old."""
    with study._rdb.engine.begin() as connection:
        long_ago = "UPDATE trial_heartbeats SET heartbeat = '2001-01-01 00:00:00'"
        connection.execute(sqlalchemy.text(long_ago))


def take(study):
    """Ask as a process does that dies, or is slow, before the first sign of life."""
    with _quiet():
        study._study.ask()


def asleep(study, monkeypatch, once):
    """Call ``once`` while the loop waits for the first time; it may not wait for ever."""
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 1:
            once()
        assert len(waits) < 5, "the loop waits for nothing"

    monkeypatch.setattr(
        _loop, "time", types.SimpleNamespace(sleep=sleep, process_time=time.process_time)
    )
    return waits


def test_an_exhausted_sampler_leaves_no_trial_of_a_dead_process(two, monkeypatch):
    study, other = two
    lost = other.ask()

    def die():
        other.close()
        age_beats(study)

    waits = asleep(study, monkeypatch, die)
    work(study, 4)
    assert len(waits) == 1
    assert lost.assignment in [t.assignment for t in study.trials()]
    assert study.complete == 2
    assert study.open == 2


def test_an_exhausted_sampler_waits_for_the_trials_of_others(two, monkeypatch):
    study, other = two
    pending = other.ask()
    waits = asleep(study, monkeypatch, lambda: other.give_back(pending))
    work(study, 4)
    assert len(waits) == 1
    assert pending.number in [t.number for t in study.trials()]


@pytest.mark.parametrize("again", ["given back", "requeued"])
def test_a_trial_just_taken_from_the_queue_is_not_dead(two, again):
    study, other = two
    pending = study.ask()
    age_beats(study)
    if again == "given back":
        study.give_back(pending)
    else:
        assert other.requeue_dead() == 1
    age_beats(study)  # it may wait for long
    take(study)  # and its first sign of life is still to come
    assert other.requeue_dead() == 0
    other._grace = -1.0
    assert other.requeue_dead() == 1


def test_a_trial_is_silent_from_when_it_runs(two):
    study, other = two
    take(study)  # its process dies before the first sign of life
    assert other.requeue_dead() == 0
    other._first_seen = dict.fromkeys(other._first_seen, -1000.0)
    assert other.requeue_dead() == 1
    assert other.requeue_dead() == 0  # it waits
    take(study)
    assert other.requeue_dead() == 0


@pytest.mark.parametrize("queued", [0, 3])
def test_the_last_trial_is_one_process_s_alone(tmp_path, monkeypatch, queued):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with contextlib.closing(open_study(url, "random", beat_seconds=60)) as study:
        seeded(study, range(queued))
        ask, taken = study.ask, []

        def ask_at_once():
            if study.complete == 1 and not taken:
                taken.append(ask())  # another process saw the same number of open trials
            return ask()

        monkeypatch.setattr(study, "ask", ask_at_once)
        waits = asleep(study, monkeypatch, lambda: study.tell(*scored(study, taken[0])))
        work(study, 2)
        assert len(waits) == 1
        assert study.open == 2
        assert study.waiting == max(1, queued - 2)
        run_to(study, 4)
        assert [t.number for t in study.trials()] == [0, 1, 2, 3]


def scored(study, pending):
    return pending, score(pending)
