"""Asking for a trial where every site has many circuits to choose from."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd

import dse
import luts
from dse.problem import Offer, undominated
from dse.samplers import NAMES as SAMPLERS
from energy import CostModel, Workload
from luts.console import Reporter
from luts.settings import setting
from models import Score, Site

Matrix = npt.NDArray[np.float64]

SAMPLED = 400
"""Operand pairs that a circuit's error is taken over."""


@dataclasses.dataclass(frozen=True)
class ArraySettings:
    """Table ``arrays`` of the configuration."""

    multipliers: Annotated[str, setting("set or names of the catalogue")]
    sites: Annotated[int, setting("of the space", ge=1)]
    trials: Annotated[int, setting("of a search", ge=8)]
    samplers: Annotated[tuple[str, ...], setting("who is asked", choices=SAMPLERS)]


def measure(config: ArraySettings, folder: Path, reporter: Reporter) -> pd.DataFrame:
    """One row per sampler: processor time of asking, from the second quarter of a search on.

    Args:
        config: what to measure.
        folder: where the studies lie meanwhile.
        reporter: shows the progress.
    """
    macs = 1000 * np.exp(np.random.default_rng(0).normal(size=config.sites))
    sites = tuple(Site(f"layer{i}", "linear", int(m), 64) for i, m in enumerate(macs))
    problem = _problem(sites, config.multipliers)
    truth = _distortion(problem, spread=0.5, seed=1)
    rows = []
    with reporter.bar("ask", len(config.samplers)) as advance:
        for name in config.samplers:
            asked = _asked(name, problem, truth, config.trials, folder)
            asked = asked[config.trials // 4 :]
            rows.append(
                {
                    "sampler": name,
                    "choices": problem.choices,
                    "offered_median": problem.offer.summary["median"],
                    "groups": problem.size,
                    "trials": config.trials,
                    "ask_cpu_ms": np.median(asked),
                    "ask_cpu_ms_p90": np.quantile(asked, 0.9),
                    "ask_cpu_ms_worst": asked.max(),
                }
            )
            advance()
    return pd.DataFrame(rows)


def _asked(name: str, problem: dse.Problem, truth: Matrix, trials: int, folder: Path) -> Matrix:
    """Milliseconds of processor time that asking for each trial takes."""
    sampler = dse.sampler_for(name, problem, seed=0, budget=trials)
    study = dse.SearchStudy(folder / f"{name}.db", problem, sampler)
    took = []
    for _ in range(trials):
        started = time.process_time()
        pending = study.ask()
        took.append(1000 * (time.process_time() - started))
        study.tell(pending, _made_up(problem, truth, pending))
    study.close()
    return np.array(took)


def _made_up(problem: dse.Problem, truth: Matrix, pending: dse.Pending) -> dse.Outcome:
    error = truth[np.arange(problem.size), pending.codes].sum()
    loss = 0.4 + float(np.log1p(30 * error))
    return dse.Outcome(Score(float(np.exp(-loss)), loss, 100), "made up", 0.0)


def searched(
    name: str, sites: tuple[Site, ...], multipliers: str, trials: int, database: Path
) -> tuple[dse.Trial, ...]:
    """The trials of a search with made-up scores: published circuits, screened ones, the sampler's.

    Args:
        name: of the sampler.
        sites: of the network.
        multipliers: set or names of the catalogue.
        trials: how many.
        database: the study's file.
    """
    problem = _problem(sites, multipliers)
    truth = _distortion(problem, spread=0.5, seed=1)
    sampler = dse.sampler_for(name, problem, seed=0, budget=trials)
    study = dse.SearchStudy(database, problem, sampler)
    published = set(luts.catalog.names("mul8s"))
    fixed = [c for c, choice in enumerate(problem.space.choices) if choice.multiplier in published]
    study.seed(dse.first_trials(problem, fixed))
    for _ in range(trials):
        pending = study.ask()
        study.tell(pending, _made_up(problem, truth, pending))
    found = tuple(study.trials())
    study.close()
    return found


def _problem(sites: tuple[Site, ...], multipliers: str) -> dse.Problem:
    """Published figures, made-up distortions, dominated choices left out."""
    space = dse.SearchSpace.of(sites, luts.catalog.names(multipliers))
    problem = dse.Problem.of(space, CostModel(Workload(sites), space.every_choice))
    distortion = _distortion(problem, spread=0.35, seed=0)
    costs = zip(distortion, problem.energy, strict=True)
    offer = Offer(np.stack([undominated(np.stack(group)) for group in costs]))
    return dataclasses.replace(problem, distortion=distortion, offer=offer)


def _distortion(problem: dse.Problem, *, spread: float, seed: int) -> Matrix:
    """Squared error of each choice over bell-shaped operands, times a site's and its own luck."""
    rng = np.random.default_rng(0)
    x, w = (rng.normal(0, width, SAMPLED).round().astype(np.int8) for width in (30, 35))
    exact = x.astype(np.int64) * w
    errors = np.array(
        [
            ((choice.arithmetic().table[x.view(np.uint8), w.view(np.uint8)] - exact) ** 2).mean()
            for choice in problem.space.choices
        ]
    )
    importance = np.exp(rng.normal(size=(problem.size, 1)))
    luck = np.exp(np.random.default_rng(seed).normal(0, spread, (problem.size, len(errors))))
    return np.asarray(errors / errors.max() / problem.size * importance * luck)
