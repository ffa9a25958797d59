"""The database that Optuna keeps a study in."""

import functools
import sqlite3
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
import sqlalchemy.event
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import BaseModel

from dse.study._outage import Outage, going_on
from luts.errors import InputError

BEAT_SECONDS = 20
"""Seconds between a running trial's signs of life; after `GRACE` times as long, it is dead."""

GRACE = 6
ATTEMPTS = 5

OWN_TABLES = {*BaseModel.metadata.tables, "alembic_version"}
"""The last one is made last, by Optuna's migrations."""


class Database(RDBStorage):
    """Optuna's storage, whose connections are closed when it cannot be made, and by `close`.

    Args:
        where: a SQLite file, or the URL of a database server.
        is_new: the file has yet to be made; nothing else alters an existing one's settings.
        tell: told when a server is gone and when it is back, as it is waited for then; None to
            wait for none.
        settings: as Optuna's storage takes them.

    Attributes:
        outage: what waits for the server, if anything does.
    """

    def __init__(
        self,
        where: Path | str,
        *,
        is_new: bool = False,
        tell: Callable[[str], None] | None = None,
        **settings: Any,
    ) -> None:
        self.outage: Outage | None = None
        url, engine = address(where, is_new=is_new)
        engine |= settings.pop("engine_kwargs", {})
        # Optuna takes braces for places to fill in.
        url = url.replace("{", "{{").replace("}", "}}")
        try:
            super().__init__(url, engine_kwargs=engine, **settings)
        except BaseException:
            if hasattr(self, "scoped_session"):
                self.close()
            raise
        if tell is not None and self.engine.dialect.name != "sqlite":  # a file is never gone
            self.outage = Outage(self.engine, without_password(where), tell)

    def close(self) -> None:
        """Let go of the database, as far as this thread holds it."""
        if self.outage is not None:
            self.outage.close()
        self.remove_session()
        self.engine.dispose()


for _name in (
    *BaseStorage.__abstractmethods__,
    *("_create_new_trial", "_get_trials", "record_heartbeat", "_get_stale_trial_ids"),
):
    # Each is one transaction.
    setattr(Database, _name, going_on(getattr(RDBStorage, _name)))


def open_storage(
    where: Path | str,
    *,
    beat_seconds: int = BEAT_SECONDS,
    tell: Callable[[str], None] = warnings.warn,
) -> Database:
    """A study's database, made if it is empty, and finished if its making was cut short.

    Args:
        where: a SQLite file, or the URL of a database server as SQLAlchemy takes it.
        beat_seconds: see `BEAT_SECONDS`; a SQLite file has one user and needs no sign of life.
        tell: told when a server that has answered is gone, and when it is back: whoever works on it
            waits meanwhile.

    Raises:
        InputError: it cannot be reached, or it holds something else.
    """
    shown = without_password(where)
    is_new = not check_tables(where)
    try:
        return _made(where, is_new=is_new, beat_seconds=beat_seconds, tell=tell)
    except sqlalchemy.exc.OperationalError as error:
        raise InputError(f"cannot write to the database {shown}: {_reason(error)}") from error
    except Exception as error:  # SQLAlchemy's own hierarchy is not part of Optuna's interface
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{shown} is not the database of a search: {reason}") from error


def _made(
    where: Path | str, *, is_new: bool, beat_seconds: int, tell: Callable[[str], None]
) -> Database:
    is_file = isinstance(where, Path)
    for attempt in range(ATTEMPTS):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return Database(
                    where,
                    is_new=is_new,
                    tell=tell,
                    heartbeat_interval=None if is_file else beat_seconds,
                    grace_period=None if is_file else GRACE * beat_seconds,
                    engine_kwargs={} if is_file else {"pool_pre_ping": True, "pool_size": 2},
                )
        except (
            sqlalchemy.exc.IntegrityError,
            sqlalchemy.exc.ProgrammingError,
            sqlalchemy.exc.OperationalError,
        ) as error:
            is_race = not isinstance(error, sqlalchemy.exc.OperationalError)
            # Another process is making the tables at this moment.
            if attempt == ATTEMPTS - 1 or not (is_race or "already exists" in str(error)):
                raise
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError


