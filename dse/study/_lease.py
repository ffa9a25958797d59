"""A lease that one process at a time holds, by a row that only one can insert."""

import json
import time
import uuid

import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import StudyUserAttributeModel
from sqlalchemy.exc import IntegrityError

from dse.study._outage import going_on

_ROWS = StudyUserAttributeModel.__table__


class Lease:
    """An attribute of a study that one process at a time holds, and renews while it lives.

    A study has one row per key, so of two processes that insert it one fails. Each process that
    waits measures by its own clock how long the row has not changed. A row that was not renewed is
    taken over by replacing exactly the value that was seen: of several that try, one succeeds.

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

    @going_on
    def take(self, patience: float) -> bool:
        """Take the lease if it is free or was not renewed for ``patience`` seconds.

        Call it repeatedly: the seconds count from the first call that saw the row as it is.

        Returns:
            Whether this process holds it now.
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

    @going_on
    def renew(self) -> None:
        """Show that this process lives; the lease is lost if another has taken it over."""
        if self._held is not None and not self._exchanged(self._held):
            self._held, self.is_lost = None, True

    @going_on
    def leave(self) -> None:
        """Give the lease up, if this process holds it."""
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
