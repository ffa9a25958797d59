"""front.html: every trial of one search, or of one per topology, to explore in a browser.

One file without a library: it opens without a network, takes a few hundred kilobytes, and each
mark is an element that a keyboard or a screen reader reaches. What it shows is data; names are put
into the page as text only.
"""

import fnmatch
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dse.problem import Trial, hypervolume
from dse.results._closing import BEST_FIXED_MARGIN, Closing, uniform_multiplier
from dse.results._figure import figure, label, standard_error
from dse.results._pictures import energy_label
from dse.study import SearchConfig
from luts import EXACT, catalog
from models import Assignment, Score

_EXPERT = re.compile(r"^(.*?)\.experts\.(\d+)(.*)$")
NEAR_POINTS = 10
"""Points by which trials near the front may be worse than the exact network."""
SHARED = "shared"
"""Heading of the column of sites that belong to no expert."""

Search = tuple[Closing, SearchConfig]


def draw_html(path: Path, searches: Sequence[Search]) -> None:
    """Write the page.

    Args:
        path: file to write.
        searches: finished searches of one architecture; at least one.
    """
    path.write_text(page(searches), encoding="utf-8")


def page(searches: Sequence[Search]) -> str:
    """The page as HTML."""
    content = page_data(searches)
    # Within a script element only "<" could end it.
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    exact = searches[0][0].exact_test
    is_own = not exact.is_accuracy
    scores = "metric" if is_own else "accuracy"
    script = {
        name: _file(f"{scores}/{name}.js").rstrip("\n") for name in ("metrics", "describe", "facts")
    }
    parts = {
        "title": html.escape(content["title"]),
        "score": html.escape(exact.measure.name) if is_own else "Accuracy",
        "style": _file("front.css"),
        "script": _filled("front.js", script),
        "data": text,
    }
    return _filled("front.html", parts)


def _filled(name: str, parts: Mapping[str, str]) -> str:
    # In one pass: a title may hold braces too.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file(name))


def _file(name: str) -> str:
    return resources.files("dse").joinpath(f"results/page/{name}").read_text(encoding="utf-8")


def page_data(searches: Sequence[Search]) -> dict[str, Any]:
    """What the page's script draws, as plain values."""
    runs, trials = [], []
    for index, (closing, config) in enumerate(searches):
        sites = list(next(iter(closing.trials.values())).assignment.choices)
        codes: dict[Any, int] = {}
        for trial in closing.trials.values():
            chosen = trial.assignment.choices
            mine = [codes.setdefault(chosen[site], len(codes)) for site in sites]
            trials.append({"run": index, **_trial(closing, trial), "codes": mine})
        runs.append(_run(closing, config, sites) | {"choices": [_choice(c) for c in codes]})
    first = searches[0][1]
    titles = first.title if len(searches) == 1 else _joint_title(searches)
    return {
        "title": titles,
        "summary": " ".join(
            _summary(closing, config, len(searches) > 1) for closing, config in searches
        ),
        "energy_title": energy_label(first),
        "assignment_version": json.loads(Assignment({}, {}).to_json())["version"],
        "origins": list(dict.fromkeys(trial["origin"] for trial in trials)),
        "runs": runs,
        "trials": trials,
        **_measure(searches[0][0].exact_test),
    }


def _measure(exact: Score) -> dict[str, Any]:
    """What the figures are, of a metric of the user's own."""
    if exact.is_accuracy:
        return {}
    measure, unit = exact.measure, exact.measure.hundred_points(exact.value) / 100
    return {
        "measure": {
            "name": label(exact),
            "up": measure.higher_is_better,
            "near": NEAR_POINTS * unit,
        }
    }


def _joint_title(searches: Sequence[Search]) -> str:
    first = searches[0][1]
    return f"{first.arch} on {first.dataset}, seed {first.seed}, all topologies"


def _summary(closing: Closing, config: SearchConfig, is_one_of_several: bool) -> str:
    who = f"{config.topology}: " if is_one_of_several else ""
    text = (
        f"{who}{len(closing.trials)} trials; the exact int8 network has "
        f"{closing.exact_test.shown(2)} on {closing.exact_test.images:,} test images."
    )
    if closing.best_fixed is not None:
        best = closing.trials[closing.best_fixed]
        name = uniform_multiplier(best)
        text += f" Best fixed multiplier: {name}, energy {best.energy_rel:.4f}."
    return text


