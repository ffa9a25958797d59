"""Multipliers in files of the user's, beside those of the catalogue, for one command."""

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import luts
from energy import _tables
from energy.run_files import MULTIPLIERS
from luts import FIGURES
from luts.console import Parser
from luts.errors import InputError
from luts.loading import READERS, add_layout_options, from_kept, layout_of, read


@dataclasses.dataclass(frozen=True)
class Circuits:
    """Multipliers that a command line speaks of.

    Attributes:
        catalog: the published ones and those of its files.
        chosen: name of the one that ``--multiplier`` names, the exact one by default.
        notes: what a reader must know about the files.
    """

    catalog: luts.Catalog
    chosen: str
    notes: tuple[str, ...] = ()


def add_circuit_options(parser: Parser) -> None:
    """Add ``--load``, and what its files may not say themselves."""
    group = parser.add_argument_group(
        "multipliers of your own",
        "in files that luts.load reads; a .c or .v file is run, confined",
    )
    add = group.add_argument
    add(
        "--load",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="one that --assignment names; repeatable",
    )
    for figure in FIGURES:
        add(f"--{figure.replace('_', '-')}", type=float, metavar="X", help="where it says none")
    signed = group.add_mutually_exclusive_group()
    signed.add_argument("--signed", dest="signed", action="store_true", default=None)
    signed.add_argument("--unsigned", dest="signed", action="store_false", default=None)
    add("--name", help="its name (default: the file's)")
    add_layout_options(group)


def circuits_of(options: argparse.Namespace) -> Circuits:
    """The catalogue with the multipliers of the files that the command line names.

    Figures come from ``--figures``, else from the command line, else from the file, else (Verilog)
    from an estimate of its netlist.

    Raises:
        InputError: a file does not hold a multiplier, or there is no power, area or delay for it.
    """
    catalog = luts.evoapprox_catalog()
    if options.run is not None:
        add_kept(options.run, catalog)
    named: str = options.multiplier or luts.EXACT
    own = [Path(named)] if _is_file(named, catalog) else []
    files = [*options.load, *own]
    given = {name: getattr(options, name) for name in (*FIGURES, "name")}
    if len(files) > 1 and any(value is not None for value in given.values()):
        raise InputError(
            f"figures and a name on the command line are for one file, not for {len(files)}; put "
            f"the figures into the files, or into a table for --figures"
        )
    if not files and any(value is not None for value in (*given.values(), options.signed)):
        raise InputError(
            "--power-mw, --area-um2, --delay-ns, --signed, --unsigned and --name are about the "
            "multiplier in a file; name it with --multiplier FILE or --load FILE"
        )
    notes = []
    for file in files:
        multiplier = _loaded(file, options, catalog)
        note = catalog.broken_promise(multiplier)
        catalog.add(multiplier)
        notes += [f"warning: {note}"] if note else []
        if multiplier.figures_from == "estimated":
            notes += catalog.notices(multiplier.name)
        named = multiplier.name if own and file is own[0] else named
    return Circuits(catalog, catalog[named].name, tuple(notes))


def _loaded(file: Path, options: argparse.Namespace, catalog: luts.Catalog) -> luts.Multiplier:
    layout = layout_of(options)
    imported = read(file, name=options.name, signed=options.signed, layout=layout)
    given = {f: getattr(options, f) for f in FIGURES if getattr(options, f) is not None}
    figures = imported.figures | given | _in_tables(imported.name, options.figures, catalog)
    return imported.multiplier(**figures)


def _in_tables(name: str, paths: list[Path], catalog: luts.Catalog) -> dict[str, float]:
    known = [*catalog, *(alias for m in catalog.values() for alias in m.aliases), name]
    rows = [row for path in paths for row in _tables.read(path, known_multipliers=known)]
    return next((dict(row.numbers) for row in rows if row.name == name), {})


def own_multipliers(
    names: Iterable[str], catalog: luts.Catalog = luts.catalog
) -> tuple[luts.Multiplier, ...]:
    """Those of ``names`` that the catalogue lacks, or has with other figures, when it is new.

    Args:
        names: of multipliers.
        catalog: where they are.
    """
    new = luts.evoapprox_catalog()
    chosen = [catalog[name] for name in names]
    return tuple(m for m in chosen if m.name not in new or _figures(m) != _figures(new[m.name]))


def add_kept(run: Path, catalog: luts.Catalog = luts.catalog) -> None:
    """Add the multipliers in a run's folder to ``catalog``.

    Raises:
        InputError: a file is damaged, or ``catalog`` has another circuit of that name, or the same
            one with figures that are neither these nor the published ones.
    """
    paths = sorted((run / MULTIPLIERS).glob("*.npz"))
    new = luts.evoapprox_catalog() if paths else {}
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        kept = from_kept(content, str(path))
        known = catalog.get(kept.name)
        if known is not None and _figures(known) not in {
            _figures(m) for m in (kept, new.get(kept.name)) if m is not None
        }:
            raise InputError(
                f"{path} has other figures than the multiplier {kept.name} that is known already, "
                f"from another run or from you: read one of them at a time"
            )
        catalog.add(kept)


def _figures(multiplier: luts.Multiplier) -> tuple[float, ...]:
    return tuple(getattr(multiplier, figure) for figure in FIGURES)


def _is_file(name: str, catalog: luts.Catalog) -> bool:
    return name not in catalog and (Path(name).exists() or Path(name).suffix in READERS)
