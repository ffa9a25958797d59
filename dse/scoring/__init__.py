"""Scoring an assignment: emulate, recover, measure; and who does it.

`_evaluate` recovers and scores one assignment: change it for another recovery or score, and raise
its `CACHE_FORMAT`. `_recovery` has the recipe that all get, `_score_cache` keeps results between
searches, `_pruning` leaves out dominated choices, `_screening` predicts every other one at every
site from one gradient pass, `_workers` scores in this process or in several.
"""

from dse.scoring._evaluate import BATCH_SIZE, ITEMS_PER_EXPERT, Evaluator
from dse.scoring._pruning import Pruning, is_plain_narrow
from dse.scoring._recovery import default_recovery
from dse.scoring._score_cache import ScoreCache
from dse.scoring._screening import SAMPLED_IMAGES, one_gradient_pass, screen, screen_as_seen
from dse.scoring._workers import Scorer, ThisProcess, WorkerPool, Workers, score

__all__ = [
    "BATCH_SIZE",
    "ITEMS_PER_EXPERT",
    "SAMPLED_IMAGES",
    "Evaluator",
    "Pruning",
    "ScoreCache",
    "Scorer",
    "ThisProcess",
    "WorkerPool",
    "Workers",
    "default_recovery",
    "is_plain_narrow",
    "one_gradient_pass",
    "score",
    "screen",
    "screen_as_seen",
]
