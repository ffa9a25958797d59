"""How the operands of a network's sites change which circuit, operand order and expert is cheap."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.table import Table
from scipy.stats import rankdata, spearmanr

import luts
from energy._activity import activities
from energy._figures import OPERAND_BITS, Figures
from energy._switching import ACTIVITY, Switching
from energy._workload import Workload
from luts.errors import InputError
from models import Assignment, Choice


@dataclasses.dataclass(frozen=True, eq=False)
class Rankings:
    """Circuits and experts by what their products cost under a network's own operands.

    Attributes:
        circuits: one line per circuit, operand order and, where a port ignores low bits, operands
            cut or rounded; by falling power: ``power_rel`` as the figures have it, ``toggles`` of a
            product relative to uniform operands (mean over the network's products),
            ``energy_rel`` of a product relative to the exact circuit at the same operands, and the
            ranks by both, 1 for the cheapest.
        experts: one line per expert, in the network's order: ``rate`` of activation, and
            ``toggles`` of the exact circuit in it.
        spearman: rank correlation of ``power_rel`` and ``energy_rel``.
    """

    circuits: pd.DataFrame
    experts: pd.DataFrame
    spearman: float


def rank(workload: Workload, names: Sequence[str], figures: Figures) -> Rankings:
    """Rank circuits, each at every site but the routers, in both operand orders, cut and rounded.

    Args:
        workload: the network with its operands.
        names: of the circuits, at least two.
        figures: power and energies.

    Raises:
        InputError: operands or a netlist are missing, or there are fewer than two circuits.
    """
    if len(names) < 2:
        raise InputError(f"a ranking takes at least two circuits, not {len(names)}")
    switching = Switching.of(workload, figures)
    active = [a for a in activities(workload) if a.site.kind != "router"]
    macs = [a.rate * a.site.macs for a in active]

    def toggles(choice: Choice) -> float:
        return float(np.average([switching.factor(a.site, choice) for a in active], weights=macs))

    exact = toggles(Choice(figures.exact))
    lines = []
    for name in sorted(names, key=lambda name: -figures.relative(name)):
        for choice in _choices(name, figures):
            factor, power = toggles(choice), figures.relative(name)
            order = "weight" if choice.swapped else "activation"
            operands = "rounded" if choice.rounded else "cut"
            lines.append((name, order, operands, power, factor, power * factor / exact))
    columns = ["multiplier", "first_port", "operands", "power_rel", "toggles", "energy_rel"]
    circuits = pd.DataFrame(lines, columns=columns)
    for column in ("power_rel", "energy_rel"):
        circuits[f"rank_by_{column}"] = rankdata(circuits[column], method="min").astype(int)
    spearman = float(spearmanr(circuits["power_rel"], circuits["energy_rel"])[0])
    return Rankings(circuits, _experts(workload, switching, figures), spearman)


def _choices(name: str, figures: Figures) -> list[Choice]:
    """A circuit in both operand orders, its operands cut and, if that differs, rounded."""
    known = figures.multiplier(name)
    rounds = min(known.first_bits, known.second_bits) < OPERAND_BITS
    either = (False, True)
    return [Choice(name, s, rounded) for s in either for rounded in either if rounds or not rounded]


def _experts(workload: Workload, switching: Switching, figures: Figures) -> pd.DataFrame:
    exact = Choice(figures.exact)
    lines: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for one in activities(workload):
        layer, expert = one.site.expert_layer, one.site.expert
        if layer is not None and expert is not None:
            found = (one.rate, switching.factor(one.site, exact), one.site.macs)
            lines.setdefault((layer, expert), []).append(found)
    rows = []
    for (layer, expert), parts in lines.items():
        rates, toggles, macs = zip(*parts, strict=True)
        rows.append((layer, expert, rates[0], float(np.average(toggles, weights=macs))))
    return pd.DataFrame(rows, columns=["layer", "expert", "rate", "toggles"])


@dataclasses.dataclass(frozen=True)
class ShownRankings:
    """What a report shows of rankings.

    Attributes:
        tables: of circuits, and of experts where there are some.
        notes: lines that say what they mean.
    """

    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def shown_rankings(
    workload: Workload, assignment: Assignment, figures: Figures, *, model: str
) -> ShownRankings:
    """The thirteen published circuits and those of an assignment, ranked.

    Nothing under energy models that count no toggles.
    """
    if model != ACTIVITY or workload.operands is None:
        return ShownRankings()
    chosen = [choice.multiplier for choice in assignment.choices.values()]
    names = dict.fromkeys([*luts.catalog.names("mul8s"), *chosen])
    found = rank(workload, [*names], figures)
    notes = (
        f"toggles of a product, relative to uniform operands: weights are held, activations "
        f"stream; {workload.operands.source}",
        "codes of the calibrated scales: a narrow circuit that recovery rescales switches more "
        "than it is charged for",
        f"rank correlation of circuits' power and energy: {found.spearman:.3f}",
    )
    return ShownRankings(tuple(ranking_tables(found)), notes)


def ranking_tables(found: Rankings) -> list[Table]:
    """The rankings as tables; that of experts only where there are some."""
    by_circuit = Table(title="circuits by this network's operands (1: cheapest)")
    for title in ("multiplier", "first port", "operands"):
        by_circuit.add_column(title, no_wrap=True)
    for title in ("power rel.", "rank", "toggles", "energy rel.", "rank"):
        by_circuit.add_column(title, justify="right")
    for line in found.circuits.to_dict("records"):
        by_circuit.add_row(
            line["multiplier"],
            line["first_port"],
            line["operands"],
            f"{line['power_rel']:.3f}",
            str(line["rank_by_power_rel"]),
            f"{line['toggles']:.3f}",
            f"{line['energy_rel']:.3f}",
            str(line["rank_by_energy_rel"]),
        )
    if found.experts.empty:
        return [by_circuit]
    by_expert = Table(title="experts by their own operands, exact circuit")
    for title in ("layer", "expert", "rate", "toggles"):
        by_expert.add_column(title, justify="left" if title == "layer" else "right")
    for line in found.experts.to_dict("records"):
        by_expert.add_row(
            line["layer"], str(line["expert"]), f"{line['rate']:.3f}", f"{line['toggles']:.3f}"
        )
    return [by_circuit, by_expert]
