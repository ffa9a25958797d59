"""Files among the names of multipliers that a user types."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from luts._catalog import Catalog, evoapprox_catalog
from luts._multiplier import Multiplier
from luts.errors import InputError
from luts.loading._layout import Layout
from luts.loading._load import READERS, read


def files_named(typed: str, catalog: Catalog) -> list[Path]:
    """The files in a list of names, sets and files, parted by commas or ``+``.

    Args:
        typed: what a user wrote.
        catalog: what it knows is no file.
    """
    return [Path(word) for word in _words(typed, catalog) if _is_file(word, catalog)]


def add_files(
    typed: str,
    catalog: Catalog,
    *,
    signed: bool | None = None,
    figures: Mapping[str, float] | None = None,
    layout: Layout | None = None,
) -> tuple[str, tuple[str, ...]]:
    """Add the multipliers in files to ``catalog``.

    Args:
        typed: names, sets and files, parted by commas or ``+``.
        catalog: takes them, under their files' names.
        signed: as for `luts.load`.
        figures: ``power_mw``, ``area_um2`` and ``delay_ns`` of the one file.
        layout: as for `luts.load`.

    Returns:
        ``typed`` with names in the place of files, and what a reader must know about them.

    Raises:
        InputError: a file holds no multiplier, lacks a figure, or has the name of another circuit;
            or figures are given for no file, or for several.
    """
    files = files_named(typed, catalog)
    if (figures and len(files) != 1) or (signed is not None and not files):
        raise InputError(
            f"figures and signedness on the command line are about the multiplier of one file, "
            f"and {typed} names {len(files)}; put the figures into the files (PDK45_PWR = 0.3 mW)"
        )
    if not files:
        return typed, ()
    words, notes = [], []
    for word in _words(typed, catalog):
        if _is_file(word, catalog):
            multiplier = read(word, signed=signed, layout=layout).multiplier(**(figures or {}))
            notes += _added(multiplier, word, catalog, figures_given=bool(figures))
            words.append(multiplier.name)
        else:
            words.append(word)
    return ",".join(words), tuple(notes)


def _added(
    multiplier: Multiplier, word: str, catalog: Catalog, *, figures_given: bool
) -> list[str]:
    name = multiplier.name
    if "," in name:
        raise InputError(f"a comma parts names, so that {word} cannot be one; rename the file")
    known = catalog.get(name)
    is_same = known is not None and known.sha256 == multiplier.sha256
    if is_same and name in evoapprox_catalog() and not figures_given:
        return [f"{word} is {name} of the catalogue, which keeps its figures"]
    promise = "" if is_same else catalog.broken_promise(multiplier)
    if promise:
        raise InputError(f"{promise}; rename {word}")
    catalog.add(multiplier)
    return []


def _is_file(word: str, catalog: Catalog) -> bool:
    known = word in catalog or word in catalog.set_names
    return not known and Path(word).suffix.lower() in READERS


def _words(typed: str, catalog: Catalog) -> Iterator[str]:
    """Words between commas; a ``+`` inside a known name or in that of a file parts nothing."""
    for word in (word.strip() for word in typed.split(",")):
        known = word in catalog or word in catalog.set_names or Path(word).is_file()
        yield from [word] if known else (part.strip() for part in word.split("+"))
