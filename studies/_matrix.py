"""A matrix of cells, each measured once and kept in its own file, so that stopped runs go on."""

import json
import os
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from luts.console import Reporter
from luts.errors import InputError
from models.training import atomically

Record = dict[str, Any]
"""What was measured for a cell, as plain values."""


class Cell(Protocol):
    """One measurement of a matrix."""

    @property
    def name(self) -> str:
        """As its file is named, without the ending."""

    @property
    def network(self) -> Hashable:
        """The float network; all its cells start from the same weights."""


AnyCell = TypeVar("AnyCell", bound=Cell)


class CellStore(Generic[AnyCell]):
    """A folder of results with a JSON file per cell in ``cells/``; none is ever replaced.

    Args:
        path: the folder; made when the first cell is kept.
        indent: of the files, as `json.dumps` takes it.

    Raises:
        InputError: it is not a folder and cannot become one, a file in it is not a cell of the
            study, or cells of one float network started from different weights.
    """

    def __init__(self, path: Path, *, indent: int | None = 1) -> None:
        self.path = path
        self._indent = indent
        self._weights: dict[Hashable, tuple[str, str]] = {}
        # Whatever is wrong is noticed before any work.
        for folder in (path, path / "cells"):
            _check_folder(folder)
        for file in self._files():
            self._check_same_weights(file.stem, self._read(file))

    def has(self, cell: AnyCell) -> bool:
        """Whether the cell was measured."""
        return self._file(cell.name).exists()

    def keep(self, cell: AnyCell, record: Record) -> None:
        """Write a cell, whole or not at all; one that is there already stays.

        Raises:
            InputError: another cell of its float network started from other weights.
        """
        self._check_same_weights(cell.name, record)
        if not self.has(cell):
            with atomically(self._file(cell.name)) as temporary:
                text = json.dumps(record, indent=self._indent)
                temporary.write_text(text + "\n", encoding="utf-8")

    def read(self, cell: AnyCell) -> Record:
        """What was kept."""
        return self._read(self._file(cell.name))

    def records(self) -> list[Record]:
        """All cells, by name."""
        return [self._read(file) for file in self._files()]

    def missing(self, cells: Iterable[AnyCell], **only: Sequence[Any] | None) -> list[AnyCell]:
        """Cells that were not measured yet, in order.

        Args:
            cells: of the matrix.
            only: by the name of an attribute, the values that are wanted; None for all.
        """
        wanted = {name: values for name, values in only.items() if values is not None}
        return [
            cell
            for cell in cells
            if all(getattr(cell, name) in values for name, values in wanted.items())
            and not self.has(cell)
        ]

    def take(self, cells: Sequence[AnyCell]) -> AnyCell | None:
        """The next of some cells to measure, or None if none is left; `keep` follows."""
        return next(iter(self.missing(cells)), None)

    def give_back(self, cell: AnyCell) -> None:
        """Let others take a cell, which was not measured."""

    def close(self) -> None:
        """Let go of what `take` needs; may be called twice."""

    def check_weights(self, network: Hashable, sha256: str) -> None:
        """Check a float network against the one that its cells were measured with.

        Raises:
            InputError: they started from other weights.
        """
        theirs, name = self._weights.get(network, (sha256, ""))
        if theirs != sha256:
            raise InputError(
                f"{self._file(name)} started from other weights ({theirs[:12]}…) than there are "
                f"now ({sha256[:12]}…): put those back, move the cells of this network away, or "
                f"name another folder with --results"
            )

    def weights_of(self, record: Record) -> tuple[Hashable, str]:
        """A record's float network, and the SHA-256 of its weights."""
        return record["network"], record["weights_sha256"]

    def check_record(self, path: Path, record: Record) -> None:
        """Refuse what is not a cell of this study; `KeyError` and `TypeError` say so too."""

    def _check_same_weights(self, name: str, record: Record) -> None:
        network, sha256 = self.weights_of(record)
        theirs, first = self._weights.setdefault(network, (sha256, name))
        if theirs != sha256:
            raise InputError(
                f"{first} ({theirs[:12]}…) and {name} ({sha256[:12]}…) are cells of one float "
                f"network but started from different weights: keep those of one of them in "
                f"{self.path}/cells and measure the others again (in a new database, where "
                f"machines share one)"
            )

    def _file(self, name: str) -> Path:
        return self.path / "cells" / f"{name}.json"

    def _files(self) -> list[Path]:
        return sorted((self.path / "cells").glob("*.json"))

    def _read(self, path: Path) -> Record:
        try:
            record: Record = json.loads(path.read_text(encoding="utf-8"))
            self.check_record(path, record)
            self.weights_of(record)
        except InputError:
            raise
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path} is not a cell of this study ({type(error).__name__}: {error}); move it "
                f"away"
            ) from error
        return record


def measure_all(
    store: CellStore[AnyCell],
    cells: Sequence[AnyCell],
    measure: Callable[[AnyCell], Record],
    kept: Callable[[AnyCell, Record], str],
    reporter: Reporter,
) -> None:
    """Measure cells until none is left to take; what was measured is kept at once.

    Args:
        store: hands out the cells, and keeps them.
        cells: in order.
        measure: computes one.
        kept: called with each cell when it is kept; what to say of it.
        reporter: shows the progress.
    """
    started, left, number = time.monotonic(), len(store.missing(cells)), 0
    while (cell := store.take(cells)) is not None:
        try:
            # Machines that share cells may not know what this folder has.
            record = store.read(cell) if store.has(cell) else measure(cell)
            store.keep(cell, record)
        except BaseException:
            store.give_back(cell)
            raise
        number += 1
        hours = (time.monotonic() - started) / 3600
        progress = f"{number}/{max(left, number)}, {hours:.2f} h"
        reporter.note(f"[{progress}] {cell.name}: {kept(cell, record)}")


def announce(
    cells: Sequence[AnyCell], seconds_of: Callable[[AnyCell], float], reporter: Reporter
) -> None:
    """Say how many cells are left to measure, and about how long they will take."""
    if not cells:
        reporter.note("every cell is there already")
        return
    hours = sum(map(seconds_of, cells)) / 3600
    reporter.note(
        f"{len(cells)} cells to measure, about {hours:.2f} hours on this machine as it is now"
    )


def _check_folder(path: Path) -> None:
    """Refuse a folder that cannot be written to, without making it."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise InputError(f"{nearest} is not a folder; name another with --results")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{nearest} cannot be written to; name another folder with --results")
