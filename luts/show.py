"""``python -m luts.show [NAME …]``: the catalogue with figures, terms and error metrics."""

from rich.console import Console
from rich.table import Table

import luts
from luts.console import Parser, run


def main() -> None:
    """Print a table of the multipliers that the command line names."""
    parser = Parser(prog="python -m luts.show", description=__doc__)
    sets = ", ".join(luts.catalog.set_names)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"multiplier or set ({sets})")
    typed = ",".join(parser.parse_args().names)
    chosen = luts.catalog.names(typed or "all")
    # A pipe has no width of its own: never wrap a row there.
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(_table([luts.catalog[name] for name in chosen]))
    for notice in luts.catalog.notices(typed):
        console.print(notice, highlight=False, soft_wrap=True)


def _table(multipliers: list[luts.Multiplier]) -> Table:
    exact_mw = luts.catalog[luts.EXACT].power_mw
    table = Table(caption="MAE % is of 2^16; swapped operands matter where a = b does not hold")
    table.add_column("name", no_wrap=True)
    table.add_column("v2022 name", no_wrap=True)
    for title in ("power mW", "rel.", "area µm²", "delay ns", "terms", "MAE", "MAE %", "WCE"):
        table.add_column(title, justify="right")
    for title in ("EP %", "MRE %", "bias", "ab = ba"):
        table.add_column(title, justify="right")
    for multiplier in multipliers:
        metrics = luts.error_metrics(multiplier)
        factorisation = luts.Arithmetic(multiplier).factorisation
        table.add_row(
            multiplier.name,
            ", ".join(alias.removeprefix("v2022/") for alias in multiplier.aliases),
            f"{multiplier.power_mw:.3f}",
            f"{multiplier.power_mw / exact_mw:.3f}",
            f"{multiplier.area_um2:.1f}",
            f"{multiplier.delay_ns:.2f}",
            str(factorisation.terms) if factorisation else "table",
            f"{metrics.mae:.2f}",
            f"{metrics.mae_pct:.4f}",
            str(metrics.wce),
            f"{metrics.ep_pct:.2f}",
            f"{metrics.mre_pct:.2f}",
            f"{metrics.bias:+.2f}",
            "yes" if multiplier.is_commutative else "no",
        )
    return table


if __name__ == "__main__":
    run(main)
