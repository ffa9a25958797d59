"""Where the processor time of one trial goes: recovery step by step, and scoring.

Each network is timed by a process of its own; with another checkout to compare with by two, which
take turns trial by trial, so that both meet the machine in the same mood.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch

import dse
import luts
import luts.console
from luts.console import Reporter, quieten_libraries
from luts.settings import setting
from models import (
    Assignment,
    Choice,
    Data,
    NetworkConfig,
    Site,
    Split,
    build,
    evaluate,
    upcycle_,
)
from models.training import has_batchnorm

CALIBRATION, VALIDATION = 512, 1000
"""Images that a search recovers and scores on by default."""

HERE = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class TrialSettings:
    """Table ``trials`` of the configuration."""

    networks: Annotated[tuple[str, ...], setting("architectures, with hard experts")]
    multipliers: Annotated[tuple[str, ...], setting("of assignments drawn at random")]
    trials: Annotated[int, setting("that are timed; the table shows medians", ge=1)]


def measure(
    config: TrialSettings, folder: Path, reporter: Reporter, *, against: Path | None = None
) -> pd.DataFrame:
    """One row per network and checkout: milliseconds of processor time of a trial and its parts.

    Weights are as initialised and images are noise: a trial costs the same with others.

    Args:
        config: what to measure.
        folder: not needed.
        reporter: shows the progress.
        against: another checkout to time in turns with this one.
    """
    checkouts = {"this": HERE} | ({} if against is None else {"other": against.resolve()})
    rows = []
    for arch in config.networks:
        with contextlib.ExitStack() as stack:
            children = {
                which: stack.enter_context(_child(path, arch, config.multipliers))
                for which, path in checkouts.items()
            }
            took: dict[str, list[dict[str, Any]]] = {which: [] for which in children}
            for _ in reporter.track(range(config.trials), f"score {arch}"):
                for which, ask in children.items():
                    took[which].append(ask())
        rows += [{"network": arch, "checkout": which} | _medians(t) for which, t in took.items()]
    return pd.DataFrame(rows)


def _medians(took: list[dict[str, Any]]) -> dict[str, Any]:
    scores = {json.dumps(one.pop("scores")) for one in took[-1:]}
    medians = {part: float(np.median([t[part] for t in took])) for part in took[-1]}
    made = {"evaluations_a_minute": 60_000 / medians["trial_ms"]}
    return medians | made | {"last_scores": " ".join(scores)}


@contextlib.contextmanager
def _child(
    checkout: Path, arch: str, multipliers: tuple[str, ...]
) -> Iterator[Callable[[], dict[str, Any]]]:
    """A process that runs this file with a checkout's packages, and times a trial when asked."""
    command = [sys.executable, __file__, arch, *multipliers]
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()

        def ask() -> dict[str, Any]:
            process.stdin.write("\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield ask


def _answer(arch: str, *multipliers: str) -> None:
    """Time a trial for each line of standard input."""
    evaluator = _evaluator(arch)
    sites = tuple(evaluator.emulated.sites)
    rounded = [luts.ignored_bits(luts.catalog[name]) != (0, 0) for name in multipliers]
    choices = [Choice(n, rounded=r) for n, r in zip(multipliers, rounded, strict=True)]
    for choice in choices:  # what a circuit alone decides is known after screening
        _prepare(evaluator, Assignment.of({site.name: choice for site in sites}))
    evaluator.emulated.assign_(luts.EXACT)
    rng = np.random.default_rng(0)
    _tell("ready")
    for _ in sys.stdin:
        assignment = _drawn(sites, choices, rng)
        parts = _parts(evaluator, assignment)
        started = time.process_time()
        outcome = evaluator.score(assignment)
        trial = {"trial_ms": 1000 * (time.process_time() - started)}
        _tell(trial | parts | {"scores": [outcome.validation.value, outcome.validation.loss]})


def _tell(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _evaluator(arch: str) -> dse.Evaluator:
    shape = NetworkConfig(arch=arch, topology="hard")
    torch.manual_seed(0)
    network = build(dataclasses.replace(shape, topology="dense"))
    upcycle_(network, shape)
    train, validation, test = (_noise(count, shape) for count in (CALIBRATION, VALIDATION, 256))
    data = Data("cifar10", train, validation, test, shape.num_classes)
    return dse.Evaluator(network.eval(), data, calibration_images=CALIBRATION)


def _noise(count: int, shape: NetworkConfig) -> Split:
    images = torch.randn(count, shape.in_channels, shape.image_size, shape.image_size)
    return Split(images, torch.randint(0, shape.num_classes, (count,)))


def _drawn(sites: tuple[Site, ...], choices: list[Choice], rng: np.random.Generator) -> Assignment:
    """Random choices at all sites but the routers."""
    exact = Choice(luts.EXACT)
    drawn = rng.integers(len(choices), size=len(sites))
    return Assignment.of(
        {
            s.name: exact if s.kind == "router" else choices[d]
            for s, d in zip(sites, drawn, strict=True)
        }
    )


def _parts(evaluator: dse.Evaluator, assignment: Assignment) -> dict[str, float]:
    """Milliseconds of each part of what `dse.Evaluator.score` does."""
    emulated, reference, recipe = evaluator.emulated, evaluator.reference, evaluator.recovery
    steps: dict[str, Callable[[], object]] = {
        "scales_and_codes": lambda: _prepare(evaluator, assignment),
        "weights": lambda: [layer.prepared() for layer in emulated.weighted],
        "recalibrate": lambda: _recalibrate(evaluator),
        "correct_bias": lambda: reference.correct_bias_(emulated, recipe),
        "score": lambda: evaluate(emulated, evaluator.data.validation),
    }
    took = {}
    with evaluator.under(luts.EXACT, recovered=False):
        for name, step in steps.items():
            started = time.process_time()
            step()
            took[f"{name}_ms"] = 1000 * (time.process_time() - started)
    return took


def _recalibrate(evaluator: dse.Evaluator) -> None:
    if has_batchnorm(evaluator.emulated):
        evaluator.reference.recalibrate_(evaluator.emulated)


def _prepare(evaluator: dse.Evaluator, assignment: Assignment) -> None:
    evaluator.emulated.assign_(assignment)
    for site in evaluator.emulated.sites:
        evaluator.reference.prepare_(evaluator.emulated, site, evaluator.recovery)


if __name__ == "__main__":
    # As `dse.search` does; earlier checkouts have nothing of the kind.
    getattr(luts.console, "keep_freed_memory", lambda: None)()
    quieten_libraries()
    _answer(*sys.argv[1:])
