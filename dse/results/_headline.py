"""The answer of a search in one line, and as plain values for scripts."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from dse.problem import Trial
from dse.results._closing import Closing, uniform_multiplier
from dse.results._figure import standard_error
from dse.results._tables import closing_frame
from energy import run_files
from models import Score


@dataclasses.dataclass(frozen=True)
class Headline:
    """The best searched member beside the best fixed multiplier; test images only report.

    Attributes:
        member: number of the cheapest tested member that is no less accurate on validation images
            than the best fixed multiplier; where none is, of the most accurate one there. By a
            metric of the user's own, more accurate is better by that, and points are the metric's.
        best_fixed: number of that multiplier's trial, or None where none is acceptable.
        energy_ratio: the member's energy by the multiplier's, or by the exact network's.
        validation_points: the member's validation accuracy less that of the other, in percentage
            points.
        accuracy_points: the member's test accuracy less that of the other, in percentage points.
        error_points: standard error of the difference, as if both had seen other images; None
            where a metric knows none.
    """

    member: int
    best_fixed: int | None
    energy_ratio: float
    validation_points: float
    accuracy_points: float
    error_points: float | None


def headline_of(closing: Closing) -> Headline:
    """What a finished search found, against the best fixed multiplier.

    Args:
        closing: of the search; what is reported was tested.
    """
    members = [closing.trials[number] for number in closing.reported]
    number = closing.best_fixed
    fixed = None if number is None else closing.trials[number]
    goal = closing.exact_validation if fixed is None else fixed.best_validation
    level = [trial for trial in members if trial.best_validation.quality >= goal.quality]
    if level:
        member = min(level, key=lambda trial: trial.energy_rel)
    else:
        member = max(members, key=lambda t: (t.best_validation.quality, -t.energy_rel))
    mine, other = _tested(member), closing.exact_test if fixed is None else _tested(fixed)
    return Headline(
        member=member.number,
        best_fixed=number,
        energy_ratio=member.energy_rel / (1.0 if fixed is None else fixed.energy_rel),
        validation_points=member.best_validation.points_above(goal, closing.exact_validation),
        accuracy_points=mine.points_above(other, closing.exact_test),
        error_points=_error_points(mine, other, closing.exact_test),
    )


def _error_points(mine: Score, other: Score, exact: Score) -> float | None:
    errors = [standard_error(score) for score in (mine, other)]
    if None in errors:
        return None
    # A point of accuracy is one percent, as its error is.
    point = 1.0 if exact.is_accuracy else exact.measure.hundred_points(exact.value) / 100
    return math.hypot(*(error or 0.0 for error in errors)) / point


def _tested(trial: Trial) -> Score:
    assert trial.test is not None
    return trial.test


def first_line(closing: Closing) -> str:
    """`headline_of` as a sentence."""
    found = headline_of(closing)
    spread = "" if found.error_points is None else f" ± {found.error_points:.2f}"
    measure = closing.exact_test.measure.name
    test = f"{found.accuracy_points:+.2f}{spread} points of test {measure}"
    if found.best_fixed is None:
        return (
            f"no fixed multiplier is within a point of the exact network; trial {found.member} "
            f"takes {found.energy_ratio:.2f} of the dense exact network's energy, {test}"
        )
    name = uniform_multiplier(closing.trials[found.best_fixed])
    line = f"{found.energy_ratio:.2f} × the energy of the best fixed multiplier, {name}"
    superlative = "most accurate" if closing.exact_test.is_accuracy else "best"
    if found.validation_points < 0:
        return (
            f"{line}, for the {superlative} member, {-found.validation_points:.2f} points below it "
            f"on validation images: {test} (trial {found.member})"
        )
    level = "lower" if closing.exact_test.measure.higher_is_better else "higher"
    return f"{line}, at no {level} validation {measure}: {test} (trial {found.member})"


def as_json(closing: Closing, title: str, path: Path) -> str:
    """The closing screen for scripts.

    Args:
        closing: of the search.
        title: of the search.
        path: its folder.
    """
    # By way of pandas, whose missing numbers become null.
    rows = json.loads(closing_frame(closing).to_json(orient="records"))
    record: dict[str, Any] = {
        "search": title,
        "headline": first_line(closing),
        **dataclasses.asdict(headline_of(closing)),
        "rows": rows,
        "files": {
            name: str(path / getattr(run_files, name.upper()))
            for name in ("front", "trials", "assignments", "front_page", "front_picture", "config")
        },
    }
    return json.dumps(record, ensure_ascii=False)
