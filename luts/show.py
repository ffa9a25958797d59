"""``python -m luts.show [NAME …]`` or ``FILE``: figures, terms and error metrics."""

import argparse
import dataclasses
import shutil
from pathlib import Path

import numpy as np
from rich.table import Table

import luts
from luts._heat_map import error_heat_map
from luts._multiplier import FIGURES, FiguresError
from luts.console import Parser, Terminal, run
from luts.errors import InputError
from luts.loading import OPTIONS, add_layout_options, layout_of, read


def main() -> None:
    """Print what the command line names: multipliers of the catalogue, or one file."""
    parser = _parser()
    arguments = parser.parse_args()
    # A pipe has no width of its own: never wrap a row there.
    console = Terminal()
    names = arguments.names
    files = [name for name in names if _is_file(name)]
    if files and len(names) > 1:
        raise InputError(f"one file at a time, and no names beside it; not {' '.join(names)}")
    if files:
        _show_file(console, Path(files[0]), arguments)
    else:
        _show_names(console, ",".join(names), arguments)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m luts.show",
        description="Print multipliers of the catalogue, or look at one in a file. "
        "A .c or .v file is run, confined.",
    )
    sets = ", ".join(luts.catalog.set_names)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME|FILE",
        help=f"multiplier, array:a3b5d0 with any cuts, set ({sets}), or one file",
    )
    parser.add_argument("--out", type=Path, metavar="PNG", help="write a heat map of the error")
    parser.add_argument("--force", action="store_true", help="replace the PNG if it is there")
    file = parser.add_argument_group("of a file, where it does not say it itself")
    signed = file.add_mutually_exclusive_group()
    signed.add_argument("--signed", dest="signed", action="store_true", default=None)
    signed.add_argument("--unsigned", dest="signed", action="store_false", default=None)
    file.add_argument("--name", help="the multiplier's name (default: the file's)")
    add_layout_options(file)
    for figure in FIGURES:
        file.add_argument(f"--{figure.replace('_', '-')}", type=float, metavar="X")
    return parser


def _is_file(name: str) -> bool:
    if name in luts.catalog or name in luts.catalog.set_names:
        return False
    return Path(name).exists() or "." in Path(name).name


def _show_names(console: Terminal, typed: str, arguments: argparse.Namespace) -> None:
    given = ("name", *OPTIONS, *FIGURES)
    if arguments.signed is not None or any(getattr(arguments, name) for name in given):
        raise InputError(
            "--signed, --unsigned, --name, "
            + ", ".join(f"--{option.replace('_', '-')}" for option in OPTIONS)
            + " and figures are about the multiplier in a file; name the file"
        )
    chosen = [luts.catalog[name] for name in luts.catalog.names(typed or "all")]
    if arguments.out and len(chosen) != 1:
        raise InputError(f"--out draws one multiplier, not {len(chosen)}; name one")
    table = _table()
    for multiplier in chosen:
        aliases = (alias.removeprefix("v2022/") for alias in multiplier.aliases)
        _add_row(table, multiplier, ", ".join(aliases))
    console.print(table)
    for notice in luts.catalog.notices(typed):
        console.say(notice)
    if arguments.out:
        _draw(console, chosen[0], arguments)


def _show_file(console: Terminal, path: Path, arguments: argparse.Namespace) -> None:
    layout = layout_of(arguments)
    imported = read(path, name=arguments.name, signed=arguments.signed, layout=layout)
    given = {f: getattr(arguments, f) for f in FIGURES if getattr(arguments, f) is not None}
    missing = [f for f in FIGURES if f not in imported.figures | given]
    estimated = imported.estimate() if missing else None
    unknown = () if estimated else tuple(missing)
    # Looking at a table needs no figures; unknown ones are shown as such, never as this 1.
    filled = {f: getattr(estimated, f) if estimated else 1.0 for f in missing}
    multiplier = imported.multiplier(**given, **filled)
    if estimated:
        error = FiguresError(**{f: getattr(estimated.error, f) for f in missing})
        multiplier = dataclasses.replace(
            multiplier, figures_from="estimated", figures_error_pct=error
        )
    recognised = luts.catalog.recognise(multiplier)
    promise = luts.catalog.broken_promise(multiplier)
    table = _table(known_as=True)
    _add_row(table, multiplier, str(recognised or "—"), missing=unknown)
    console.print(table)
    for line in _findings(multiplier):
        console.say(line)
    if recognised:
        console.say(f"this is {recognised}")
    else:
        console.say("its table is that of no multiplier in the catalogue")
    if promise:
        console.say(f"warning: {promise}")
    for line in _origins(multiplier, set(given), unknown, is_circuit=imported.netlist is not None):
        console.say(line)
    if arguments.out:
        _draw(console, multiplier, arguments)


