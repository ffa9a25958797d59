"""The study: every trial of one search, in a database that Optuna keeps.

The only room that knows Optuna's private names.
"""

from dse.study._config import ALL, IN_MEMORY, SearchConfig
from dse.study._heartbeat import Heartbeat
from dse.study._lease import Lease
from dse.study._loop import run_trials
from dse.study._preflight import about, check, check_in_memory, problem_of
from dse.study._storage import BEAT_SECONDS, Database, database_url, open_storage
from dse.study._stored import CONTENT, SCORING, STUDY_NAME, StoredStudy, read_study, reading
from dse.study._study import SearchStudy

__all__ = [
    "ALL",
    "BEAT_SECONDS",
    "CONTENT",
    "IN_MEMORY",
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
    "open_storage",
    "problem_of",
    "read_study",
    "reading",
    "run_trials",
]
