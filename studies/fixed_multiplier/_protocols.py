"""Which claims flip when what the paper leaves open is read another way."""

from collections.abc import Mapping

import pandas as pd

from studies.fixed_multiplier import _orders, _tables
from studies.fixed_multiplier._claims import Claim
from studies.fixed_multiplier._orders import FIRST, Verdicts
from studies.fixed_multiplier._plan import HERE, MatrixPreset, NetworkPlan, read_preset
from studies.fixed_multiplier._results import Results
from studies.fixed_multiplier._verdicts import MISSING

BY_KIND = {False: "by kind of layer"}


def committed(preset: str) -> pd.DataFrame:
    """The committed cells of a preset as rows; none where none are there.

    Raises:
        InputError: what is there is not of the preset.
    """
    return _tables.matrix(Results(HERE / "results" / preset, read_preset(preset)).records())


def as_table(rows: pd.DataFrame, usual: pd.DataFrame, preset: MatrixPreset) -> str:
    """A table of verdicts: a row per protocol and operand order, the usual one before each network.

    Topologies that a protocol leaves alone are those of the usual one.

    Args:
        rows: of the variants, as `_tables.matrix` makes them.
        usual: of the usual protocol.
        preset: of the variants.
    """
    lines: list[str] = []
    spoken_of = _spoken_of(rows, usual, preset)
    head = ["protocol", "changed", "operand order", *(f"claim {n + 1}" for n in spoken_of), "flips"]
    lines = [_row(head), _row(["---"] * len(head))]
    for arch, plans in _by_network(preset).items():
        before = _orders.by_order(_of_network(usual, plans[0]))
        lines += _verdict_rows(f"usual, {arch}", "–", before, {}, spoken_of, FIRST)
        for plan in plans:
            changed = ", ".join(f"{k} {_shown(v)}" for k, v in plan.protocol.changes.items())
            found = _orders.by_order(_with_usual(rows, usual, plan))
            name = f"{plan.protocol.name}, {arch}"
            ports = BY_KIND if plan.protocol.ports == "by-kind" else FIRST
            lines += _verdict_rows(name, changed, found, before, spoken_of, ports)
    return "\n".join(lines)


def _by_network(preset: MatrixPreset) -> dict[str, list[NetworkPlan]]:
    plans: dict[str, list[NetworkPlan]] = {}
    for plan in preset.networks:
        plans.setdefault(plan.arch, []).append(plan)
    return plans


def _of_network(rows: pd.DataFrame, plan: NetworkPlan) -> pd.DataFrame:
    """Rows of a plan's architecture, data set and seeds."""
    if rows.empty:
        return rows
    is_it = (rows["arch"] == plan.arch) & (rows["dataset"] == plan.dataset)
    return rows[is_it & rows["seed"].isin(plan.seeds)]


def _with_usual(rows: pd.DataFrame, usual: pd.DataFrame, plan: NetworkPlan) -> pd.DataFrame:
    mine = _tables.of_variant(_of_network(rows, plan), plan.protocol.name)
    others = _of_network(usual, plan)
    if len(others):
        others = others[~others["topology"].isin(plan.topologies)]
    return pd.concat([part for part in (mine, others) if len(part)] or [mine], ignore_index=True)


def _spoken_of(rows: pd.DataFrame, usual: pd.DataFrame, preset: MatrixPreset) -> list[int]:
    """Claims, from 0, of which any protocol says something."""
    found = [_orders.by_order(_with_usual(rows, usual, plan)) for plan in preset.networks]
    found += [_orders.by_order(_of_network(usual, plan)) for plan in preset.networks]
    claims = [claims for verdicts in found for claims in verdicts.values()]
    return [n for n in range(len(claims[0])) if any(each[n].verdict != MISSING for each in claims)]


def _verdict_rows(
    name: str,
    changed: str,
    found: Verdicts,
    before: Verdicts,
    spoken_of: list[int],
    ports: Mapping[bool, str],
) -> list[str]:
    lines = []
    for order, claims in found.items():
        told = [_told(claims[n]) for n in spoken_of]
        pairs = {n + 1: (claims[n], before[order][n]) for n in spoken_of if order in before}
        both = {n: pair for n, pair in pairs.items() if MISSING not in {c.verdict for c in pair}}
        which = ", ".join(str(n) for n, pair in both.items() if _orders.flips([*pair]))
        flipped = which or ("none" if both else "–")
        lines.append(_row([name, changed, ports[order], *told, flipped]))
    return lines


def _told(claim: Claim) -> str:
    return claim.verdict if claim.verdict == MISSING else f"**{claim.verdict}**: {claim.figure}"


def _shown(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
