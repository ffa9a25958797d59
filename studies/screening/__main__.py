"""``python -m studies.screening [rank] [search]``: which estimate should a search start from?

``rank`` correlates the estimates of whole assignments with their measured scores, ``search`` runs
searches that start from different estimates.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from dse import Problem, lagrangian_sweep
from luts.console import Reporter, run
from studies._files import write_table
from studies._images import Images
from studies._options import check_known, read_config, study_parser
from studies.screening._estimators import estimators
from studies.search_efficiency import (
    EfficiencyStudy,
    SearchCell,
    SearchedNetwork,
    curve,
    run_cell,
    screened,
)

Many = npt.NDArray[np.int64]


def main() -> None:
    """Estimate, measure, correlate; search."""
    parser = study_parser("screening", __doc__, "--images", "--data-root", "--networks")
    parser.add_argument("parts", nargs="*", default=["rank", "search"], metavar="rank|search")
    options = parser.parse_args()
    config, shared, reporter = read_config("screening"), EfficiencyStudy.read(), Reporter()
    parts = {"rank": (compare, config), "search": (searched, config["search"])}
    check_known("network", options.networks, shared.networks)
    check_known("part", options.parts, parts)
    for part in options.parts:
        measure, settings = parts[part]
        for name in settings["networks"]:
            if options.networks is not None and name not in options.networks:
                continue
            network = SearchedNetwork.load(shared, name, Images.of(options), reporter)
            frame = measure(network, config, reporter).assign(network=name)
            write_table(options.results / f"{part}-{name}.csv", frame, config, digits=4)
            print(frame.to_string(index=False))


def compare(network: SearchedNetwork, config: dict[str, Any], reporter: Reporter) -> pd.DataFrame:
    """One row per estimator: Spearman over all assignments and over the better half; seconds."""
    problem = network.problem(config["multipliers"], "none")
    codes = drawn(network, problem, config, reporter)
    evaluator, measured = network.evaluator, []
    for row in reporter.track(codes, "measure"):
        measured.append(evaluator.score(problem.space.decode(row)).validation.cross_entropy)
    scores = np.array(measured)
    better = scores <= np.median(scores)
    rows = []
    for name, estimate in estimators(config["forward_images"]).items():
        started = time.process_time()
        matrix = estimate(evaluator, problem.space, config["seed"], reporter)
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


def searched(network: SearchedNetwork, config: dict[str, Any], reporter: Reporter) -> pd.DataFrame:
    """One row per estimator and seed: hypervolume after so many evaluations by ``guided``."""
    known, settings = estimators(config["forward_images"]), config["search"]
    rows = []
    for name in settings["estimates"]:
        for seed in settings["seeds"]:
            cell = SearchCell(name, "guided", "none", seed, settings["budget"])
            with tempfile.TemporaryDirectory() as folder:
                record = run_cell(
                    network,
                    cell,
                    config["multipliers"],
                    Path(folder) / "study.db",
                    reporter,
                    estimate=known[name],
                )
            volumes = curve(record)["hypervolume"]
            at = {f"after_{n}": volumes.iloc[n] for n in (10, 25, 50, settings["budget"])}
            rows.append({"estimator": name, "seed": seed, "fixed": volumes.iloc[0], **at})
    return pd.DataFrame(rows)


def drawn(
    network: SearchedNetwork, problem: Problem, config: dict[str, Any], reporter: Reporter
) -> Many:
    """Assignments to measure: at random, half exact, and near the front of the additive model."""
    rng = np.random.default_rng(config["seed"])
    count, shape = config["assignments"] // 3, (config["assignments"] // 3, problem.size)
    anywhere = rng.integers(problem.choices, size=shape)
    half = np.where(rng.random(shape) < 0.5, 0, rng.integers(problem.choices, size=shape))
    distortion = screened(network.evaluator, problem.space, config["seed"], reporter)
    swept = lagrangian_sweep(distortion, problem.energy, count=count)
    near = np.stack([swept[i % len(swept)] for i in range(count)])
    moved = rng.random(shape) < 0.1
    near = np.where(moved, rng.integers(problem.choices, size=shape), near)
    return np.concatenate([anywhere, half, near]).astype(np.int64)


if __name__ == "__main__":
    run(main)
