"""The study: every trial of one search, in a database that Optuna keeps.

A new setting goes into `_config`, and into `SCORING` of `_stored` if it decides how trials are
scored; checks before a search starts are in `_preflight`, the loop that asks, scores and tells in
`_loop`. `_study` works on a study, `_stored` only reads one, `_storage` opens their database;
`_heartbeat` and `_lease` let several processes share it. No other room knows Optuna's tables.
"""

from dse.study._config import ALL, IN_MEMORY, SearchConfig
from dse.study._heartbeat import Heartbeat
from dse.study._lease import Lease
from dse.study._loop import run_trials
from dse.study._paths import is_same_place, located
from dse.study._preflight import about, check, check_in_memory, problem_of
from dse.study._storage import BEAT_SECONDS, Database, database_url, open_storage
from dse.study._stored import (
    CONTENT,
    MEASURE,
    OPERANDS,
    RECIPE,
    SCORING,
    STUDY_NAME,
    StoredStudy,
    is_same,
    read_study,
    reading,
)
from dse.study._study import SearchStudy

__all__ = [
    "ALL",
    "BEAT_SECONDS",
    "CONTENT",
    "IN_MEMORY",
    "MEASURE",
    "OPERANDS",
    "RECIPE",
    "SCORING",
    "STUDY_NAME",
    "Database",
    "Heartbeat",
    "Lease",
    "SearchConfig",
    "SearchStudy",
    "StoredStudy",
    "about",
    "check",
    "check_in_memory",
    "database_url",
    "is_same",
    "is_same_place",
    "located",
    "open_storage",
    "problem_of",
    "read_study",
    "reading",
    "run_trials",
]
