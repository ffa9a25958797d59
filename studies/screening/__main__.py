"""``python -m studies.screening [rank] [search]``: which estimate should a search start from?

``rank`` correlates the estimates of whole assignments with their measured scores, ``search`` runs
searches that start from different estimates.
"""

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from dse import Problem, lagrangian_sweep
from luts.console import Reporter, run
from luts.settings import setting
from studies import search_efficiency as efficiency
from studies._files import write_table
from studies._images import Images
from studies._options import check_known, study_parser, study_settings
from studies.screening._estimators import estimators

Many = npt.NDArray[np.int64]
MARKS = (10, 25, 50)
"""Evaluations after which the table gives the hypervolume, beside all of them."""


@dataclasses.dataclass(frozen=True)
class ComparedSearches:
    """Searches by ``guided`` that start from different estimates."""

    networks: Annotated[tuple[str, ...], setting("of the study search_efficiency")]
    estimates: Annotated[tuple[str, ...], setting("that searches start from")]
    budget: Annotated[int, setting("evaluations beyond the fixed multipliers", ge=max(MARKS))]
    seeds: Annotated[tuple[int, ...], setting("of the searches", ge=0)]


@dataclasses.dataclass(frozen=True)
class ScreeningStudy:
    """The configuration."""

    seed: Annotated[int, setting("of the assignments and the estimates", ge=0)]
    assignments: Annotated[int, setting("that are measured, a third of each kind", ge=3)]
    forward_images: Annotated[int, setting("of the estimate by one pass per choice", ge=1)]
    multipliers: Annotated[str, setting("a set of the catalogue")]
    networks: Annotated[tuple[str, ...], setting("of the study search_efficiency")]
    search: Annotated[ComparedSearches, setting("of which estimates the fronts are compared")]

    def __post_init__(self) -> None:
        check_known("estimate", self.search.estimates, estimators(self.forward_images))


def main() -> None:
    """Estimate, measure, correlate; search."""
    parser = study_parser("screening", __doc__, "--images", "--data-root", "--networks")
    parser.add_argument("parts", nargs="*", default=["rank", "search"], metavar="rank|search")
    options = parser.parse_args()
    study, shared = study_settings(ScreeningStudy, "screening"), efficiency.EfficiencyStudy.read()
    parts = {"rank": (compare, study.networks), "search": (searched, study.search.networks)}
    for names in (options.networks, study.networks, study.search.networks):
        check_known("network", names, shared.networks)
    check_known("part", options.parts, parts)
    reporter = Reporter()
    for part in options.parts:
        measure, names = parts[part]
        for name in names:
            if options.networks is not None and name not in options.networks:
                continue
            network = efficiency.SearchedNetwork.load(shared, name, Images.of(options), reporter)
            frame = measure(network, study, reporter).assign(network=name)
            about = dataclasses.asdict(study)
            write_table(options.results / f"{part}-{name}.csv", frame, about, digits=4)
            print(frame.to_string(index=False))


def compare(
    network: efficiency.SearchedNetwork, study: ScreeningStudy, reporter: Reporter
) -> pd.DataFrame:
    """One row per estimator: Spearman over all assignments and over the better half; seconds."""
    problem = network.problem(study.multipliers, "none")
    codes = drawn(network, problem, study, reporter)
    evaluator, measured = network.evaluator, []
    for row in reporter.track(codes, "measure"):
        measured.append(evaluator.score(problem.space.decode(row)).validation.cross_entropy)
    scores = np.array(measured)
    better = scores <= np.median(scores)
    rows = []
    for name, estimate in estimators(study.forward_images).items():
        started = time.process_time()
        matrix = estimate(evaluator, problem.space, study.seed, reporter)
        seconds = time.process_time() - started
        predicted = matrix[np.arange(problem.size), codes].sum(axis=1)
        rows.append(
            {
                "estimator": name,
                "spearman": spearmanr(predicted, scores).statistic,
                "spearman_better_half": spearmanr(predicted[better], scores[better]).statistic,
                "cpu_seconds": seconds,
                "evaluations": seconds / network.seconds,
                "assignments": len(codes),
            }
        )
    return pd.DataFrame(rows)


def searched(
    network: efficiency.SearchedNetwork, study: ScreeningStudy, reporter: Reporter
) -> pd.DataFrame:
    """One row per estimator and seed: hypervolume after so many evaluations by ``guided``."""
    known, search = estimators(study.forward_images), study.search
    rows = []
    for name in search.estimates:
        for seed in search.seeds:
            cell = efficiency.SearchCell(name, "guided", "none", seed, search.budget)
            with tempfile.TemporaryDirectory() as folder:
                record = efficiency.run_cell(
                    network,
                    cell,
                    study.multipliers,
                    Path(folder) / "study.db",
                    reporter,
                    estimate=known[name],
                )
            volumes = efficiency.curve(record)["hypervolume"]
            at = {f"after_{n}": volumes.iloc[n] for n in (*MARKS, search.budget)}
            rows.append({"estimator": name, "seed": seed, "fixed": volumes.iloc[0], **at})
    return pd.DataFrame(rows)


def drawn(
    network: efficiency.SearchedNetwork, problem: Problem, study: ScreeningStudy, reporter: Reporter
) -> Many:
    """Assignments to measure: at random, half exact, and near the front of the additive model."""
    rng = np.random.default_rng(study.seed)
    count, shape = study.assignments // 3, (study.assignments // 3, problem.size)
    anywhere = rng.integers(problem.choices, size=shape)
    half = np.where(rng.random(shape) < 0.5, 0, rng.integers(problem.choices, size=shape))
    distortion = efficiency.screened(network.evaluator, problem.space, study.seed, reporter)
    swept = lagrangian_sweep(distortion, problem.energy, count=count)
    near = np.stack([swept[i % len(swept)] for i in range(count)])
    moved = rng.random(shape) < 0.1
    near = np.where(moved, rng.integers(problem.choices, size=shape), near)
    return np.concatenate([anywhere, half, near]).astype(np.int64)


if __name__ == "__main__":
    run(main)
