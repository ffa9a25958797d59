"""``python -m studies.screening``: which estimate ranks whole assignments as measurement does?"""

import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from dse._lagrange import lagrangian_sweep
from dse._making import making
from dse._problem import Problem
from dse._screening import screen
from luts.console import Parser, Reporter, run
from luts.errors import InputError
from models.training import atomically
from studies._images import IMAGES
from studies.screening._estimators import estimators
from studies.search_efficiency._cells import StudyConfig, Subject, subject

HERE = Path(__file__).parent
Many = npt.NDArray[np.int64]


def main() -> None:
    """Estimate, measure, correlate."""
    parser = Parser(prog="python -m studies.screening", description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder or archive of CIFAR-10")
    parser.add_argument("--networks", nargs="*", help="only these networks")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    config = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    shared = StudyConfig.read()
    options.results.mkdir(parents=True, exist_ok=True)
    for name in options.networks or config["networks"]:
        if name not in shared.networks:
            raise InputError(f"unknown network {name!r}; known are {', '.join(shared.networks)}")
        reporter = Reporter()
        found = subject(shared.networks[name], shared, options.images, reporter)
        frame = compare(found, config, reporter).assign(network=name)
        path = options.results / f"{name}.csv"
        with atomically(path) as temporary:
            made = making()
            text = f"# {made['commit']}; {made['device']}; {config}\n"
            temporary.write_text(text + frame.to_csv(index=False, float_format="%.4g"))
        print(frame.to_string(index=False))


def compare(found: Subject, config: dict[str, Any], reporter: Reporter) -> pd.DataFrame:
    """One row an estimator: Spearman over all assignments and over the better half; seconds."""
    problem = found.problem(config["multipliers"], "none")
    codes = drawn(found, problem, config, reporter)
    evaluator, measured = found.evaluator, []
    for row in reporter.track(codes, "measure"):
        measured.append(evaluator.score(problem.space.decode(row)).score.cross_entropy)
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


def drawn(found: Subject, problem: Problem, config: dict[str, Any], reporter: Reporter) -> Many:
    """Assignments to measure: at random, half exact, and near the front of the additive model."""
    rng = np.random.default_rng(config["seed"])
    count, shape = config["assignments"] // 3, (config["assignments"] // 3, problem.size)
    anywhere = rng.integers(problem.choices, size=shape)
    half = np.where(rng.random(shape) < 0.5, 0, rng.integers(problem.choices, size=shape))
    evaluator = found.evaluator
    additive = screen(
        evaluator.emulated, evaluator.inputs, problem.space, seed=config["seed"], reporter=reporter
    )
    swept = lagrangian_sweep(additive.distortion, problem.energy, count=count)
    near = np.stack([swept[i % len(swept)] for i in range(count)])
    moved = rng.random(shape) < 0.1
    near = np.where(moved, rng.integers(problem.choices, size=shape), near)
    return np.concatenate([anywhere, half, near]).astype(np.int64)


if __name__ == "__main__":
    run(main)