def address(where: Path | str, *, is_new: bool = False) -> tuple[str, dict[str, Any]]:
    """URL and settings with which SQLAlchemy reaches a SQLite file or a database server.

    Args:
        where: the file, or the server's URL.
        is_new: see `Database`.

    Raises:
        InputError: it is not a URL.
    """
    if not isinstance(where, Path):
        return database_url(where), {}
    # Not in the URL: `?`, `%`, `#` and braces mean something there, and to each version another.
    connect = functools.partial(_connected, where.absolute(), is_new=is_new)
    return "sqlite:///study.db", {"creator": connect}


def _connected(file: Path, *, is_new: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False)
    mode = connection.execute("PRAGMA journal_mode=WAL" if is_new else "PRAGMA journal_mode")
    if mode.fetchone() == ("wal",):
        # A killed process loses nothing under these, and a commit does not wait for the disk.
        connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def database_url(where: str) -> str:
    """URL of a database server, as SQLAlchemy takes it.

    Raises:
        InputError: it is not a URL.
    """
    if "://" not in where:
        raise InputError(
            f"{where!r} is not a database URL; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    # SQLAlchemy's default driver for PostgreSQL is the older psycopg2.
    if where.startswith("postgresql://"):
        return "postgresql+psycopg://" + where.removeprefix("postgresql://")
    return where


def sqlite_file(where: Path | str) -> Path | None:
    """The SQLite file that a database is; None for a server.

    Raises:
        InputError: it is not a URL.
    """
    if isinstance(where, Path):
        return where
    without_password(where)
    url = sqlalchemy.make_url(database_url(where))
    is_file = url.get_backend_name() == "sqlite" and url.database and "uri" not in url.query
    return Path(str(url.database)) if is_file else None


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


def check_tables(where: Path | str) -> bool:
    """Whether the database holds a study; alters nothing.

    It holds none where it is empty, and where a process was killed while it made the tables.

    Raises:
        InputError: it cannot be reached, or holds something else.
    """
    shown = without_password(where)
    for attempt in range(ATTEMPTS):
        tables, begun = _tables(where, shown)
        missing = OWN_TABLES - set(tables)
        if not tables or not missing:
            return bool(tables) and not begun
        if not begun and "studies" not in tables:
            raise InputError(
                f"{shown} is not the database of a search: it holds tables of another program "
                f"({tables[0]}); name an empty one"
            )
        # Another process may be making them at this moment.
        time.sleep(0.1 * (attempt + 1))
    if begun:
        return False
    raise InputError(
        f"{shown} is not the database of a search: it has another schema, without the table "
        f"{min(missing)}; name an empty one"
    )


def _tables(where: Path | str, shown: str) -> tuple[list[str], bool]:
    """Names of the tables; and whether all of them are Optuna's, without any study."""
    url, settings = address(where)
    if url.startswith("postgresql"):
        settings["connect_args"] = {"connect_timeout": 10}
    try:
        engine = sqlalchemy.create_engine(url, **settings)
    except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise InputError(
            f"{shown} needs a driver that is not installed ({error}); for PostgreSQL: "
            f"pip install 'psycopg[binary]'"
        ) from error
    try:
        tables = sorted(sqlalchemy.inspect(engine).get_table_names())
        return tables, _is_begun(engine, tables)
    except sqlalchemy.exc.OperationalError as error:
        raise InputError(f"cannot reach the database {shown}: {_reason(error)}") from error
    except sqlalchemy.exc.DatabaseError as error:
        raise InputError(f"{shown} is not the database of a search: {_reason(error)}") from error
    finally:
        engine.dispose()


def _is_begun(engine: sqlalchemy.Engine, tables: list[str]) -> bool:
    """Whether Optuna made these tables, or some of them, and no study is in them yet."""
    known = BaseModel.metadata.tables
    for table in set(tables) - {"alembic_version"}:
        columns = {column["name"] for column in sqlalchemy.inspect(engine).get_columns(table)}
        if table not in known or columns != set(known[table].columns.keys()):
            return False
    if "studies" not in tables:
        return True
    with engine.connect() as connection:
        return connection.execute(sqlalchemy.select(known["studies"]).limit(1)).first() is None


def _reason(error: sqlalchemy.exc.DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]
