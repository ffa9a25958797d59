"""What one search computed and the next need not: scores, screenings, closings."""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from models import Data
from models.training import cache_folder, state_digest, tensors_of

FILE = "scores.db"
BUSY_SECONDS = 10.0


class ScoreCache:
    """Results by what decided them: network, data and recipe, and a key for the rest.

    A SQLite file (of Python's own library) in the cache folder. What cannot be read or written is
    computed again; nothing is lost but time.

    Args:
        conditions: all that decides every result, as values that JSON can hold.
        path: the file; `FILE` in the cache folder by default.
    """

    def __init__(self, conditions: Mapping[str, Any], *, path: Path | None = None) -> None:
        self._path = cache_folder() / FILE if path is None else path
        self._prefix = _digest(conditions)

    def get(self, key: str) -> dict[str, Any] | None:
        """What `put` kept under ``key``, or None."""
        with contextlib.suppress(sqlite3.Error, OSError), self._opened() as database:
            query = "SELECT record FROM scores WHERE key = ?"
            row = database.execute(query, (f"{self._prefix}-{key}",)).fetchone()
            return None if row is None else dict(json.loads(row[0]))
        return None

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep plain values under ``key``."""
        with contextlib.suppress(sqlite3.Error, OSError), self._opened() as database:
            query = "INSERT OR REPLACE INTO scores VALUES (?, ?)"
            database.execute(query, (f"{self._prefix}-{key}", json.dumps(record)))
            database.commit()

    def remember(
        self, what: str, decided_by: Mapping[str, Any], compute: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What was kept, or ``compute()``, which is kept then.

        Args:
            what: kind of the result.
            decided_by: all that decides it beside the conditions, as values that JSON can hold.
            compute: makes it, of plain values.
        """
        key = f"{what}-{_digest(decided_by)}"
        record = self.get(key)
        if record is None:
            record = compute()
            self.put(key, record)
        return record

    def _opened(self) -> contextlib.closing[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
        database.execute("CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, record TEXT)")
        return contextlib.closing(database)


def digest_of_splits(data: Data) -> str:
    """SHA-256 of all images and labels; pixels that splits share are read once."""
    tensors: dict[str, torch.Tensor] = {}
    known: list[object] = []
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        if not any(split.pixels is one for one in known):
            known.append(split.pixels)
            tensors |= tensors_of(f"pixels.{len(known)}", split.pixels)
        which = next(i for i, one in enumerate(known) if one is split.pixels)
        tensors |= {f"{name}.of": torch.tensor(which), f"{name}.labels": split.labels}
        if split.rows is not None:
            tensors[f"{name}.rows"] = split.rows
    return state_digest(tensors)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
