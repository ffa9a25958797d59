"""``python -m energy.report``: what a network costs, site by site."""

import argparse
import dataclasses
from pathlib import Path

from rich.table import Table

import energy
import luts
import models
from energy import _report
from energy._circuits import Circuits, add_circuit_options, circuits_of
from energy._cost import FLOAT
from energy._options import add_cost_options, check_memories
from energy._rankings import shown_rankings
from energy._run import read_front
from energy._switching import ACTIVITY
from luts.console import Parser, Terminal, run
from luts.errors import InputError
from luts.settings import add_settings


def main() -> None:
    """Print the energy of an assignment as a table; compare topologies when asked."""
    parser = _parser()
    options = parser.parse_args()
    console = Terminal()
    if options.compare_runs:
        _check_alone(options, parser)
        _compare_runs(console, options)
        return
    if options.min_accuracy is not None:
        raise InputError("--min-accuracy is for --compare-runs; name the runs")
    for path in (options.csv, options.chart):
        if path is not None:
            _report.check_new(path)
    circuits = circuits_of(options)
    figures = energy.figures_of(options, circuits.catalog)
    check_memories(options, options.energy_model)
    config = _report.network_config(options)
    workload = _report.workload_of(options, config)
    assignment = _report.assignment_of(options, workload, circuits)
    breakdown = energy.cost(workload, assignment, figures, model=options.energy_model)
    shown = {f"{config.topology}, as above" if options.compare else config.topology: breakdown}
    if options.compare:
        shown |= _all_topologies(options, figures, config, circuits)
    spread = _report.spread_of(options, workload, assignment, figures) if options.spread else None
    rankings = shown_rankings(workload, assignment, figures, model=options.energy_model)
    if options.csv:
        _report.write_csv(options.csv, breakdown)
    if options.chart:
        _report.write_chart(options.chart, shown)
    console.print(_report.site_table(breakdown))
    if workload.layers:
        worst = energy.worst_case(workload, assignment, figures, model=options.energy_model)
        shown |= {f"{config.topology}, worst case": worst}
    console.print(_report.comparison_table("totals of one input, shares of the energy", shown))
    tables = [_report.spread_table(spread, worst)] if spread is not None else []
    _print_all(console, [*rankings.tables, *tables])
    notes = _notes(options, breakdown, bool(workload.layers))
    chosen = _report.assignment_notes(workload, assignment, figures, circuits)
    notes += [*rankings.notes, *chosen]
    for line in [*notes, *circuits.notes]:
        console.say(line)


def _print_all(console: Terminal, tables: list[Table]) -> None:
    for table in tables:
        console.print(table)


def _all_topologies(
    options: argparse.Namespace,
    figures: energy.Figures,
    config: models.NetworkConfig,
    circuits: Circuits,
) -> dict[str, energy.CostBreakdown]:
    """The same network in every topology, one multiplier everywhere, uniform routing."""
    if options.energy_model == ACTIVITY:
        raise InputError(
            "--compare builds networks that have seen no images, and the energy model activity "
            "takes operands; report a run of each topology on its own"
        )
    costs = {}
    for topology in models.TOPOLOGIES:
        workload = energy.Workload.of(dataclasses.replace(config, topology=topology))
        assignment = models.Assignment.uniform(
            workload.sites, circuits.chosen, catalog=circuits.catalog
        )
        costs[topology] = energy.cost(workload, assignment, figures, model=options.energy_model)
    return costs


def _check_alone(options: argparse.Namespace, parser: Parser) -> None:
    """Refuse what has no meaning beside ``--compare-runs``."""
    for name, value in vars(options).items():
        if name not in ("compare_runs", "min_accuracy") and value != parser.get_default(name):
            raise InputError(
                f"--compare-runs reads finished runs as they are, and takes --min-accuracy beside "
                f"it, not --{name.replace('_', '-')}"
            )


def _compare_runs(console: Terminal, options: argparse.Namespace) -> None:
    fronts = {str(run): read_front(run) for run in options.compare_runs}
    if options.min_accuracy is None:
        raise InputError("comparing runs takes an accuracy to reach: --min-accuracy 95")
    cheapest = energy.cheapest_within(fronts, options.min_accuracy).reset_index(names="run")
    console.print(
        f"cheapest member of each front with validation accuracy ≥ {options.min_accuracy:g}"
    )
    console.print(cheapest.to_string(index=False, na_rep="none"), highlight=False)


def _notes(
    options: argparse.Namespace, breakdown: energy.CostBreakdown, has_experts: bool
) -> list[str]:
    notes = [
        f"relative: of the dense network with the exact multiplier, {breakdown.dense_macs:,} MACs",
        f"model {breakdown.model}: {energy.MODELS[options.energy_model]}",
        f"convention {breakdown.convention}: {energy.CONVENTIONS[breakdown.convention]}",
    ]
    notes.append(
        f"coverage: {breakdown.coverage:.1%} of the multiply-accumulates are sites'; the rest is "
        f"in rows of kind uncovered, as exact"
    )
    if has_experts:
        notes.append(f"routing: {breakdown.routing_source}")
    in_float = any(row.multiplier == FLOAT for row in breakdown.rows)
    if breakdown.model not in ("multipliers", ACTIVITY) or in_float:
        notes.append("absolute energies: 45 nm, Horowitz, ISSCC 2014, unless --figures says else")
    return notes + luts.catalog.notices(options.multiplier or "")


def _parser() -> Parser:
    parser = Parser(prog="python -m energy.report", description=__doc__)
    add = parser.add_argument
    overrides = {"arch": {"help": "architecture (default vit_small)"}}
    add_settings(parser, models.NetworkConfig, _report.NETWORK_OPTIONS, overrides=overrides)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--multiplier",
        metavar="NAME|FILE",
        help=f"at every site but the routers (default {luts.EXACT}, the exact one)",
    )
    chosen.add_argument(
        "--assignment", type=Path, metavar="FILE", help="a run's assignments/*.json"
    )
    add("--run", type=Path, metavar="RUN", help="take network and routing from RUN")
    add(
        "--routing",
        type=Path,
        metavar="FILE",
        help="a run's routing.json, or its routing/*.json: a front member's own",
    )
    add_cost_options(parser, model="multipliers")
    add("--spread", action="store_true", help="how the cost varies over the inputs of --run")
    add("--compare", action="store_true", help="all topologies with --multiplier, uniform routing")
    add("--compare-runs", type=Path, nargs="+", metavar="RUN", help="cheapest members of fronts")
    add(
        "--min-accuracy", type=float, metavar="A", help="accuracy (%%) that --compare-runs asks for"
    )
    add("--chart", type=Path, metavar="FILE", help="write a stacked bar chart")
    add("--csv", type=Path, metavar="FILE", help="write the table")
    add_circuit_options(parser)
    return parser


if __name__ == "__main__":
    run(main)
