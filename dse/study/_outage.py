"""A database server that is stopped and started again: wait for it, and go on."""

import functools
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import sqlalchemy
import sqlalchemy.event
from optuna.exceptions import StorageInternalError

from luts.errors import InputError

OPTUNA = logging.getLogger("optuna.storages._rdb.storage")

POLL_SECONDS = 1.0
SECONDS_BETWEEN_LINES = 60.0
MOST_LOSSES = 5
"""Connections that may break one after the other over one and the same work."""

REFUSED_STATES = ("28", "3D000")
REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|access denied for user"
    r"|unknown database|(?:database|role) .* does not exist|permission denied for database",
    re.IGNORECASE,
)
"""What servers say that answer, but not to this user or not for this database; libpq gives no state
of a connection that was never made."""

UNREACHABLE = (StorageInternalError, sqlalchemy.exc.DBAPIError)
"""What work on a database raises where nobody waits for it any more."""

Given = ParamSpec("Given")
Got = TypeVar("Got")


class Outage:
    """Makes an engine wait, whenever it connects, until its server answers.

    Args:
        engine: of a server that has answered before.
        shown: what to call it in messages.
        tell: told when the server is gone, every minute meanwhile, and when it is back.

    Raises:
        InputError: while it connects: the server answers, but refuses user or database.

    Attributes:
        ended: when it was back last, on the monotonic clock, or None.
    """

    def __init__(self, engine: sqlalchemy.Engine, shown: str, tell: Callable[[str], None]) -> None:
        self._shown = shown
        self._tell = tell
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = 0.0
        self._is_waited_for = True
        self.ended: float | None = None
        sqlalchemy.event.listen(engine, "do_connect", self._connected)
        self._filter = _News()  # one each: another's close takes its own away
        OPTUNA.addFilter(self._filter)

    def close(self) -> None:
        """Let Optuna say again what it says of errors."""
        OPTUNA.removeFilter(self._filter)

    def give_up(self) -> None:
        """Wait no more, in no thread: what cannot connect raises from now on."""
        self._is_waited_for = False

    def _connected(
        self, dialect: Any, _: object, words: tuple[Any, ...], settings: dict[str, Any]
    ) -> Any:
        while True:
            try:
                connection = dialect.connect(*words, **settings)
            except dialect.loaded_dbapi.OperationalError as error:
                if not self._is_waited_for:
                    raise
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                if _is_refusal(error):
                    raise InputError(
                        f"the database {self._shown} refuses the connection ({reason}); mend "
                        f"user, password or database, then go on with the same command"
                    ) from error
                self._say_gone(reason)
                try:
                    time.sleep(POLL_SECONDS)
                except KeyboardInterrupt:
                    self.give_up()
                    raise
            else:
                self._say_back()
                return connection

    def _say_gone(self, reason: str) -> None:
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since, still = now, ""
            elif now - self._told < SECONDS_BETWEEN_LINES:
                return
            else:
                still = f" for {now - self._since:.0f} s now"
            self._told = now
        self._tell(f"the database {self._shown} does not answer{still} ({reason}); waiting for it")

    def _say_back(self) -> None:
        with self._lock:
            if self._since is None:
                return
            now = time.monotonic()
            gone, self._since, self.ended = now - self._since, None, now
        self._tell(f"the database {self._shown} answers again, after {gone:.0f} s; going on")


def going_on(work: Callable[Given, Got]) -> Callable[Given, Got]:
    """Do ``work``, one transaction on a server, again if its connection breaks meanwhile.

    A commit of which only the confirmation was lost is done twice. What a trial is told twice
    counts once, and a trial that was made twice is taken for one of a dead process.
    """

    @functools.wraps(work)
    def again(*words: Given.args, **settings: Given.kwargs) -> Got:
        for _ in range(MOST_LOSSES):
            try:
                return work(*words, **settings)
            except UNREACHABLE as error:
                if not _is_lost(error):
                    raise
        return work(*words, **settings)

    return again


def _is_lost(error: BaseException | None) -> bool:
    """Whether it comes of a connection that broke, as when its server is stopped."""
    # Optuna asks a second time, which raises an error of its own about the broken session.
    while error is not None:
        if isinstance(error, sqlalchemy.exc.DBAPIError):
            state = getattr(error.orig, "sqlstate", None) or ""
            if error.connection_invalidated or state.startswith(("08", "57P0")):
                return True
        error = error.__cause__ or error.__context__
    return False


def _is_refusal(error: BaseException) -> bool:
    """Whether a server answered that it has no such database, or not for this user."""
    state = getattr(error, "sqlstate", None)
    if state:
        return str(state).startswith(REFUSED_STATES)
    return REFUSED.search(str(error)) is not None


class _News(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line of Optuna's is about something else than what `going_on` mends."""
        return not record.getMessage().startswith("Caught an error from sqlalchemy")
