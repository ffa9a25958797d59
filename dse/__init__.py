"""The search for assignments.

In a notebook::

    result = dse.explore(network, data, multipliers="mul8s", trials=60, seed=0)
    result.front
    result.best(max_drop=1.0)

`python -m dse.search` and `python -m dse.front` are the same as commands. What is named here is
imported when it is first used, so that ``import dse`` costs next to nothing.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

import luts as _luts  # noqa: F401 - first, as it sees to Ctrl-C while the rest is imported

if TYPE_CHECKING:
    __version__: str
    from dse._explore import explore, explore_run, read_run
    from dse._steps import first_trials
    from dse.problem import (
        Codes,
        Outcome,
        Pending,
        Problem,
        SearchSpace,
        Trial,
        hypervolume,
        lagrangian_sweep,
        tight_hypervolume,
    )
    from dse.results import TOPOLOGY_COLOURS, Result, Run, provenance
    from dse.samplers import AssignmentSampler, sampler_for
    from dse.scoring import Evaluator, ThisProcess, default_recovery, screen
    from dse.study import SearchConfig, SearchStudy, run_trials

_HOMES = {
    "dse._explore": ("explore", "explore_run", "read_run"),
    "dse._steps": ("first_trials",),
    "dse.problem": (
        "Codes",
        "Outcome",
        "Pending",
        "Problem",
        "SearchSpace",
        "Trial",
        "hypervolume",
        "lagrangian_sweep",
        "tight_hypervolume",
    ),
    "dse.results": ("TOPOLOGY_COLOURS", "Result", "Run", "provenance"),
    "dse.samplers": ("AssignmentSampler", "sampler_for"),
    "dse.scoring": ("Evaluator", "ThisProcess", "default_recovery", "screen"),
    "dse.study": ("SearchConfig", "SearchStudy", "run_trials"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "TOPOLOGY_COLOURS",
    "AssignmentSampler",
    "Codes",
    "Evaluator",
    "Outcome",
    "Pending",
    "Problem",
    "Result",
    "Run",
    "SearchConfig",
    "SearchSpace",
    "SearchStudy",
    "ThisProcess",
    "Trial",
    "default_recovery",
    "explore",
    "explore_run",
    "first_trials",
    "hypervolume",
    "lagrangian_sweep",
    "provenance",
    "read_run",
    "run_trials",
    "sampler_for",
    "screen",
    "tight_hypervolume",
]


def __getattr__(name: str) -> Any:
    value: Any
    if name == "__version__":
        from importlib.metadata import version

        value = version("axdse")
    elif name in _HOME:
        with warnings.catch_warnings():
            # Optuna's own progress bar misses ipywidgets in a notebook; ours does not need them.
            warnings.filterwarnings("ignore", message="IProgress not found")
            value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
