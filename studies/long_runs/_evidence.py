"""What the files of a run say, and what is wrong with them."""

import contextlib
import hashlib
import json
import shutil
import sqlite3
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from dse import Trial
from dse.study import read_study
from energy import run_files
from luts.errors import InputError

RUN, CACHE, EXPORTS = "run", "cache", "exports"
"""Folders of a search that is killed: the run's, the cache, and the one that has all exports."""

MANIFEST = "manifest.json"
"""What an export writes last."""
LOCK = ".lock"
"""What a run's folder has while somebody works there, and after."""


@dataclass(frozen=True)
class Evidence:
    """What lies on the disk.

    Attributes:
        trials: every scored one, by number.
        closings: what is kept of fine-tuning and tests, by key.
        broken: files that are there under their own names and not whole.
        half_written: files and folders under other names, which nobody will finish.
    """

    trials: Mapping[int, Trial] = field(default_factory=dict)
    closings: Mapping[str, Any] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    half_written: tuple[str, ...] = ()

    @property
    def doubled(self) -> int:
        """Trials whose assignment another one has scored too."""
        return len(self.trials) - len({trial.assignment.digest for trial in self.trials.values()})

    def lost_since(self, before: "Evidence") -> int:
        """Trials and results of the close that were there before, and are not or are others."""
        return _lost(before.trials, self.trials) + _lost(before.closings, self.closings)


def _lost(before: Mapping[Any, Any], now: Mapping[Any, Any]) -> int:
    return sum(key not in now or now[key] != value for key, value in before.items())


def look(world: Path) -> Evidence:
    """Look at folders that nobody works on.

    Args:
        world: has `RUN`, `CACHE` and `EXPORTS`, or not yet.
    """
    kept = None
    with contextlib.suppress(InputError):  # a broken one is found below
        kept = read_study(world / RUN / run_files.DATABASE)
    files = sorted(world.rglob("*"))
    hidden = [f for f in files if f.name.startswith(".") and f.name != LOCK]
    unseen = {f for f in files if not {f, *f.parents}.isdisjoint(hidden)}
    exports = [f for f in files if f.parent == world / EXPORTS and f not in unseen]
    whole = [f for f in files if f.is_file() and f not in unseen]
    return Evidence(
        {} if kept is None else kept.trials,
        {} if kept is None else kept.closings,
        tuple(
            str(file.relative_to(world))
            for file in (
                *(file for file in whole if not _is_whole(file)),
                *(folder for folder in exports if not _is_exported(folder)),
            )
        ),
        tuple(str(file.relative_to(world)) for file in hidden),
    )


def _is_whole(file: Path) -> bool:
    read = _READ.get(file.suffix)
    if read is None:
        return True
    try:
        return read(file) is not False
    except Exception:  # whatever a reader says of half a file
        return False


def _is_exported(folder: Path) -> bool:
    """Whether an export is there with all that its manifest names."""
    if not (folder / MANIFEST).exists():
        return False
    return all(
        (folder / name).exists()
        and hashlib.sha256((folder / name).read_bytes()).hexdigest() == record["sha256"]
        for name, record in json.loads((folder / MANIFEST).read_bytes())["files"].items()
    )


def _arrays(file: Path) -> None:
    with file.open("rb") as opened, np.load(opened) as archive:
        for name in archive.files:
            archive[name]


def _is_sound(file: Path) -> bool:
    """Of a database, read from a copy, as even reading may write beside it."""
    with tempfile.TemporaryDirectory() as name:
        for end in ("", "-wal", "-journal"):
            path = file.with_name(file.name + end)
            if path.exists():
                shutil.copyfile(path, Path(name) / path.name)
        connection = sqlite3.connect(Path(name) / file.name)
        try:
            return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))
        finally:
            connection.close()


_READ: dict[str, Callable[[Path], object]] = {
    ".json": lambda file: json.loads(file.read_bytes()),
    ".toml": lambda file: tomllib.loads(text := file.read_text("utf-8")) and text.endswith("\n"),
    ".csv": lambda file: len(pd.read_csv(file)) > 0 and file.read_bytes().endswith(b"\n"),
    ".npz": _arrays,
    ".safetensors": lambda file: load_file(file),
    ".db": _is_sound,
    ".png": lambda file: file.read_bytes().endswith(b"IEND\xaeB`\x82"),
    ".html": lambda file: file.read_text(encoding="utf-8").rstrip().endswith("</html>"),
}
"""Raises, or says no, where a file of this ending is not whole."""
