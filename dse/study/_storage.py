"""The database that Optuna keeps a study in."""

import time
import warnings
from pathlib import Path
from typing import Any

import sqlalchemy
import sqlalchemy.event
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel

from luts.errors import InputError

BEAT_SECONDS = 20
"""Seconds between a running trial's signs of life; after `GRACE` times as long, it is dead."""

GRACE = 6
ATTEMPTS = 5


class Database(RDBStorage):
    """Optuna's storage, whose connections are closed when it cannot be made, and by `close`."""

    def __init__(self, url: str, **settings: Any) -> None:
        try:
            super().__init__(url, **settings)
        except BaseException:
            if hasattr(self, "scoped_session"):
                self.close()
            raise

    def close(self) -> None:
        """Let go of the database, as far as this thread holds it."""
        self.remove_session()
        self.engine.dispose()


def open_storage(where: Path | str, *, beat_seconds: int = BEAT_SECONDS) -> Database:
    """A study's database, made if it is empty.

    Args:
        where: a SQLite file, or the URL of a database server as SQLAlchemy takes it.
        beat_seconds: see `BEAT_SECONDS`; a SQLite file has one user and needs no sign of life.

    Raises:
        InputError: it cannot be reached, or it holds something else.
    """
    is_file = isinstance(where, Path)
    url, shown = database_url(where), without_password(where)
    check_tables(url, shown)
    try:
        storage = _made(url, is_file=is_file, beat_seconds=beat_seconds)
    except Exception as error:  # SQLAlchemy's own hierarchy is not part of Optuna's interface
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{shown} is not the database of a search: {reason}") from error
    if is_file:
        _tune(storage)
    return storage


def _made(url: str, *, is_file: bool, beat_seconds: int) -> Database:
    for attempt in range(ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return Database(
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


def database_url(where: Path | str) -> str:
    """URL of a SQLite file or of a database server, as SQLAlchemy takes it.

    Raises:
        InputError: it is not a URL.
    """
    if isinstance(where, Path):
        return f"sqlite:///{where}"
    if "://" not in where:
        raise InputError(
            f"{where!r} is not a database URL; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    # SQLAlchemy's default driver for PostgreSQL is the older psycopg2.
    if where.startswith("postgresql://"):
        return "postgresql+psycopg://" + where.removeprefix("postgresql://")
    return where


def without_password(where: Path | str) -> str:
    """What to call a database in messages.

    Raises:
        InputError: it is not a URL.
    """
    if isinstance(where, Path):
        return str(where)
    url = database_url(where)
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        # Not shown itself: a password may stand in it.
        raise InputError(
            "the storage is not a database URL; write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from error


def check_tables(url: str, shown: str) -> bool:
    """Whether the database holds the tables of a search; False if it is empty. Alters nothing.

    Raises:
        InputError: it cannot be reached, or holds something else.
    """
    needed = set(BaseModel.metadata.tables)
    for attempt in range(ATTEMPTS):
        tables = _tables(url, shown)
        missing = needed - set(tables)
        if not tables or not missing:
            return bool(tables)
        if "studies" not in tables:
            raise InputError(
                f"{shown} is not the database of a search: it holds tables of another program "
                f"({tables[0]}); name an empty one"
            )
        # Another process may be making them at this moment.
        time.sleep(0.1 * (attempt + 1))
    raise InputError(
        f"{shown} is not the database of a search: it has another schema, without the table "
        f"{min(missing)}; name an empty one"
    )


def _tables(url: str, shown: str) -> list[str]:
    arguments = {"connect_timeout": 10} if url.startswith("postgresql") else {}
    try:
        engine = sqlalchemy.create_engine(url, connect_args=arguments)
    except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise InputError(
            f"{shown} needs a driver that is not installed ({error}); for PostgreSQL: "
            f"pip install 'psycopg[binary]'"
        ) from error
    try:
        return sorted(sqlalchemy.inspect(engine).get_table_names())
    except sqlalchemy.exc.OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise InputError(f"cannot reach the database {shown}: {reason}") from error
    except sqlalchemy.exc.DatabaseError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise InputError(f"{shown} is not the database of a search: {reason}") from error
    finally:
        engine.dispose()


def _tune(storage: RDBStorage) -> None:
    def configure(connection: Any, record: object) -> None:
        # A killed process loses nothing under these, and a commit does not wait for the disk.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(storage.engine, "connect", configure)
    storage.engine.dispose()
