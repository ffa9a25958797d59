"""Whose turn it is: one of several processes, by a row that only one of them can make."""

import json
import time
import uuid

import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import StudyUserAttributeModel
from sqlalchemy.exc import IntegrityError

_ROWS = StudyUserAttributeModel.__table__


class Lease:
    """A study's attribute that one process at a time has, and renews while it lives.

    A study has one row a key, so of two processes that make it one fails. A row that is not
    renewed, by the clock of whoever waits, is taken over by exchanging just what was seen there.

    Args:
        storage: of the study.
        study_id: its id in there.
        key: the attribute's name.
    """

    def __init__(self, storage: RDBStorage, study_id: int, key: str) -> None:
        self._engine = storage.engine
        self._study_id = study_id
        self._key = key
        self._here = sqlalchemy.and_(_ROWS.c.study_id == study_id, _ROWS.c.key == key)
        self._name = uuid.uuid4().hex
        self._renewals = 0
        self._held: str | None = None
        self._seen: str | None = None
        self._since = 0.0
        self.is_lost = False

    def take(self, patience: float) -> bool:
        """Have the turn, if nobody has it or who has it did not renew it for ``patience`` seconds.

        To be called again and again: how long the row is as it is counts from the first look.
        """
        with self._engine.connect() as connection:
            query = sqlalchemy.select(_ROWS.c.value_json).where(self._here)
            there = connection.execute(query).scalar()
        if there is None:
            return self._made()
        if there != self._seen:
            self._seen, self._since = there, time.monotonic()
        if there == self._held:
            return True
        return time.monotonic() - self._since > patience and self._exchanged(there)

    def renew(self) -> None:
        """Show that this process lives; the turn is lost if another has taken it over."""
        if self._held is not None and not self._exchanged(self._held):
            self._held, self.is_lost = None, True

    def leave(self) -> None:
        """Let others have the turn, if this process has it."""
        if self._held is not None:
            mine = sqlalchemy.and_(self._here, _ROWS.c.value_json == self._held)
            with self._engine.begin() as connection:
                connection.execute(sqlalchemy.delete(_ROWS).where(mine))
            self._held = None

    def _made(self) -> bool:
        text = self._next()
        row = {"study_id": self._study_id, "key": self._key, "value_json": text}
        try:
            with self._engine.begin() as connection:
                connection.execute(sqlalchemy.insert(_ROWS).values(**row))
        except IntegrityError:
            return False
        self._held, self.is_lost = text, False
        return True

    def _exchanged(self, there: str) -> bool:
        text = self._next()
        same = sqlalchemy.and_(self._here, _ROWS.c.value_json == there)
        with self._engine.begin() as connection:
            update = sqlalchemy.update(_ROWS).where(same).values(value_json=text)
            if connection.execute(update).rowcount != 1:
                return False
        self._held, self.is_lost = text, False
        return True

    def _next(self) -> str:
        self._renewals += 1
        return json.dumps([self._name, self._renewals])
