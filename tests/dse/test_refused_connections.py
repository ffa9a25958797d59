"""A database that cannot be connected to: what is waited for, and what is not."""

import logging
import types

import pytest
import sqlalchemy

from dse.study import _outage, open_storage
from dse.study._outage import Outage
from luts import InputError


class Refusal(Exception):
    """A driver's error, with a state of SQL or without."""

    def __init__(self, message, sqlstate=None):
        super().__init__(message)
        self.sqlstate = sqlstate


class Dialect:
    """Connects after it has raised what it is given."""

    loaded_dbapi = types.SimpleNamespace(OperationalError=Refusal)

    def __init__(self, *errors):
        self.errors = list(errors)

    def connect(self):
        if self.errors:
            raise self.errors.pop(0)
        return "connection"


@pytest.fixture
def said():
    return []


@pytest.fixture
def outage(said, monkeypatch):
    monkeypatch.setattr(_outage, "POLL_SECONDS", 0.0)
    outage = Outage(sqlalchemy.create_engine("sqlite://"), "server", said.append)
    yield outage
    outage.close()


@pytest.mark.parametrize(
    "error",
    [
        Refusal("it is late", "28P01"),
        Refusal("it is late", "28000"),
        Refusal("it is late", "3D000"),
        Refusal('connection failed: FATAL:  password authentication failed for user "me"'),
        Refusal("connection failed: fe_sendauth: no password supplied"),
        Refusal('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "me"'),
        Refusal('connection failed: FATAL:  database "gone" does not exist'),
        Refusal('connection failed: FATAL:  role "me" does not exist'),
        Refusal("(1045, \"Access denied for user 'me'@'host' (using password: YES)\")"),
        Refusal("(1049, \"Unknown database 'gone'\")"),
    ],
    ids=str,
)
def test_what_a_server_refuses_is_not_waited_for(outage, said, error):
    with pytest.raises(InputError, match=r"server refuses the connection.*go on with the same"):
        outage._connected(Dialect(error), None, (), {})
    assert said == []


@pytest.mark.parametrize(
    "error",
    [
        Refusal("connection failed: Connection refused\nIs the server running?"),
        Refusal("FATAL:  the database system is starting up"),
        Refusal("the password is fine", "57P03"),
        Refusal("FATAL:  sorry, too many clients already", "53300"),
        Refusal("FATAL:  canceling authentication due to timeout"),
        Refusal("could not translate host name to address"),
        Refusal(""),
    ],
    ids=str,
)
def test_a_server_that_is_gone_is_waited_for(outage, said, error):
    assert outage._connected(Dialect(error, error), None, (), {}) == "connection"
    assert len(said) == 2
    assert "does not answer (" in said[0]
    assert "answers again" in said[1]
    assert outage.ended is not None


def test_optunas_remarks_are_held_back_only_while_a_server_is_waited_for(caplog):
    logger = logging.getLogger("optuna.storages._rdb.storage")
    logger.addHandler(caplog.handler)
    engine, heard = sqlalchemy.create_engine("sqlite://"), []
    outages = [Outage(engine, "server", heard.append) for _ in range(2)]
    try:
        for count, closed in enumerate(outages):
            logger.warning("Caught an error from sqlalchemy: before %d", count)
            closed.close()
        logger.warning("Caught an error from sqlalchemy: after")
    finally:
        logger.removeHandler(caplog.handler)
    assert {r.getMessage() for r in caplog.records} == {"Caught an error from sqlalchemy: after"}


def test_a_file_is_not_waited_for_however_it_is_named(tmp_path):
    for where in (tmp_path / "a.db", f"sqlite:///{tmp_path / 'b.db'}"):
        storage = open_storage(where)
        assert storage.outage is None
        storage.close()
