"""Scores kept from one search to the next: a repeated assignment costs nothing."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models import Assignment
from models.training import cache_folder

FILE = "scores.db"
BUSY_SECONDS = 10.0


class ScoreCache:
    """Scores by what decided them: network, data, recipe, and assignment with its truth tables.

    A SQLite file (of Python's own library) in the cache folder. What cannot be read or written is
    computed again; nothing is lost but time.

    Args:
        conditions: all that decides a score but the assignment, as values that JSON can hold.
        path: the file; `FILE` in the cache folder by default.
    """

    def __init__(self, conditions: Mapping[str, Any], *, path: Path | None = None) -> None:
        self._path = cache_folder() / FILE if path is None else path
        text = json.dumps(conditions, sort_keys=True)
        self._prefix = hashlib.sha256(text.encode()).hexdigest()[:32]

    def get(self, assignment: Assignment, images: int) -> dict[str, Any] | None:
        """What `put` kept for the score on this number of images, or None."""
        with contextlib.suppress(sqlite3.Error, OSError), self._opened() as database:
            query = "SELECT record FROM scores WHERE key = ?"
            row = database.execute(query, (self._key(assignment, images),)).fetchone()
            return None if row is None else dict(json.loads(row[0]))
        return None

    def put(self, assignment: Assignment, images: int, record: Mapping[str, Any]) -> None:
        """Keep plain values for an assignment's score on this number of images."""
        with contextlib.suppress(sqlite3.Error, OSError), self._opened() as database:
            query = "INSERT OR REPLACE INTO scores VALUES (?, ?)"
            database.execute(query, (self._key(assignment, images), json.dumps(record)))
            database.commit()

    def _key(self, assignment: Assignment, images: int) -> str:
        return f"{self._prefix}-{images}-{assignment.digest}"

    def _opened(self) -> contextlib.closing[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
        database.execute("CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, record TEXT)")
        return contextlib.closing(database)
