"""Asking for a trial and the memory it takes, with many of them in the store."""

import dataclasses
import gc
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

import dse
import luts
from dse.samplers import NAMES as SAMPLERS
from dse.samplers import TrialHistory
from energy import CostModel, Workload
from luts.console import Reporter
from luts.settings import setting
from models import Score, Site
from studies._machine import status_mb


@dataclasses.dataclass(frozen=True)
class StoreSettings:
    """Table ``store`` of the configuration."""

    trials: Annotated[int, setting("in the store", ge=1)]
    sites: Annotated[int, setting("of the space", ge=1)]
    asks: Annotated[int, setting("that are timed; the table shows the median", ge=1)]
    samplers: Annotated[tuple[str, ...], setting("who is asked", choices=SAMPLERS)]


class _Timed:
    """Stands in for a sampler's `propose` and adds up what it takes."""

    def __init__(self, sampler: dse.AssignmentSampler) -> None:
        self.seconds = 0.0
        self._propose = sampler.propose

    def __call__(
        self, history: TrialHistory, rng: np.random.Generator
    ) -> tuple[dse.Codes, dict[str, Any]]:
        started = time.perf_counter()
        try:
            return self._propose(history, rng)
        finally:
            self.seconds += time.perf_counter() - started


def measure(config: StoreSettings, folder: Path, reporter: Reporter) -> pd.DataFrame:
    """One row per sampler.

    Args:
        config: what to measure.
        folder: where the studies lie meanwhile.
        reporter: shows the progress.
    """
    problem = _problem(config.sites)
    filled = folder / "filled.db"
    before = status_mb("VmRSS")
    study = dse.SearchStudy(filled, problem, _sampler("random", problem, config))
    with reporter.bar("fill the store", config.trials) as advance:
        dse.run_trials(study, dse.ThisProcess(_scored), config.trials, advance)
    gc.collect()
    grown = 1024 * (status_mb("VmRSS") - before) / config.trials
    study.close()
    del study
    rows = [_asked(name, problem, config, filled, folder) for name in config.samplers]
    return pd.DataFrame(rows).assign(memory_kb_a_trial=grown)


def _asked(
    name: str, problem: dse.Problem, config: StoreSettings, filled: Path, folder: Path
) -> dict[str, Any]:
    database = folder / f"{name}.db"
    shutil.copyfile(filled, database)
    sampler = _sampler(name, problem, config)
    timed = _Timed(sampler)
    sampler.propose = timed  # type: ignore[method-assign]
    study = dse.SearchStudy(database, problem, sampler)
    dse.run_trials(study, dse.ThisProcess(_scored), config.trials + 1, _silent)  # reads the store
    total, own = [], []
    for _ in range(config.asks):
        timed.seconds, started = 0.0, time.perf_counter()
        pending = study.ask()
        total.append(time.perf_counter() - started)
        own.append(timed.seconds)
        study.tell(pending, _scored(pending))
    study.close()
    beyond = [1000 * (all_ - mine) for all_, mine in zip(total, own, strict=True)]
    return {
        "sampler": name,
        "trials": config.trials,
        "ask_ms_beyond_sampler": float(np.median(beyond)),
        "worst_ms": max(beyond),
        "sampler_ms": 1000 * float(np.median(own)),
    }


def _sampler(name: str, problem: dse.Problem, config: StoreSettings) -> dse.AssignmentSampler:
    return dse.sampler_for(name, problem, seed=0, budget=config.trials + 100)


def _problem(count: int) -> dse.Problem:
    sites = tuple(Site(f"layer{i}", "linear", 1000 + i, 64) for i in range(count))
    space = dse.SearchSpace.of(sites, luts.catalog.names("mul8s"))
    return dse.Problem.of(space, CostModel(Workload(sites), space.every_choice))


def _scored(pending: dse.Pending) -> dse.Outcome:
    """A made-up score that rises with the codes: nothing is emulated here."""
    loss = 0.05 + float((pending.codes.astype(np.float64) ** 2).mean()) / 400
    return dse.Outcome(Score(max(0.0, 1 - loss), loss, 100), "made up", 0.0)


def _silent(*_: object, **__: object) -> None:
    """Show nothing."""