def _trial(closing: Closing, trial: Trial) -> dict[str, Any]:
    def shown(score: Score | None) -> float | None:
        if score is None:
            return None
        return round(figure(score), 4) if score.is_accuracy else finite(score.value)

    def finite(number: float) -> float | None:
        return round(number, 6) if math.isfinite(number) else None

    def error(score: Score | None) -> float | None:
        spread = None if score is None else standard_error(score)
        return None if spread is None or not math.isfinite(spread) else round(spread, 4)

    return {
        "number": trial.number,
        "origin": trial.origin,
        "fidelity": trial.fidelity,
        "energy": round(trial.energy_rel, 6),
        "accuracy": shown(trial.validation),
        "accuracy_error": error(trial.validation),
        "cross_entropy": finite(trial.validation.loss),
        "whole": shown(trial.whole_validation),
        "whole_error": error(trial.whole_validation),
        "tuned": shown(trial.tuned_validation),
        "test": shown(trial.test),
        "test_error": error(trial.test),
        "fixed": trial.number in closing.fixed,
        "best_fixed": trial.number == closing.best_fixed,
        "shown_first": trial.number == _recommended(closing),
    }


def _recommended(closing: Closing) -> int:
    """The cheapest tested member within a point of the exact network, else the dearest one."""
    least = closing.exact_validation.quality_less(BEST_FIXED_MARGIN)
    members = [closing.trials[number] for number in closing.reported]
    good = [trial for trial in members if trial.best_validation.quality >= least]
    return (good[0] if good else members[-1]).number


def _run(closing: Closing, config: SearchConfig, sites: list[str]) -> dict[str, Any]:
    some = closing.trials.values()
    experts, grid = _grid(sites)
    patterns = config.exact
    varied = {
        site
        for trial in some
        for site, choice in trial.assignment.choices.items()
        if choice.multiplier != EXACT
    }
    return {
        "topology": config.topology,
        "title": config.title,
        "sites": sites,
        "experts": experts,
        "grid": grid,
        "pinned": [
            site not in varied or any(fnmatch.fnmatchcase(site, p) for p in patterns)
            for site in sites
        ],
        "tables": {name: sha for trial in some for name, sha in trial.assignment.tables.items()},
        "exact": {
            "accuracy": _known(figure(closing.exact_searched)),
            "cross_entropy": _known(closing.exact_searched.loss),
            "test": _known(figure(closing.exact_test)),
        },
        "progress": _progress(closing),
        "phases": _phases(closing),
    }


def _known(number: float) -> float | None:
    """A number as JSON can hold it."""
    return number if math.isfinite(number) else None


def _choice(choice: Any) -> dict[str, Any]:
    return {
        "multiplier": choice.multiplier,
        "swapped": choice.swapped,
        "rounded": choice.rounded,
        "power": round(catalog[choice.multiplier].power_mw / catalog[EXACT].power_mw, 4),
    }


def _grid(sites: Sequence[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """Sites as rows, experts as columns: headings, and per row the sites' numbers or None."""
    rows: dict[str, dict[str, int]] = {}
    columns: dict[str, None] = {}
    for number, site in enumerate(sites):
        match = _EXPERT.match(site)
        name, column = site, SHARED
        if match:
            before, expert, after = match.groups()
            name, column = f"{before}.experts.*{after}", f"expert {expert}"
        columns[column] = None
        rows.setdefault(name, {})[column] = number
    headings = sorted(columns, key=lambda name: (name != SHARED, len(name), name))
    return headings, [
        {"name": name, "sites": [cells.get(column) for column in headings]}
        for name, cells in rows.items()
    ]


def _progress(closing: Closing) -> list[float]:
    """Hypervolume after each trial, as a share of that of all."""
    points = np.array([trial.objectives[:2] for trial in closing.trials.values()])
    fixed = [n for n, trial in enumerate(closing.trials.values()) if trial.origin == "uniform"]
    reference = (points[fixed] if fixed else points).max(axis=0) * 1.001
    volumes, kept = [], np.empty((0, 2))
    for point in points:
        if not (kept <= point).all(axis=1).any():
            kept = np.vstack([kept[~(point <= kept).all(axis=1)], point])
            volumes.append(hypervolume(kept, reference))
        else:
            volumes.append(volumes[-1])
    return [round(volume / volumes[-1], 5) if volumes[-1] else 0.0 for volume in volumes]


def _phases(closing: Closing) -> list[tuple[int, str]]:
    """At which trial each origin first appears, counted from 1."""
    seen: dict[str, int] = {}
    for at, trial in enumerate(closing.trials.values(), start=1):
        seen.setdefault(trial.origin, at)
    return [(at, origin) for origin, at in seen.items()]
