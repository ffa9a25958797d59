"""The claims under both operand orders, where both were measured: which of them the order decides.

The paper does not say which port of a circuit gets the activation.
"""

import pandas as pd

from studies.fixed_multiplier import _claims
from studies.fixed_multiplier._claims import Claim
from studies.fixed_multiplier._tables import of_order, orders_of
from studies.fixed_multiplier._verdicts import MISSING

FIRST = {False: "activation first", True: "weight first"}
"""What the circuit's first port gets, by ``swapped``."""

Verdicts = dict[bool, list[Claim]]
"""All six claims by operand order."""


def by_order(rows: pd.DataFrame) -> Verdicts:
    """All six claims under each operand order that was measured.

    Args:
        rows: as `_tables.matrix` makes them, of one protocol.
    """
    if rows.empty:
        return {False: _claims.judge(rows)}
    return {order: _claims.judge(of_order(rows, order)) for order in orders_of(rows)}


def judge(rows: pd.DataFrame) -> list[Claim]:
    """All six claims; where the operand order decides one, its verdict says so.

    Args:
        rows: as `by_order`.
    """
    found = by_order(rows)
    each = zip(*found.values(), strict=True)
    return [_together(dict(zip(found, claims, strict=True))) for claims in each]


def flips(claims: list[Claim]) -> bool:
    """Whether verdicts on one claim differ; one that is not there differs from nothing."""
    return len({claim.verdict for claim in claims} - {MISSING}) > 1


def _together(claims: dict[bool, Claim]) -> Claim:
    """One claim under several orders as one."""
    first = next(iter(claims.values()))
    known = {order: claim for order, claim in claims.items() if claim.verdict != MISSING}
    if len(claims) == 1 or not known:
        return first
    figure = "; ".join(f"{FIRST[order]}: {claim.figure}" for order, claim in claims.items())
    basis = "; ".join(dict.fromkeys(claim.basis for claim in claims.values()))
    verdict = next(iter(known.values())).verdict
    if flips(list(claims.values())):
        each = [f"{claim.verdict} with the {FIRST[order]}" for order, claim in known.items()]
        verdict = f"{', '.join(each)}: the operand order decides"
    return Claim(first.statement, verdict, figure, basis)