def _origins(
    multiplier: luts.Multiplier, given: set[str], unknown: tuple[str, ...], *, is_circuit: bool
) -> list[str]:
    """Where each figure comes from, one line per kind."""
    error = multiplier.figures_error_pct or FiguresError()
    estimated = [f for f in FIGURES if getattr(error, f)]
    in_file = [f for f in FIGURES if f not in {*given, *unknown, *estimated}]
    lines = [
        f"{', '.join(names)}: {how}"
        for names, how in (
            ([f for f in FIGURES if f in given], "given, whatever the file says"),
            (in_file, "published in the file"),
            (estimated, "estimated from its netlist (± as in the table), at uniform operands"),
        )
        if names
    ]
    if unknown:
        keywords = ", ".join(f"{figure}=…" for figure in unknown)
        lines.append(f"the file gives no {', '.join(unknown)}; luts.load needs {keywords}")
        if is_circuit:
            lines.append(_no_estimate())
    return lines


def _no_estimate() -> str:
    """Why nothing is estimated of a circuit in Verilog."""
    if shutil.which("yosys"):
        return "yosys cannot read it, or finds no gates in it to estimate them from"
    return "with yosys on the PATH they would be estimated from the gates that it finds"


def _findings(multiplier: luts.Multiplier) -> list[str]:
    factorisation = luts.Arithmetic(multiplier).factorisation
    kind = "signed" if multiplier.signed else "unsigned, used through sign and magnitude"
    metrics = luts.error_metrics(multiplier)
    n_wrong = round(metrics.ep_pct * 655.36)
    right = "all 65,536 products are exact"
    lines = [
        f"{multiplier.name}: {kind}; SHA-256 {multiplier.sha256}",
        f"{n_wrong:,} of all 65,536 products are wrong" if n_wrong else right,
    ]
    if factorisation is None:
        lines.append("no short exact sum of int8 products was found: it computes by table")
    else:
        terms = factorisation.terms
        lines.append(
            f"an exact sum of {terms} int8 product{'s' * (terms != 1)}, equal in all 65,536 entries"
        )
    if not multiplier.is_commutative:
        different = np.count_nonzero(multiplier.truth_table != multiplier.truth_table.T)
        lines.append(f"exchanging its operands changes {different:,} of 65,536 products")
    if multiplier.max_products < luts.MAX_K:
        lines.append(
            f"sums are exact up to K = {multiplier.max_products:,} products, as one product in use "
            f"is {luts.Arithmetic(multiplier).max_abs_product:,}"
        )
    if multiplier.truth_table[0, 0] != 0:
        lines.append(f"the product of two zeros is {multiplier.truth_table[0, 0]}")
    return lines


def _draw(console: Terminal, multiplier: luts.Multiplier, arguments: argparse.Namespace) -> None:
    error_heat_map(multiplier, arguments.out, overwrite=arguments.force)
    console.say(f"wrote {arguments.out}")


def _table(*, known_as: bool = False) -> Table:
    table = Table(caption="MAE % is of 2^16; swapped operands matter where a = b does not hold")
    table.add_column("name", no_wrap=True)
    table.add_column("known as" if known_as else "v2022 name", no_wrap=True)
    table.add_column("figures", no_wrap=True)
    for title in ("power mW", "rel.", "area µm²", "delay ns", "terms", "MAE", "MAE %", "WCE"):
        table.add_column(title, justify="right")
    for title in ("EP %", "MRE %", "bias", "ab = ba"):
        table.add_column(title, justify="right")
    return table


def _add_row(
    table: Table, multiplier: luts.Multiplier, second: str, *, missing: tuple[str, ...] = ()
) -> None:
    metrics = luts.error_metrics(multiplier)
    factorisation = luts.Arithmetic(multiplier).factorisation
    relative = multiplier.power_mw / luts.catalog[luts.EXACT].power_mw
    error = multiplier.figures_error_pct or FiguresError()
    shown = {
        "power_mw": f"{multiplier.power_mw:.3f}{_plus_minus(error.power_mw)}",
        "relative": f"{relative:.3f}",
        "area_um2": f"{multiplier.area_um2:.1f}{_plus_minus(error.area_um2)}",
        "delay_ns": f"{multiplier.delay_ns:.2f}{_plus_minus(error.delay_ns)}",
    }
    shown |= dict.fromkeys((*missing, *(["relative"] if "power_mw" in missing else [])), "—")
    table.add_row(
        multiplier.name,
        second,
        "unknown" if missing else multiplier.figures_from,
        *shown.values(),
        str(factorisation.terms) if factorisation else "table",
        f"{metrics.mae:.2f}",
        f"{metrics.mae_pct:.4f}",
        str(metrics.wce),
        f"{metrics.ep_pct:.2f}",
        f"{metrics.mre_pct:.2f}",
        f"{metrics.bias:+.2f}",
        "yes" if multiplier.is_commutative else "no",
    )


def _plus_minus(error_pct: float) -> str:
    return f" ±{error_pct:.0f} %" if error_pct else ""


if __name__ == "__main__":
    run(main)
