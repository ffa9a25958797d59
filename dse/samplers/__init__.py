"""Who proposes the next assignment: one class a file, all behind Optuna's sampler interface."""

from dse.samplers._base import ASSIGNMENT, ORIGIN, AssignmentSampler
from dse.samplers._nsga2 import NSGA2Sampler, population_for

__all__ = ["ASSIGNMENT", "ORIGIN", "AssignmentSampler", "NSGA2Sampler", "population_for"]
