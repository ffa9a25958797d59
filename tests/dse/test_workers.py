"""Several processes on a database server that the test starts."""

import contextlib
import functools
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy

from dse import search
from dse.study import Database, SearchConfig, database_url, open_storage, read_study, reading
from luts import InputError
from tests.dse._postgres import Server
from tests.dse._stand_in import open_study, problem_of, run_to, score, seeded


@pytest.fixture(scope="module")
def server():
    """URL of a PostgreSQL server on loopback, started for these tests."""
    server = Server()
    server.start()
    yield server.url
    server.remove()


def _work_on(url, total, name, dies_after, is_alone):
    """One of many machines: the loop of a search, with the stand-in.

    Args:
        url: of the server.
        total: trials.
        name: of the study.
        dies_after: trials that it scores before it dies, or None.
        is_alone: set once the other one has died, or None; until then trials are left for it.
    """
    study = open_study(url, "guided", name=name, beat_seconds=1, budget=total)
    if study.needs_seeds:
        seeded(study)
    scored = 0
    while study.complete < total:
        study.requeue_dead()
        if study.open >= total:
            time.sleep(0.2)
            continue
        pending = study.ask()
        if scored == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        study.tell(pending, score(pending))
        scored += 1
        if is_alone is not None and scored == 5:
            assert is_alone.wait(timeout=100)
    study.close()


def test_machines_share_a_study_and_one_of_them_dies(server):
    context = multiprocessing.get_context("forkserver")
    total, is_alone = 16, context.Event()
    workers = [
        context.Process(target=_work_on, args=(server, total, "shared", *how))
        for how in ((2, None), (None, is_alone))
    ]
    for worker in workers:
        worker.start()
    workers[0].join(timeout=100)
    is_alone.set()
    workers[1].join(timeout=100)
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL, 0]
    with contextlib.closing(
        open_study(server, "guided", name="shared", beat_seconds=1, budget=total)
    ) as study:
        trials = study.trials()
        assert [t.origin for t in trials].count("uniform") == 3
        assert len(trials) == total
        assert len({t.number for t in trials}) == total
        assert len({t.assignment.digest for t in trials}) == total
        assert study.open == total


def test_one_of_many_that_join_at_once_seeds(server):
    studies = [open_study(server, "random", name="crowd", beat_seconds=1) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for study in studies:
            stack.callback(study.close)
        with ThreadPoolExecutor(4) as threads:
            seeders = list(threads.map(_seeds, studies[1:]))  # the one that made it is gone
        assert sorted(seeders) == [False, False, True]
        assert studies[0].waiting == 3


def _seeds(study):
    if not study.needs_seeds:
        return False
    seeded(study)
    return True


def test_a_server_keeps_what_sqlite_keeps(server, tmp_path):
    study = open_study(server, "greedy", name="one", beat_seconds=1)
    seeded(study)
    there = [(t.origin, t.assignment) for t in run_to(study, 8)]
    study.close()
    here = open_study(tmp_path / "s.db", "greedy")
    seeded(here)
    assert there == [(t.origin, t.assignment) for t in run_to(here, 8)]
    with pytest.raises(InputError, match="study 'one' belongs to a search over other sites"):
        open_study(server, "greedy", name="one", problem=problem_of(tie="none", exact=["layer1"]))


def test_reading_a_study_alters_nothing_and_needs_no_right_to(server):
    study = open_study(server, "greedy", name="read", beat_seconds=1)
    seeded(study)
    trials = run_to(study, 6)
    study.close()
    found = read_study(server, "read")
    assert found.trials == {trial.number: trial for trial in trials}
    assert read_study(server, "nobody's") is None
    with pytest.raises(sqlalchemy.exc.InternalError, match="read-only transaction"):
        with reading(server) as (storage, _), storage.engine.begin() as connection:
            connection.execute(sqlalchemy.text("DELETE FROM trials"))
    assert len(read_study(server, "read").trials) == 6


def test_a_refusal_leaves_no_connection(server):
    import optuna
    import psycopg

    _create(server, "refusing")
    url = server.removesuffix("postgres") + "refusing"
    open_storage(url).close()
    open_study(url, "random", about={"dataset": "digits"}).close()
    there = Database(database_url(url))
    optuna.create_study(storage=there, study_name="another's")
    there.close()
    kept = []  # a reference to what was refused keeps its connections open
    for about, name, message in (
        ({"dataset": "cifar10"}, "search", "with dataset 'digits' and not 'cifar10'"),
        ({}, "another's", "made by something else"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            open_study(url, "random", name=name, about=about)
        kept.append(refused)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    for refusing in (open_storage, read_study):
        with pytest.raises(InputError, match="is not the database of a search") as refused:
            refusing(url)
        kept.append(refused)
    assert _connections(server, "refusing") == 0


def _create(server, database):
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")


def _connections(server, database):
    """Number of open connections to a database, once those that were closed are gone."""
    import psycopg

    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(server, autocommit=True) as connection:
        for _ in range(20):
            (count,) = connection.execute(query, (database,)).fetchone()
            if not count:
                break
            time.sleep(0.1)
    return count


def test_the_check_of_a_storage_leaves_no_connection(server):
    _create(server, "checked")
    url = server.removesuffix("postgres") + "checked"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "check", lambda *words: None)
        made = []
        patch.setattr(search, "open_storage", lambda url: made.append(open_storage(url)) or made[0])
        search._check(SearchConfig(storage=url, study="mine"), None)
    assert made
    assert _connections(server, "checked") == 0


def test_a_server_with_tables_of_another_program_is_left_alone(server):
    import psycopg

    _create(server, "birds")
    other = server.removesuffix("postgres") + "birds"
    with psycopg.connect(other) as inside:
        inside.execute("CREATE TABLE studies (patient TEXT)")
    for refused in (read_study, functools.partial(open_study, name="search")):
        with pytest.raises(InputError, match="another schema, without the table"):
            refused(other)
    with psycopg.connect(other) as inside:
        tables = inside.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchall() == [("studies",)]


def test_trials_that_live_long_are_not_taken_for_dead(server):
    study = open_study(server, "random", name="slow", beat_seconds=1)
    seeded(study)
    pending = study.ask()
    other = open_study(server, "random", name="slow", beat_seconds=1)
    time.sleep(8)
    assert other.requeue_dead() == 0
    study.close()  # as if the process had died
    time.sleep(8)
    assert other.requeue_dead() == 1
    again = other.ask()
    assert again == pending
    other.tell(again, score(again))
    study.tell(pending, score(pending))  # too late, and not counted twice
    assert other.complete == 1
    study.close()
    other.close()
