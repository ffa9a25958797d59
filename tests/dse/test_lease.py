"""Who of several processes queues the first trials."""

import contextlib
import threading
import time

import pytest

from dse.study import Lease, _study
from tests.dse._stand_in import open_study, seeded

LONG = 1000.0


@pytest.fixture
def shared(tmp_path):
    """Opens a study as one of several processes does."""
    with contextlib.ExitStack() as stack:

        def opened():
            url = f"sqlite:///{tmp_path / 'shared.db'}"
            study = open_study(url, "random", beat_seconds=60)
            stack.callback(study.close)
            return study

        yield opened


@pytest.fixture
def leases(shared):
    """Three processes' views of one lease."""
    study = shared()
    return [Lease(study._rdb, study._study._study_id, "lease") for _ in range(3)]


def test_one_holds_the_lease_until_it_leaves(leases):
    first, second, _ = leases
    assert first.take(LONG)
    assert first.take(LONG)
    assert not second.take(LONG)
    first.renew()
    second.leave()  # it has nothing to leave
    assert not second.take(LONG)
    first.leave()
    assert second.take(LONG)
    assert not first.take(LONG)


def test_one_alone_takes_it_over_from_a_dead_one(leases):
    dead, *waiting = leases
    assert dead.take(LONG)
    assert not any(lease.take(0.05) for lease in waiting)
    time.sleep(0.1)
    assert [lease.take(0.05) for lease in waiting] == [True, False]
    dead.renew()
    assert dead.is_lost
    assert not waiting[0].is_lost


def test_who_renews_is_not_taken_for_dead(leases):
    alive, waiting, _ = leases
    assert alive.take(LONG)
    for _ in range(4):
        assert not waiting.take(0.05)
        time.sleep(0.06)
        alive.renew()
    assert not alive.is_lost


def test_one_of_those_who_wait_seeds_when_the_founder_dies(shared, monkeypatch):
    monkeypatch.setattr(_study, "POLL_SECONDS", 0.02)
    founder, *waiting = (shared() for _ in range(4))
    assert founder.is_founder
    assert founder.needs_seeds
    founder._heartbeat.stop()  # as if the process had died while it screened
    seeders = []

    def work(study):
        study._grace, study._heartbeat._interval = 1.0, 0.05
        if study.needs_seeds:
            seeders.append(study)
            time.sleep(0.5)
            seeded(study)

    threads = [threading.Thread(target=work, args=(study,)) for study in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seeders) == 1
    founder._seeding.renew()
    seeded(founder, [1, 2])  # it was only slow: nothing is queued twice, nor beside the others'
    assert founder.waiting == 3
    assert not founder.needs_seeds


def test_who_stops_before_it_has_seeded_lets_the_next_one(shared):
    first = shared()
    assert first.needs_seeds
    first.close()
    assert shared().needs_seeds
