"""``python -m dse.front RUN…``: finished runs side by side, under one reference point."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from dse._compare import as_rows, draw, read_runs, shared_reference, summary, tolerance
from luts.console import Parser, run
from luts.errors import InputError
from models.training import atomically

SHOWN_SITES = 8


def main() -> None:
    """Read, compare, draw."""
    parser = Parser(prog="python -m dse.front", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=Path, metavar="FILE", help="picture of all fronts (PNG)")
    arguments = parser.parse_args()
    if arguments.out is not None and arguments.out.exists():
        raise InputError(f"{arguments.out} exists already and is not overwritten; name another")
    runs = read_runs(arguments.runs)
    energy, loss = shared_reference(runs)
    console = Console()
    console = console if console.is_terminal else Console(width=150)
    console.print(_table(summary(runs), f"Below energy {energy:.3f}, cross-entropy {loss:.3f}"))
    sites = tolerance(runs)
    console.print(_table(sites.head(SHOWN_SITES), "Sites that tolerate most, over all fronts"))
    console.print(_table(sites.tail(SHOWN_SITES), "and least"))
    if arguments.out is not None:
        with atomically(arguments.out) as temporary:
            draw(temporary, runs)
        console.print(f"picture: {arguments.out}", highlight=False)


def _table(frame: pd.DataFrame, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        table.add_column(column.replace("_", " "))
    for row in as_rows(frame):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    run(main)
