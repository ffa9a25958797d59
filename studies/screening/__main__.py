"""``python -m studies.screening [rank] [search]``: which estimate should a search start from?

``rank`` correlates the estimates of whole assignments with their measured scores, ``search`` runs
searches that start from different estimates.
"""

import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from dse.problem import Problem, lagrangian_sweep
from dse.results import provenance
from luts.console import Parser, Reporter, run
from luts.errors import InputError
from models.training import atomically
from studies._images import IMAGES
from studies.screening._estimators import estimators
from studies.search_efficiency._cells import Cell, StudyConfig, Subject, run_cell, subject
from studies.search_efficiency._report import curve

HERE = Path(__file__).parent
Many = npt.NDArray[np.int64]


def main() -> None:
    """Estimate, measure, correlate; search."""
    parser = Parser(prog="python -m studies.screening", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["rank", "search"], metavar="rank|search")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder or archive of CIFAR-10")
    parser.add_argument("--networks", nargs="*", help="only these networks")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    config = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    options.results.mkdir(parents=True, exist_ok=True)
    shared, reporter = StudyConfig.read(), Reporter()
    parts = {"rank": (compare, config), "search": (searched, config["search"])}
    for name in options.networks or ():
        if name not in shared.networks:
            raise InputError(f"unknown network {name!r}; known are {', '.join(shared.networks)}")
    for part in options.parts:
        if part not in parts:
            raise InputError(f"unknown part {part!r}; there are {', '.join(parts)}")
        measure, settings = parts[part]
        for name in settings["networks"]:
            if options.networks is not None and name not in options.networks:
                continue
            found = subject(shared.networks[name], shared, options.images, reporter)
            frame = measure(found, config, reporter).assign(network=name)
            _write(options.results / f"{part}-{name}.csv", frame, config)


def _write(path: Path, frame: pd.DataFrame, config: dict[str, Any]) -> None:
    made = provenance()
    with atomically(path) as temporary:
        text = f"# {made['commit']}; {made['device']}; {config}\n"
        temporary.write_text(text + frame.to_csv(index=False, float_format="%.4g"))
    print(frame.to_string(index=False))


def compare(found: Subject, config: dict[str, Any], reporter: Reporter) -> pd.DataFrame:
    """One row an estimator: Spearman over all assignments and over the better half; seconds."""
    problem = found.problem(config["multipliers"], "none")
    codes = drawn(found, problem, config, reporter)
    evaluator, measured = found.evaluator, []
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
                "evaluations": seconds / found.seconds,
                "assignments": len(codes),
            }
        )
    return pd.DataFrame(rows)


def searched(found: Subject, config: dict[str, Any], reporter: Reporter) -> pd.DataFrame:
    """One row an estimator and seed: hypervolume after so many evaluations by ``guided``."""
    known, settings = estimators(config["forward_images"]), config["search"]
    rows = []
    for name in settings["estimates"]:
        for seed in settings["seeds"]:
            cell = Cell(name, "guided", "none", seed, settings["budget"])
            with tempfile.TemporaryDirectory() as folder:
                record = run_cell(
                    found,
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


def drawn(found: Subject, problem: Problem, config: dict[str, Any], reporter: Reporter) -> Many:
    """Assignments to measure: at random, half exact, and near the front of the additive model."""
    rng = np.random.default_rng(config["seed"])
    count, shape = config["assignments"] // 3, (config["assignments"] // 3, problem.size)
    anywhere = rng.integers(problem.choices, size=shape)
    half = np.where(rng.random(shape) < 0.5, 0, rng.integers(problem.choices, size=shape))
    evaluator = found.evaluator
    additive = evaluator.screen(problem.space, seed=config["seed"], reporter=reporter)
    swept = lagrangian_sweep(additive.distortion, problem.energy, count=count)
    near = np.stack([swept[i % len(swept)] for i in range(count)])
    moved = rng.random(shape) < 0.1
    near = np.where(moved, rng.integers(problem.choices, size=shape), near)
    return np.concatenate([anywhere, half, near]).astype(np.int64)


if __name__ == "__main__":
    run(main)
