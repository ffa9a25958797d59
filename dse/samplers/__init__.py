"""Who proposes the next assignment: one class a file, all behind Optuna's sampler interface."""

from dse.problem import Problem
from dse.samplers._base import AssignmentSampler, SpaceExhausted
from dse.samplers._greedy import GreedySampler
from dse.samplers._guided import GuidedSampler
from dse.samplers._history import TrialHistory
from dse.samplers._mcts import MCTSSampler
from dse.samplers._optuna import (
    GPSampler_,
    NSGA2Sampler,
    NSGA3Sampler,
    TPESampler_,
    population_for,
)
from dse.samplers._pymoo import ALGORITHMS, PymooSampler
from dse.samplers._random import RandomSampler
from dse.samplers._record import ASSIGNMENT, RESULT, codes_of, record_of
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
