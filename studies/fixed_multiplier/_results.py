"""The results folder: one file per cell, all of one preset."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import get_type_hints

from luts.errors import InputError
from studies._files import check_free
from studies._matrix import CellStore, Record
from studies.fixed_multiplier._plan import FixedCell, MatrixPreset

_SCORE = {"accuracy": float, "cross_entropy": float, "images": int}
_SHAPE: dict[str, object] = {
    "cell": {
        name: kind
        for name, kind in get_type_hints(FixedCell).items()
        if name not in ("swapped", "variant")  # which came later
    },
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
    "accuracy.md",
)
"""What is made from the cells, beside them."""


class Results(CellStore[FixedCell]):
    """A folder with ``cells/``; nothing in it is overwritten by another configuration.

    Args:
        path: the folder; made when the first cell is kept.
        preset: what its cells belong to.

    Raises:
        InputError: as `CellStore`; or somebody else's files have the names of ours, or a cell is
            there twice, was computed with other settings or recovered by another recipe.
    """

    def __init__(self, path: Path, preset: MatrixPreset) -> None:
        self.preset = preset
        self._recipes: dict[Hashable, tuple[Record, str]] = {}
        super().__init__(path)
        if not (path / "cells").exists():
            check_free(path, WRITTEN, "cells that it could be of")

    def weights_of(self, record: Record) -> tuple[Hashable, str]:
        """A record's float network, and the SHA-256 of its weights."""
        return cell_of(record).network, record["base"]["weights_sha256"]

    def check_record(self, path: Path, record: Record) -> None:
        """Refuse what is not a cell of this preset."""
        _check_shape(record, _SHAPE)
        cell, theirs = cell_of(record), record["settings"]
        if path.stem != cell.name:
            raise InputError(
                f"{path} holds the cell of {cell.name}.json, which would count twice: move it away "
                f"if it is a copy, or give it that name"
            )
        another = "name another folder with --results"
        if theirs.get("preset") != self.preset.name:
            raise InputError(
                f"{self.path} holds results of preset {theirs.get('preset')}, not of "
                f"{self.preset.name}; {another}"
            )
        if (cell.arch, cell.dataset, cell.variant) not in self.preset.subjects:
            by = f" by protocol {cell.variant}" if cell.variant else ""
            raise InputError(
                f"{self.path} holds cells of {cell.arch} on {cell.dataset}{by}, which preset "
                f"{self.preset.name} does not have; {another}"
            )
        mine = self.preset.settings(cell)
        for key in sorted({*mine, *theirs}):
            if mine.get(key) != theirs.get(key):
                raise InputError(
                    f"{path} was computed with {key} {theirs.get(key)!r}, not {mine.get(key)!r}; "
                    f"{another}"
                )
        self._check_same_recipe(cell, recipe_of(record), path.name)

    def keep(self, cell: FixedCell, record: Record) -> None:
        """As `CellStore.keep`.

        Raises:
            InputError: another cell of its float network was recovered by another recipe, or
                started from other weights.
        """
        self._check_same_recipe(cell, recipe_of(record), cell.name)
        super().keep(cell, record)

    def check_recipe(self, cell: FixedCell, recipe: Record) -> None:
        """Check how a cell will be recovered against those of its network that are there.

        Raises:
            InputError: they were recovered otherwise.
        """
        self._check_same_recipe(cell, recipe, f"{cell.name}, which is to be measured,")

    def _check_same_recipe(self, cell: FixedCell, recipe: Record, name: str) -> None:
        is_retrained = cell.recovery == "retrained"
        epochs = self.preset.plan(cell).epochs_of(cell.multiplier) if is_retrained else None
        kind = (cell.arch, cell.dataset, cell.variant, cell.recovery, epochs)
        theirs, first = self._recipes.setdefault(kind, (recipe, name))
        if theirs != recipe:
            keys = sorted(key for key in {*theirs, *recipe} if theirs.get(key) != recipe.get(key))
            raise InputError(
                f"{first} and {name} in {self.path} are recovered by different recipes "
                f"({', '.join(keys)}), which do not compare: name another folder with --results"
            )


def recipe_of(record: Record) -> Record:
    """How a cell was recovered: its steps with their settings.

    Cells from before these were kept have what they say in words; no recipe of today equals that.
    """
    if record["cell"]["recovery"] == "none":
        return {}
    recipe: Record = record.get("recipe") or {"how": record["how"]}
    return recipe


def cell_of(record: Record) -> FixedCell:
    """The cell that a record belongs to.

    Raises:
        TypeError: it has a value of another type.
    """
    cell = FixedCell(**record["cell"])
    for name, kind in get_type_hints(FixedCell).items():
        if type(getattr(cell, name)) is not kind:
            raise TypeError(f"{name} is {getattr(cell, name)!r}")
    return cell


def _check_shape(given: object, shape: object, name: str = "the file") -> None:
    """Check plain values against a shape, which names the keys of a table and their types."""
    if isinstance(shape, Mapping):
        if not isinstance(given, dict):
            raise TypeError(f"{name} is not a table")
        for key, inner in shape.items():
            # What is not retrained needs no validation images.
            if key == "validation" and given[key] is None:
                continue
            _check_shape(given[key], inner, key)
    elif type(given) not in ((int, float) if shape is float else (shape,)):
        raise TypeError(f"{name} is {given!r}")
