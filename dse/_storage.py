"""The database that Optuna keeps a study in."""

import time
import warnings
from pathlib import Path
from typing import Any

import sqlalchemy
import sqlalchemy.event
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage

from luts.errors import InputError

BEAT_SECONDS = 20
"""How often a running trial gives a sign of life; without one for `GRACE` times, it is dead."""

GRACE = 6
ATTEMPTS = 5


def open_storage(where: Path | str, *, beat_seconds: int = BEAT_SECONDS) -> RDBStorage:
    """A study's database, made if it is empty.

    Args:
        where: a SQLite file, or the URL of a database server as SQLAlchemy takes it.
        beat_seconds: see `BEAT_SECONDS`; a SQLite file has one user and needs no sign of life.

    Raises:
        InputError: it cannot be reached, or it holds something else.
    """
    is_file = isinstance(where, Path)
    url = f"sqlite:///{where}" if is_file else _url(str(where))
    shown = str(where) if is_file else _without_password(url)
    try:
        _check_tables(url, shown)
        storage = _made(url, is_file=is_file, beat_seconds=beat_seconds)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{shown} needs a driver that is not installed ({error}); for PostgreSQL: "
            f"pip install 'psycopg[binary]'"
        ) from error
    except Exception as error:  # SQLAlchemy's own hierarchy is not part of Optuna's interface
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{shown} is not the database of a search: {reason}") from error
    if is_file:
        _tune(storage)
    return storage


def _made(url: str, *, is_file: bool, beat_seconds: int) -> RDBStorage:
    for attempt in range(ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    url,
                    heartbeat_interval=None if is_file else beat_seconds,
                    grace_period=None if is_file else GRACE * beat_seconds,
                    engine_kwargs={} if is_file else {"pool_pre_ping": True, "pool_size": 2},
                )
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            # Another process is making the tables at this moment.
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError


def _url(text: str) -> str:
    if "://" not in text:
        raise InputError(
            f"{text!r} is no database URL; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    # SQLAlchemy's default driver for PostgreSQL is the older psycopg2.
    if text.startswith("postgresql://"):
        return "postgresql+psycopg://" + text.removeprefix("postgresql://")
    return text


def _without_password(url: str) -> str:
    return sqlalchemy.make_url(url).render_as_string(hide_password=True)


def _check_tables(url: str, shown: str) -> None:
    arguments = {"connect_timeout": 10} if url.startswith("postgresql") else {}
    engine = sqlalchemy.create_engine(url, connect_args=arguments)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    except sqlalchemy.exc.OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise InputError(f"cannot reach the database {shown}: {reason}") from error
    finally:
        engine.dispose()
    if tables and "studies" not in tables:
        raise InputError(
            f"{shown} is not the database of a search: it holds tables of another program "
            f"({tables[0]}); name an empty one"
        )


def _tune(storage: RDBStorage) -> None:
    def configure(connection: Any, record: object) -> None:
        # A killed process loses nothing under these, and a commit does not wait for the disk.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(storage.engine, "connect", configure)
    storage.engine.dispose()
