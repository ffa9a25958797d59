"""The end of a search: fine-tune front members and fixed multipliers alike, and test them."""

import dataclasses
from typing import Any

import numpy as np

from dse._config import SearchConfig
from dse._evaluate import Evaluator
from dse._pareto import non_dominated, thin_front
from dse._study import SearchStudy
from dse._trial import Trial
from luts.console import Reporter
from models import Score

BEST_FIXED_MARGIN = 0.01
"""A fixed multiplier is acceptable within one point of the exact int8 network's accuracy."""


@dataclasses.dataclass(frozen=True)
class Closing:
    """What a finished search has found.

    Attributes:
        exact_validation: the exact int8 network's score on the validation split.
        exact_test: and on the test split.
        trials: all trials; those that were fine-tuned or tested say so.
        front: numbers of the trials that no other dominates, by rising energy.
        reported: numbers of the front members that were tested.
        fixed: number of the better operand order's trial of each fixed multiplier.
        best_fixed: number of the cheapest acceptable fixed multiplier, or None if none is.
    """

    exact_validation: Score
    exact_test: Score
    trials: dict[int, Trial]
    front: tuple[int, ...]
    reported: tuple[int, ...]
    fixed: tuple[int, ...]
    best_fixed: int | None


def close(
    study: SearchStudy, evaluator: Evaluator, config: SearchConfig, reporter: Reporter
) -> Closing:
    """Fine-tune and test what is reported; what an earlier run has done already is not repeated."""
    trials = {trial.number: trial for trial in study.trials()}
    front = front_of(list(trials.values()))
    points = np.array([trials[n].objectives for n in front])
    # The front's own worst score, so that its best member in either objective counts for something.
    scores = points[:, 1]
    reference = np.array([1.0, scores.max() + 0.1 * np.ptp(scores) + 1e-9])
    thinned = [front[i] for i in thin_front(points, reference, config.finetune_members)]
    fixed = fixed_baselines(list(trials.values()))
    chosen = sorted({*thinned, *fixed})
    title = "test" if config.finetune == "none" else "fine-tune and test"
    for number in reporter.track(chosen, title):
        trials[number] = _closed(study, evaluator, config, trials[number])
    return Closing(
        exact_validation=evaluator.exact_validation,
        exact_test=_exact_test(study, evaluator),
        trials=trials,
        front=front,
        reported=tuple(thinned),
        fixed=fixed,
        best_fixed=best_fixed([trials[n] for n in fixed], evaluator.exact_validation),
    )


def front_of(trials: list[Trial]) -> tuple[int, ...]:
    """Numbers of the trials that no other dominates, by rising energy."""
    points = np.array([trial.objectives for trial in trials])
    return tuple(trials[index].number for index in non_dominated(points))


def fixed_baselines(trials: list[Trial]) -> tuple[int, ...]:
    """One trial a fixed multiplier, in its better operand order, by falling energy."""
    better: dict[str, Trial] = {}
    for trial in (t for t in trials if t.origin == "uniform"):
        name = uniform_multiplier(trial)
        known = better.get(name)
        if known is None or trial.objectives < known.objectives:
            better[name] = trial
    return tuple(t.number for t in sorted(better.values(), key=lambda t: -t.energy_rel))


def uniform_multiplier(trial: Trial) -> str:
    """Name of the multiplier that a fixed assignment has at all sites but the routers."""
    names = [choice.multiplier for choice in trial.assignment.choices.values()]
    return max(set(names), key=names.count)


def best_fixed(fixed: list[Trial], exact: Score) -> int | None:
    """Number of the cheapest fixed multiplier within one point of ``exact``, or None."""
    acceptable = [
        trial
        for trial in fixed
        if trial.best_validation.accuracy >= exact.accuracy - BEST_FIXED_MARGIN
    ]
    return min(acceptable, key=lambda t: t.energy_rel).number if acceptable else None


def _closed(study: SearchStudy, evaluator: Evaluator, config: SearchConfig, trial: Trial) -> Trial:
    """The trial with its scores after fine-tuning, computed now or kept from an earlier run."""
    key = f"trial-{trial.number}"
    record = study.closing(key)
    if record is None:
        record = _close_one(evaluator, config, trial)
        study.keep_closing(key, record)
    tuned = record["tuned_validation"]
    return dataclasses.replace(
        trial,
        tuned_validation=None if tuned is None else Score(**tuned),
        test=Score(**record["test"]),
        note=record["note"],
    )


def _close_one(evaluator: Evaluator, config: SearchConfig, trial: Trial) -> dict[str, Any]:
    if config.finetune == "none":
        network = evaluator.recovered(trial.assignment)
        return _record(None, evaluator.test(network), trial.note)
    tuned = evaluator.fine_tune(
        trial.assignment, epochs=config.finetune_epochs, seed=config.seed + trial.number
    )
    return _record(tuned.validation, evaluator.test(tuned.network), tuned.note)


def _exact_test(study: SearchStudy, evaluator: Evaluator) -> Score:
    record = study.closing("exact")
    if record is None:
        score = evaluator.test_exact()
        record = dataclasses.asdict(score)
        study.keep_closing("exact", record)
    return Score(**record)


def _record(tuned: Score | None, test: Score, note: str) -> dict[str, Any]:
    return {
        "tuned_validation": None if tuned is None else dataclasses.asdict(tuned),
        "test": dataclasses.asdict(test),
        "note": note,
    }
