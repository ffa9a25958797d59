"""Who proposes the next assignment: one method per file, all behind Optuna's sampler interface.

`_base` makes every proposal feasible and new and writes it into the trial as `_record` says;
`_history` is what a sampler sees of the study. A new sampler is a file with a subclass of
`AssignmentSampler`, its `name` and its `propose` (`_random` is the shortest), and a line in
`_CLASSES` below. Optuna's own samplers are in `_optuna`, pymoo's algorithms in a table in `_pymoo`;
the default, `_guided`, learns in `_surrogate` and values candidates in `_acquisition`.
"""

from dse.problem import Codes, Problem
from dse.samplers._base import AssignmentSampler, SpaceExhausted
from dse.samplers._greedy import GreedySampler
from dse.samplers._guided import GuidedSampler
from dse.samplers._history import TrialHistory
from dse.samplers._mcts import MCTSSampler
from dse.samplers._nsga import NSGA2Sampler, NSGA3Sampler
from dse.samplers._optuna import GPSampler_, TPESampler_, population_for
from dse.samplers._published import ALWANNSampler, MARLINSampler
from dse.samplers._pymoo import ALGORITHMS, PymooSampler
from dse.samplers._random import RandomSampler
from dse.samplers._record import ASSIGNMENT, RESULT, codes_of, record_of
from dse.samplers._split import SplitSampler
from dse.samplers._uniform import UniformSampler
from luts.errors import InputError, suggest

__all__ = [
    "ASSIGNMENT",
    "NAMES",
    "RESULT",
    "AssignmentSampler",
    "SpaceExhausted",
    "TrialHistory",
    "codes_of",
    "population_for",
    "record_of",
    "sampler_for",
    "seeds_for",
]

_CLASSES: dict[str, type[AssignmentSampler]] = {
    sampler.name: sampler
    for sampler in (
        GuidedSampler,
        NSGA2Sampler,
        NSGA3Sampler,
        TPESampler_,
        GPSampler_,
        MCTSSampler,
        GreedySampler,
        SplitSampler,
        ALWANNSampler,
        MARLINSampler,
        RandomSampler,
        UniformSampler,
    )
}

NAMES: tuple[str, ...] = (*_CLASSES, *(f"pymoo:{name}" for name in ALGORITHMS))
"""What ``--sampler`` takes."""


def sampler_for(name: str, problem: Problem, *, seed: int, budget: int) -> AssignmentSampler:
    """The sampler called ``name``.

    Args:
        name: one of `NAMES`.
        problem: what is searched.
        seed: of everything random.
        budget: trials that the study is going to have.

    Raises:
        InputError: an unknown name, or a problem that this sampler does not take.
    """
    if name not in NAMES:
        raise InputError(f"unknown sampler {name!r}; {suggest(name, list(NAMES))}")
    if name.startswith("pymoo:"):
        algorithm = name.removeprefix("pymoo:")
        return PymooSampler(problem, algorithm, seed=seed, budget=budget)
    return _CLASSES[name](problem, seed=seed, budget=budget)


def seeds_for(name: str, queued: list[tuple[Codes, str]]) -> list[tuple[Codes, str]]:
    """Which of the first trials are queued before the sampler called ``name`` proposes.

    Args:
        name: one of `NAMES`.
        queued: codes and origins, ``uniform`` or ``screening``.

    Returns:
        All of them; without the screened ones for a search that was published without screening.
    """
    takes = name not in _CLASSES or _CLASSES[name].takes_screened
    return [one for one in queued if takes or one[1] != "screening"]
