"""What `python -m energy.report` shows: loads what it was given, makes tables and charts."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

import models
from energy import run_files
from energy._area import distinct_area
from energy._breakdown import COMPONENTS, CostBreakdown
from energy._circuits import Circuits
from energy._compare import draw_components
from energy._cost import under_each_model
from energy._csv import write_table
from energy._figures import Figures
from energy._origin import figures_origin
from energy._run import described_network, network_from, read_operands, read_routing
from energy._spread import Spread, read_per_input, spread
from energy._switching import ACTIVITY
from energy._workload import Workload
from luts.errors import InputError
from luts.settings import given_settings
from models.networks import ignored_by
from models.training import atomically, check_writable

NETWORK_OPTIONS = ("arch", "topology", "num_classes", "image_size", "patch_size", "experts")
"""Command-line options that describe the network, named as in `models.NetworkConfig`."""


def network_config(options: argparse.Namespace) -> models.NetworkConfig:
    """The network of the run, if there is one, with what the command line says in its place.

    Raises:
        InputError: the run's config.toml does not describe a network, or a value is wrong.
    """
    described: dict[str, Any] = {"arch": "vit_small"}
    if options.run is not None:
        described = described_network(options.run)
    given = given_settings(options, models.NetworkConfig)
    if "topology" in given:  # a run's own of another topology says nothing of this one
        unused = ignored_by(given["topology"])
        described = {name: value for name, value in described.items() if name not in unused}
    return network_from(described | given, options.run)


def workload_of(options: argparse.Namespace, config: models.NetworkConfig) -> Workload:
    """The network with the routing that the command line names, or the run's, or uniform.

    Raises:
        InputError: the file cannot be read or is not a routing.
    """
    workload = Workload.of(config)
    if options.routing is not None:
        workload = workload.under(read_routing(options.routing))
    if options.run is None:
        return workload
    if options.energy_model == ACTIVITY or (options.run / run_files.OPERANDS).exists():
        workload = workload.fed(read_operands(options.run))
    if options.routing is not None or not workload.layers:
        return workload
    return workload.under(read_routing(options.run / run_files.ROUTING))


def assignment_of(
    options: argparse.Namespace, workload: Workload, circuits: Circuits
) -> models.Assignment:
    """The assignment that the command line names, its tables verified.

    Raises:
        InputError: it cannot be read, or does not fit the network or the catalogue.
    """
    if options.assignment is None:
        return models.Assignment.uniform(workload.sites, circuits.chosen, catalog=circuits.catalog)
    assignment = models.Assignment.read(options.assignment)
    assignment.check(workload.sites)
    for site in {choice.multiplier: site for site, choice in assignment.choices.items()}.values():
        assignment.multiplier(site, circuits.catalog)
    return assignment


def spread_of(
    options: argparse.Namespace,
    workload: Workload,
    assignment: models.Assignment,
    figures: Figures,
) -> Spread:
    """How the cost varies over the inputs of the run.

    Raises:
        InputError: no run is given, or it has no experts or no routing of single inputs.
    """
    if options.run is None:
        raise InputError("--spread takes the inputs of a run; name it with --run RUN")
    if not workload.layers:
        raise InputError(
            f"--spread is over what experts do; {options.run} is dense, so that every "
            f"input costs the same"
        )
    per_input = read_per_input(options.run / run_files.PER_INPUT)
    return spread(workload, assignment, per_input, figures, model=options.energy_model)


def spread_table(costs: Spread, worst: CostBreakdown) -> Table:
    """One line per quantity: its quantiles over the inputs, and the worst that any can cost."""
    frame = costs.to_frame()
    frame["worst case"] = [worst.macs_expected, worst.energy_rel]
    table = Table(title=f"spread over {len(costs.macs)} inputs, each by its own routing")
    table.add_column("")
    for title in frame.columns:
        table.add_column(title, justify="right")
    table.add_row("MACs", *(f"{value:,.0f}" for value in frame.loc["macs"]))
    table.add_row("relative", *(f"{value:.5f}" for value in frame.loc["energy_rel"]))
    return table


def site_table(breakdown: CostBreakdown) -> Table:
    """One line per row, then the total; operand widths where their traffic is counted."""
    counted = [c for c, energy in breakdown.components_pj().items() if energy]
    with_bits = breakdown.model == "memory"
    with_toggles = breakdown.model == ACTIVITY
    table = Table(title=f"energy of one input, model {breakdown.model}, {breakdown.convention}")
    table.add_column("site", no_wrap=True)
    table.add_column("kind")
    table.add_column("multiplier", no_wrap=True)
    if with_bits:
        table.add_column("bits x, w", justify="right", no_wrap=True)
    if with_toggles:
        table.add_column("toggles", justify="right", no_wrap=True)
    for title in ("MACs", "rate", *(f"{c.replace('_', ' ')} nJ" for c in counted), "relative"):
        table.add_column(title, justify="right")
    for row in breakdown.rows:
        table.add_row(
            row.site,
            row.kind,
            row.choice,
            *([f"{row.activation_bits}, {row.weight_bits}"] if with_bits else []),
            *([f"{row.switching:.3f}"] if with_toggles else []),
            f"{row.macs:,}",
            f"{row.rate:.3f}",
            *(f"{getattr(row, f'{c}_pj') / 1000:,.2f}" for c in counted),
            f"{row.energy_pj / breakdown.dense_energy_pj:.5f}",
        )
    table.add_section()
    totals = breakdown.components_pj()
    table.add_row(
        "all",
        *[""] * (2 + with_bits + with_toggles),
        f"{breakdown.macs_expected:,.0f}",
        "",
        *(f"{totals[c] / 1000:,.2f}" for c in counted),
        f"{breakdown.energy_rel:.5f}",
        style="bold",
    )
    return table


def comparison_table(title: str, breakdowns: Mapping[str, CostBreakdown]) -> Table:
    """One line per breakdown: MACs, energy and the share of each component."""
    table = Table(title=title)
    table.add_column("")
    shown = [c for c in COMPONENTS if any(b.components_pj()[c] for b in breakdowns.values())]
    for name in ("MACs", "of dense", "µJ", "relative", *(f"{c.replace('_', ' ')}" for c in shown)):
        table.add_column(name, justify="right")
    for label, breakdown in breakdowns.items():
        shares = breakdown.shares()
        table.add_row(
            label,
            f"{breakdown.macs_expected:,.0f}",
            f"{breakdown.macs_expected / breakdown.dense_macs:.3f}",
            f"{breakdown.energy_pj / 1e6:.3f}",
            f"{breakdown.energy_rel:.4f}",
            *(f"{shares[c]:.1%}" for c in shown),
        )
    return table


def assignment_notes(
    workload: Workload, assignment: models.Assignment, figures: Figures, circuits: Circuits
) -> list[str]:
    """What the assignment costs under each energy model, on which figures, and their area."""
    costs = under_each_model(workload, assignment, figures)
    area = distinct_area(assignment, figures)
    named = ", ".join(f"{name} {energy_rel:.4f}" for name, energy_rel in costs.items())
    origin = figures_origin(assignment, figures, circuits.catalog)
    return [
        f"power of its circuits: {origin}",
        f"relative under each energy model at batch size 1: {named}",
        f"circuits: {area.count} different, one of each has {area.area_um2:,.1f} µm², "
        f"{area.area_rel:.2f} of one exact multiplier",
    ]


def write_chart(path: Path, breakdowns: Mapping[str, CostBreakdown]) -> None:
    """Write the stacked bars to an image file.

    Raises:
        InputError: the file exists, or the ending of its name is not an image format.
    """
    if path.exists():
        raise InputError(f"{path} exists already; give a new name for the chart")
    figure = Figure(figsize=(2.5 + 1.5 * len(breakdowns), 4.5), layout="constrained")
    kind = path.suffix.removeprefix(".")
    if kind not in figure.canvas.get_supported_filetypes():
        raise InputError(f"a chart's name ends in .png, .svg or .pdf, not {path.suffix!r}")
    draw_components(figure.add_subplot(), breakdowns)
    with atomically(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=150)


def check_new(path: Path) -> None:
    """Refuse a file that exists or cannot be written, before anything is computed for it.

    Raises:
        InputError: it is one.
    """
    if path.exists():
        raise InputError(f"{path} exists already; give a new name")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    check_writable(folder / path.name)  # without making the folders that are missing


def write_csv(path: Path, breakdown: CostBreakdown) -> None:
    """Write the breakdown's table to a CSV file.

    Raises:
        InputError: the file exists.
    """
    if path.exists():
        raise InputError(f"{path} exists already; give a new name for the table")
    write_table(path, breakdown.to_frame())
