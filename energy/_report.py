"""What `python -m energy.report` shows: loads what it was given, makes tables and charts."""

import argparse
import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.table import Table

import models
from energy._breakdown import COMPONENTS, CostBreakdown
from energy._compare import draw_components
from energy._figures import Figures, published_figures, read_figures
from luts import EXACT
from luts.errors import InputError
from models.training import atomically

NETWORK_OPTIONS = ("arch", "topology", "num_classes", "image_size", "patch_size", "experts")
"""Command-line options that describe the network, named as in `models.NetworkConfig`."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network as the energy model sees it.

    Attributes:
        config: what the network is.
        sites: its sites.
        layers: facts about its expert layers.
        uniform: every expert equally often.
    """

    config: models.NetworkConfig
    sites: tuple[models.Site, ...]
    layers: tuple[models.ExpertWork, ...]
    uniform: models.Routing

    @classmethod
    def of(cls, config: models.NetworkConfig) -> "Workload":
        """Build the network with random weights, which cost what trained ones do, and list it."""
        network = models.build(config)
        example = torch.zeros(1, config.in_channels, config.image_size, config.image_size)
        return cls(
            config=config,
            sites=models.sites(network, example),
            layers=models.expert_work(network, example),
            uniform=models.uniform_routing(network),
        )


def network_config(options: argparse.Namespace) -> models.NetworkConfig:
    """The network of the run, if there is one, with what the command line says in its place.

    Raises:
        InputError: the run's config.toml does not describe a network, or a value is wrong.
    """
    described: dict[str, Any] = {"arch": "vit_small"}
    if options.run is not None:
        described = _network_of(options.run)
    typed = {name: getattr(options, name) for name in NETWORK_OPTIONS}
    described |= {name: value for name, value in typed.items() if value is not None}
    return models.NetworkConfig(**described)


def _network_of(run: Path) -> dict[str, Any]:
    try:
        config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{run} is not a run: cannot read config.toml: {error}") from error
    section = config.get("network", config)
    fields = {field.name for field in dataclasses.fields(models.NetworkConfig)}
    found = {key: value for key, value in section.items() if key in fields}
    if "arch" not in found:
        raise InputError(f"{run}/config.toml names no `arch`; give a folder made by dse.search")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}


def routing_of(options: argparse.Namespace, workload: Workload) -> models.Routing:
    """The routing that the command line names, or the uniform one.

    Raises:
        InputError: the file cannot be read or is no routing.
    """
    path = options.routing if options.run is None else options.run / "routing.json"
    if path is None or (options.run is not None and not workload.layers):
        return workload.uniform
    try:
        return models.Routing.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the routing {path}: {error}") from error


def assignment_of(options: argparse.Namespace, workload: Workload) -> models.Assignment:
    """The assignment that the command line names, its tables verified.

    Raises:
        InputError: it cannot be read, or does not fit the network or the catalogue.
    """
    if options.assignment is None:
        return models.Assignment.uniform(workload.sites, options.multiplier or EXACT)
    assignment = models.Assignment.read(options.assignment)
    assignment.check(workload.sites)
    for site in {choice.multiplier: site for site, choice in assignment.choices.items()}.values():
        assignment.multiplier(site)
    return assignment


def figures_of(options: argparse.Namespace) -> Figures:
    """The published figures with the user's in their place.

    Raises:
        InputError: a file has faults, or a memory has no figures.
    """
    figures = published_figures(convention=options.convention)
    for path in options.figures:
        figures = read_figures(path, figures)
    return dataclasses.replace(
        figures,
        weight_memory=options.weight_memory,
        activation_memory=options.activation_memory,
        batch_size=options.batch_size,
    )


def site_table(breakdown: CostBreakdown) -> Table:
    """One line a row, then the total."""
    counted = [c for c, energy in breakdown.components_pj().items() if energy]
    table = Table(title=f"energy of one input, model {breakdown.model}, {breakdown.convention}")
    table.add_column("site", no_wrap=True)
    table.add_column("kind")
    table.add_column("multiplier", no_wrap=True)
    for title in ("MACs", "rate", *(f"{c.replace('_', ' ')} nJ" for c in counted), "relative"):
        table.add_column(title, justify="right")
    for row in breakdown.rows:
        table.add_row(
            row.site,
            row.kind,
            row.multiplier + (" (swapped)" if row.swapped else ""),
            f"{row.macs:,}",
            f"{row.rate:.3f}",
            *(f"{getattr(row, f'{c}_pj') / 1000:,.2f}" for c in counted),
            f"{row.energy_pj / breakdown.dense_energy_pj:.5f}",
        )
    table.add_section()
    totals = breakdown.components_pj()
    table.add_row(
        "all",
        "",
        "",
        f"{breakdown.macs_expected:,.0f}",
        "",
        *(f"{totals[c] / 1000:,.2f}" for c in counted),
        f"{breakdown.energy_rel:.5f}",
        style="bold",
    )
    return table


def comparison_table(title: str, breakdowns: Mapping[str, CostBreakdown]) -> Table:
    """One line a breakdown: MACs, energy and the share of each component."""
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


def write_chart(path: Path, breakdowns: Mapping[str, CostBreakdown]) -> None:
    """Write the stacked bars to an image file.

    Raises:
        InputError: the file exists, or its name's ending is no image format.
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


def write_csv(path: Path, breakdown: CostBreakdown) -> None:
    """Write the breakdown's table to a CSV file.

    Raises:
        InputError: the file exists.
    """
    if path.exists():
        raise InputError(f"{path} exists already; give a new name for the table")
    with atomically(path) as temporary:
        breakdown.to_frame().to_csv(temporary, index=False)
