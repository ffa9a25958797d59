"""How the cost varies from input to input, and how bad it can get."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from energy._activity import Activity
from energy._breakdown import CostBreakdown
from energy._cost import EnergyModel, cost, mean_factor, site_cost, switching_of, uncovered_cost
from energy._figures import Figures, published_figures
from energy._workload import Workload
from luts.errors import InputError
from luts.text import quoted
from models import Assignment, ExpertWork, Routing

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Spread:
    """Cost of single inputs.

    Attributes:
        macs: multiply-accumulates of each input.
        energy_rel: relative energy of each input.
    """

    macs: tuple[float, ...]
    energy_rel: tuple[float, ...]

    def to_frame(self) -> pd.DataFrame:
        """Mean, standard deviation and quantiles; one line per quantity."""
        lines = {}
        for name in ("macs", "energy_rel"):
            values = np.array(getattr(self, name))
            low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
            lines[name] = {
                "mean": math.fsum(values) / len(values),
                "std": values.std(),
                "min": values.min(),
                "p5": low,
                "median": median,
                "p95": high,
                "max": values.max(),
            }
        return pd.DataFrame.from_dict(lines, orient="index")


def usage(per_input: Sequence[Routing]) -> Routing:
    """Part of the inputs that need each expert at all, in the place of activation rates.

    Args:
        per_input: activation rates of single inputs.

    Raises:
        InputError: there is no input.
    """
    _check(per_input)
    return Routing(
        rates={
            layer: tuple(
                math.fsum(one.rate(layer, expert) > 0 for one in per_input) / len(per_input)
                for expert in range(len(rates))
            )
            for layer, rates in per_input[0].rates.items()
        },
        source=f"use by {len(per_input)} inputs",
    )


def per_input_json(per_input: Sequence[Routing]) -> str:
    """Activation rates of single inputs as JSON text: one row per input, one column per expert.

    Args:
        per_input: of one network, as `models.measure_routing_per_input`.

    Raises:
        InputError: there is no input.
    """
    _check(per_input)
    rates = {layer: [one.rates[layer] for one in per_input] for layer in per_input[0].rates}
    return json.dumps({"version": VERSION, "source": per_input[0].source, "rates": rates})


def read_per_input(path: Path) -> tuple[Routing, ...]:
    """Activation rates of single inputs from a file of `per_input_json`.

    Raises:
        InputError: the file cannot be read, or is not of this kind.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["version"] != VERSION:
            raise InputError(f"{path} has version {record['version']}; this reads {VERSION}")
        columns = {str(layer): rows for layer, rows in record["rates"].items()}
        inputs = zip(*columns.values(), strict=True)
        return tuple(
            Routing(rates=dict(zip(columns, rows, strict=True)), source=str(record["source"]))
            for rows in inputs
        )
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"no routing of single inputs in {path.parent} ({path.name}); "
            f"python -m dse.search --resume {quoted(path.parent)} measures it"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a routing of single inputs: {error!r}") from error


def spread(
    workload: Workload,
    assignment: Assignment | str,
    per_input: Sequence[Routing],
    figures: Figures | None = None,
    *,
    model: EnergyModel = "multipliers",
) -> Spread:
    """Cost of each input under its own routing.

    Args:
        workload: the network; its own routing does not matter.
        assignment: a choice for every site, or the name of one multiplier.
        per_input: activation rates of single inputs, as `models.measure_routing_per_input`.
        figures: power and energies; by default the published ones.
        model: what is counted.

    Raises:
        InputError: there is no input, or something does not fit together.
    """
    _check(per_input)
    if isinstance(assignment, str):
        assignment = Assignment.uniform(workload.sites, assignment)
    figures = published_figures() if figures is None else figures
    costs = [
        cost(workload.under(one), assignment, figures, used=usage([one]), model=model)
        for one in per_input
    ]
    return Spread(
        macs=tuple(c.macs_expected for c in costs),
        energy_rel=tuple(c.energy_rel for c in costs),
    )


def worst_case(
    workload: Workload,
    assignment: Assignment | str,
    figures: Figures | None = None,
    *,
    model: EnergyModel = "multipliers",
) -> CostBreakdown:
    """Cost of an input that sends every item to its layer's costliest experts.

    Under all models but ``memory`` an input can cost that much and none can cost more. Under
    ``memory`` it is an upper bound: every expert that the items suffice for is also read.

    Args:
        workload: the network with the facts about its expert layers; its routing does not matter.
        assignment: a choice for every site, or the name of one multiplier.
        figures: power and energies; by default the published ones.
        model: what is counted.

    Raises:
        InputError: something does not fit together.
    """
    figures = published_figures() if figures is None else figures
    if isinstance(assignment, str):
        assignment = Assignment.uniform(workload.sites, assignment)
    assignment.check(workload.sites)
    switching = switching_of(workload, figures, model)
    factor = mean_factor(workload, figures, switching)
    rates, used = {}, {}
    for layer in workload.layers:
        work_pj, reading_pj = [0.0] * layer.experts, [0.0] * layer.experts
        for site in workload.sites:
            if site.expert_layer == layer.layer and site.expert is not None:
                choice = assignment.choices[site.name]
                row = site_cost(Activity(site), choice, figures, model, switching)
                work_pj[site.expert] += row.energy_pj - row.weight_traffic_pj
                reading_pj[site.expert] += row.weight_traffic_pj
        for piece in workload.uncovered or ():
            if piece.expert_layer == layer.layer and piece.expert is not None:
                row = uncovered_cost(piece, 1.0, figures, model, factor)
                work_pj[piece.expert] += row.energy_pj
        rates[layer.layer] = _costliest(work_pj, layer)
        used[layer.layer] = _heaviest(reading_pj, layer, figures.batch_size)
    return cost(
        workload.under(Routing(rates=rates, source="worst case")),
        assignment,
        figures,
        used=Routing(rates=used, source="worst case"),
        model=model,
    )


def _costliest(work_pj: list[float], layer: ExpertWork) -> tuple[float, ...]:
    """Activation rates that cost most."""
    if layer.fixed:
        return (layer.executions / layer.experts,) * layer.experts
    limit = 1.0 if layer.capacity is None else min(1.0, layer.capacity)
    left = layer.executions
    rates = [0.0] * layer.experts
    for expert in sorted(range(layer.experts), key=work_pj.__getitem__, reverse=True):
        rates[expert] = min(limit, left)
        left -= rates[expert]
    return tuple(rates)


def _heaviest(reading_pj: list[float], layer: ExpertWork, batch_size: int) -> tuple[float, ...]:
    """1 for the experts costliest to read, as many as a batch's items can need, else 0."""
    runs = math.ceil(layer.items * layer.executions) * batch_size
    needed = layer.experts if layer.fixed else runs
    order = sorted(range(layer.experts), key=reading_pj.__getitem__, reverse=True)[:needed]
    return tuple(float(expert in order) for expert in range(layer.experts))


def _check(per_input: Sequence[Routing]) -> None:
    if not per_input:
        raise InputError("spread takes the routing of at least one input, not 0")
