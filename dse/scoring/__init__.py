"""Scoring an assignment: emulate, recover, measure; and who does it."""

from dse.scoring._evaluate import BATCH_SIZE, Evaluator, default_recovery
from dse.scoring._score_cache import ScoreCache
from dse.scoring._screening import SAMPLED_IMAGES, one_gradient_pass, screen
from dse.scoring._workers import Scorer, ThisProcess, WorkerPool, Workers, score

__all__ = [
    "BATCH_SIZE",
    "SAMPLED_IMAGES",
    "Evaluator",
    "ScoreCache",
    "Scorer",
    "ThisProcess",
    "WorkerPool",
    "Workers",
    "default_recovery",
    "one_gradient_pass",
    "score",
    "screen",
]
