"""``python -m dse.front RUN…``: finished runs side by side, under one reference point."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from dse.results import (
    Finished,
    as_rows,
    draw,
    is_asked,
    joint_trials,
    minimised,
    read_runs,
    recost_all,
    shared_reference,
    summary,
    tolerance,
)
from energy import add_cost_options, write_table
from luts.console import Parser, Terminal, run
from luts.errors import InputError
from models.training import atomically

SHOWN_SITES = 8


def main() -> None:
    """Read, compare, draw; under other energies than the runs' own where they are asked for."""
    options = _parser().parse_args()
    for path in (options.out, options.csv):
        if path is not None and path.exists():
            raise InputError(f"{path} exists already and is not overwritten; name another")
    recosts = is_asked(options)
    runs, figures = read_runs(options.runs, any_model=recosts), None
    if recosts:
        runs, figures = recost_all(runs, options)
    energy, loss = shared_reference(runs)
    console = Terminal(width=150)
    if recosts:
        console.say(f"energy: {runs[0].energy_model}, costed anew")
    console.print(_table(summary(runs), f"Below energy {energy:.3f}, {minimised(runs)} {loss:.3f}"))
    sites = tolerance(runs, figures)
    console.print(_table(sites.head(SHOWN_SITES), "Sites that tolerate most, over all fronts"))
    console.print(_table(sites.tail(SHOWN_SITES), "and least"))
    _write(options, runs, console)


def _write(options: argparse.Namespace, runs: Sequence[Finished], console: Terminal) -> None:
    if options.csv is not None:
        write_table(options.csv, joint_trials(runs))
        console.say(f"trials: {options.csv}")
    if options.out is not None:
        with atomically(options.out) as temporary:
            draw(temporary, runs)
        console.say(f"picture: {options.out}")


def _parser() -> Parser:
    parser = Parser(prog="python -m dse.front", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    parser.add_argument("--out", type=Path, metavar="FILE", help="picture of all fronts (PNG)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="table of all runs' trials")
    group = parser.add_argument_group(
        "other energies than the runs searched with",
        "Nothing is measured again: assignments and routing rates are those of the runs.",
    )
    add_cost_options(group, model=None)
    return parser


def _table(frame: pd.DataFrame, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        table.add_column(column.replace("_", " "))
    for row in as_rows(frame):
        table.add_row(*row)
    return table


if __name__ == "__main__":
    run(main)
