"""The results folder: one file a cell."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from luts.errors import InputError
from models.training import atomically
from studies.fixed_multiplier._plan import Base, Cell, Preset

Record = dict[str, Any]

_SCORE = {"accuracy": float, "cross_entropy": float, "images": int}
_SHAPE: dict[str, object] = {
    "cell": get_type_hints(Cell),
    "settings": {},
    "test": _SCORE,
    "validation": _SCORE,
    "energy_rel": float,
    "power_rel": float,
    "how": str,
    "note": str,
    "seconds": float,
    "base": {
        "weights": str,
        "weights_sha256": str,
        "data": {"name": str},
        "float_test": _SCORE,
    },
    "making": {"commit": str, "device": str, "threads": int, "versions": {"torch": str}},
}
"""What a record has at least, for the tables and what is written about them."""


WRITTEN = (
    "matrix.csv",
    "summary.csv",
    "without-retraining.png",
    "after-retraining.png",
    "claims.md",
)
"""What is made from the cells, beside them."""


class Results:
    """A folder with ``cells/``; nothing in it is overwritten by another configuration.

    Args:
        path: the folder; made when the first cell is kept.
        preset: what its cells belong to.

    Raises:
        InputError: it is no folder and cannot become one, somebody else's files have the names of
            ours, a cell in it is damaged, is there twice
            or was computed with other settings, or cells of one float network started from
            different weights.
    """

    def __init__(self, path: Path, preset: Preset) -> None:
        self.path = path
        self.preset = preset
        self._weights: dict[Base, tuple[str, str]] = {}
        # Whatever is wrong is noticed before any work.
        for folder in (path, path / "cells"):
            _check_folder(folder)
        if not (path / "cells").exists():
            _check_free(path)
        for record in self.records():
            self._check(record)
            self._same_weights(record)

    def has(self, cell: Cell) -> bool:
        """Whether the cell was computed."""
        return self._file(cell).exists()

    def keep(self, cell: Cell, record: Record) -> None:
        """Write a cell, whole or not at all; one that is there already stays.

        Raises:
            InputError: another cell of its float network started from other weights.
        """
        self._same_weights(record)
        if self.has(cell):
            return
        with atomically(self._file(cell)) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def read(self, cell: Cell) -> Record:
        """What was kept."""
        return _read(self._file(cell))

    def records(self) -> list[Record]:
        """All cells, by name."""
        return [_read(path) for path in sorted((self.path / "cells").glob("*.json"))]

    def check_weights(self, cell: Cell, sha256: str) -> None:
        """Hold the float network against the one that its other cells were computed with.

        Raises:
            InputError: they started from other weights.
        """
        for path in sorted((self.path / "cells").glob("*.json")):
            record = _read(path)
            if cell_of(record).base != cell.base:
                continue
            theirs = record["base"]["weights_sha256"]
            if theirs != sha256:
                raise InputError(
                    f"{path} started from other weights ({theirs[:12]}…) than there are now "
                    f"({sha256[:12]}…): put those back, move the cells of this network away, or "
                    f"name another folder with --results"
                )

    def _same_weights(self, record: Record) -> None:
        cell, sha256 = cell_of(record), record["base"]["weights_sha256"]
        theirs, name = self._weights.setdefault(cell.base, (sha256, cell.name))
        if theirs != sha256:
            raise InputError(
                f"{name} ({theirs[:12]}…) and {cell.name} ({sha256[:12]}…) are cells of one float "
                f"network but started from different weights: keep those of one of them in "
                f"{self.path}/cells and measure the others again (with --storage, in a new "
                f"database)"
            )

    def _file(self, cell: Cell) -> Path:
        return self.path / "cells" / f"{cell.name}.json"

    def _check(self, record: Record) -> None:
        cell = cell_of(record)
        theirs = record["settings"]
        if theirs.get("preset") != self.preset.name:
            raise InputError(
                f"{self.path} holds results of preset {theirs.get('preset')}, not of "
                f"{self.preset.name}; name another folder with --results"
            )
        subjects = {(network.arch, network.dataset) for network in self.preset.networks}
        if (cell.arch, cell.dataset) not in subjects:
            raise InputError(
                f"{self.path} holds cells of {cell.arch} on {cell.dataset}, which preset "
                f"{self.preset.name} does not have; name another folder with --results"
            )
        mine = self.preset.settings(cell)
        for key in sorted({*mine, *theirs}):
            if mine.get(key) != theirs.get(key):
                raise InputError(
                    f"{self._file(cell)} was computed with {key} {theirs.get(key)!r}, not "
                    f"{mine.get(key)!r}; name another folder with --results"
                )


def cell_of(record: Record) -> Cell:
    """The cell that a record belongs to."""
    return Cell(**record["cell"])


def _read(path: Path) -> Record:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        _hold(record, _SHAPE)
        cell = cell_of(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a cell of this study ({type(error).__name__}: {error}); move it away"
        ) from error
    if path.name != f"{cell.name}.json":
        raise InputError(
            f"{path} holds the cell of {cell.name}.json, which would count twice: move it away if "
            f"it is a copy, or give it that name"
        )
    return record


def _hold(given: object, shape: object, name: str = "the file") -> None:
    """Hold plain values against a shape, which names the keys of a table and their types."""
    if isinstance(shape, Mapping):
        if not isinstance(given, dict):
            raise TypeError(f"{name} is no table")
        for key, inner in shape.items():
            # What is not retrained needs no validation images.
            if key == "validation" and given[key] is None:
                continue
            _hold(given[key], inner, key)
    elif type(given) not in ((int, float) if shape is float else (shape,)):
        raise TypeError(f"{name} is {given!r}")


def _check_free(path: Path) -> None:
    """Hold a folder without cells against what would be written over."""
    for name in WRITTEN:
        if (path / name).exists():
            raise InputError(
                f"{path / name} is there without cells that it could be of; name another folder "
                f"with --results, or move it away"
            )


def _check_folder(path: Path) -> None:
    """Hold a folder against the need to write to it, without making it."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise InputError(f"{nearest} is no folder; name another with --results")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{nearest} cannot be written to; name another folder with --results")
