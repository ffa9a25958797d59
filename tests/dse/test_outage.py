"""A database server that is stopped in the middle of a search, and started again."""

import contextlib
import multiprocessing
import time

import pytest
import sqlalchemy

from dse.scoring import ThisProcess
from dse.study import Heartbeat, Lease, open_storage, read_study, run_trials
from dse.study._outage import going_on
from dse.study._storage import database_url
from luts import InputError
from tests.dse._postgres import Server
from tests.dse._stand_in import open_study, score, seeded

TOTAL = 24


@pytest.fixture
def server():
    server = Server()
    server.start()
    yield server
    server.remove()


def _search(url, said):
    """One of several machines: a search, with the stand-in; what it says goes to a file."""
    with open(said, "w", encoding="utf-8", buffering=1) as file:

        def tell(line):
            file.write(line + "\n")

        study = open_study(url, "random", name="s", beat_seconds=1, budget=TOTAL, tell=tell)
        if study.needs_seeds:
            seeded(study)

        def slowly(pending):
            time.sleep(0.15)
            return score(pending)

        run_trials(study, ThisProcess(slowly), TOTAL, lambda *_, **__: None)
        study.close()


def _scored(url):
    found = read_study(url, "s")
    return 0 if found is None else len(found.trials)


def test_workers_wait_for_the_server_and_go_on(server, tmp_path):
    context = multiprocessing.get_context("forkserver")
    said = [tmp_path / f"{i}.txt" for i in range(2)]
    workers = [
        context.Process(target=_search, args=(server.url, str(f)), daemon=True) for f in said
    ]
    for worker in workers:
        worker.start()
    for reached, seconds in ((6, 9), (14, 2)):
        while _scored(server.url) < reached:
            assert all(worker.is_alive() for worker in workers)
            time.sleep(0.05)
        server.stop()
        time.sleep(seconds)  # the first time longer than a worker may be silent and not dead
        assert all(worker.is_alive() for worker in workers)
        server.start()
    for worker in workers:
        worker.join(timeout=100)
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = read_study(server.url, "s").trials
    assert sorted(found) == list(range(TOTAL))
    assert len({trial.assignment.digest for trial in found.values()}) == TOTAL
    for file in said:
        lines = file.read_text(encoding="utf-8").splitlines()
        assert len(lines) == 4, lines
        for gone, back in (lines[:2], lines[2:]):
            assert "does not answer (" in gone and gone.endswith("waiting for it")
            assert "answers again" in back
            assert "tester@127.0.0.1" in gone


def test_who_is_interrupted_while_waiting_ends(server):
    said = []
    study = open_study(server.url, "random", beat_seconds=1, tell=said.append)
    seeded(study)

    def interrupted(pending):
        server.stop()
        raise KeyboardInterrupt

    began = time.monotonic()
    with contextlib.closing(study), pytest.raises(KeyboardInterrupt):
        run_trials(study, ThisProcess(interrupted), 9, lambda *_, **__: None)
    assert time.monotonic() - began < 30


def test_a_connection_that_breaks_within_a_transaction_is_made_again(server):
    storage = open_storage(server.url)
    calls = []

    @going_on
    def work():
        calls.append(None)
        with storage.engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE IF NOT EXISTS mine (x INT)"))
            connection.execute(sqlalchemy.text("INSERT INTO mine VALUES (1)"))
            if len(calls) == 1:
                server.stop()
                server.start()
            return connection.execute(sqlalchemy.text("SELECT count(*) FROM mine")).scalar()

    assert work() == 1
    assert len(calls) == 2
    with pytest.raises(sqlalchemy.exc.ProgrammingError):
        going_on(lambda: storage.engine.connect().execute(sqlalchemy.text("nonsense")))()
    storage.close()


def test_a_lease_outlives_an_outage(server):
    study = open_study(server.url, "random", beat_seconds=1, tell=[].append)
    lease = Lease(study._rdb, study._study._study_id, "mine")
    assert lease.take(5)
    beating = Heartbeat(study._rdb, 1)
    beating.keep("mine", lease.renew)
    server.stop()
    time.sleep(2.5)  # a renewal waits now
    server.start()
    kept = study._study.user_attrs["mine"]
    time.sleep(3)
    assert study._study.user_attrs["mine"] != kept
    assert not lease.is_lost
    beating.stop()
    study.close()


def test_a_database_that_is_dropped_is_not_waited_for(server):
    main = sqlalchemy.create_engine(database_url(server.url), isolation_level="AUTOCOMMIT")
    with main.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE mine"))
        said = []
        study = open_study(server.url.replace("/postgres", "/mine"), "random", tell=said.append)
        connection.execute(sqlalchemy.text("DROP DATABASE mine WITH (FORCE)"))
        with pytest.raises(InputError, match=r"refuses the connection \(.*does not exist"):
            study.trials()
        assert said == []
        study.close()
    main.dispose()
