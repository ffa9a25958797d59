"""What is searched: space, energy, constraints, fronts, and a trial of it.

`_space` says what may be chosen where and which sites share a choice, `_offer` which choices each
of them is offered, `_problem` what assignments cost and which limits they must keep, `_trial` what
a proposal becomes once it is scored. `_pareto` has fronts and hypervolumes, `_lagrange` the exact
optima of an additive model. A new choice at a site starts in `_space`, a new constraint or
objective in `_problem`.
"""

from dse.problem._lagrange import (
    constrained_sweep,
    evenly,
    lagrangian_sweep,
    offered_sweep,
    offered_sweeps,
)
from dse.problem._offer import Offer, undominated, undominated_circuits
from dse.problem._pareto import (
    TIGHT_FACTORS,
    TIGHT_POINTS,
    hypervolume,
    non_dominated,
    thin_front,
    tight_hypervolume,
)
from dse.problem._problem import Problem, Third
from dse.problem._space import Codes, Operands, SearchSpace, Tie, group_key, ordered_choices
from dse.problem._trial import FINE_TUNED, Outcome, Pending, Trial, objective_score

__all__ = [
    "FINE_TUNED",
    "TIGHT_FACTORS",
    "TIGHT_POINTS",
    "Codes",
    "Offer",
    "Operands",
    "Outcome",
    "Pending",
    "Problem",
    "SearchSpace",
    "Third",
    "Tie",
    "Trial",
    "constrained_sweep",
    "evenly",
    "group_key",
    "hypervolume",
    "lagrangian_sweep",
    "non_dominated",
    "objective_score",
    "offered_sweep",
    "offered_sweeps",
    "ordered_choices",
    "thin_front",
    "tight_hypervolume",
    "undominated",
    "undominated_circuits",
]
