"""``python -m studies.searched_vs_fixed``: search, then compare with fixed multipliers.

Each topology and seed is a run of the main search, kept with ``--runs``: what is finished there is
not searched again, what was stopped goes on.
"""

import argparse
import dataclasses
import math
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from dse import Run, SearchConfig, explore_run
from dse.study import check
from luts.console import Reporter, quieten_libraries, run
from luts.errors import InputError
from studies._files import together
from studies._images import Images
from studies._options import study_parser
from studies.searched_vs_fixed import _figure
from studies.searched_vs_fixed._preset import (
    Key,
    SearchPreset,
    check_results,
    check_run,
    read_preset,
)
from studies.searched_vs_fixed._table import (
    at_equal_accuracy,
    of_presets,
    outcomes,
    progress,
    sentences,
)

PROCESSOR_SECONDS = "processor_seconds"
"""File in a run's folder: what its search took, training of the float network included."""


def main() -> None:
    """Run what is missing, then write tables and figure."""
    options = _parser().parse_args()
    quieten_libraries()
    if options.compare:
        print(compare(options.results, options.compare).to_string(index=False))
        return
    name, preset, images = options.preset, read_preset(options.preset), Images.of(options)
    given = {key: preset.settings(*key, images) for key in preset.searches}
    configs = {key: SearchConfig.from_dict(settings) for key, settings in given.items()}
    runs = {key: options.runs / f"{name}-{key[0]}-{key[1]}" for key in given}
    for key, path in runs.items():
        check_run(path, configs[key], given[key])
    check_results(options.results, name, preset)
    missing = [key for key, path in runs.items() if not (path / "front.csv").exists()]
    if missing:
        images.check(preset.dataset)
    reporter = Reporter()
    for number, key in enumerate(missing, start=1):
        reporter.note(f"search {number} of {len(missing)}: {configs[key].title}")
        _search(configs[key], runs[key], reporter)
    for line in write(options.results, name, preset, runs):
        print(line)


def _parser() -> argparse.ArgumentParser:
    parser = study_parser("searched_vs_fixed", __doc__, "--images", "--data-root")
    add = parser.add_argument
    add("--preset", default="digits", help="table of config.toml (default digits)")
    add("--compare", nargs="+", metavar="PRESET", help="only compare presets' results")
    add("--runs", type=Path, default=Path("runs/searched_vs_fixed"), help="where searches are kept")
    return parser


def _search(config: SearchConfig, path: Path, reporter: Reporter) -> None:
    """One search, begun, or gone on with where an earlier call left it."""
    check(config)
    is_begun = (path / "config.toml").exists()
    of_run = Run.open(path) if is_begun else Run.create(config, path)
    started = time.process_time()
    try:
        explore_run(of_run, reporter)
    finally:
        spent = _processor_seconds(path) + time.process_time() - started
        (path / PROCESSOR_SECONDS).write_text(f"{spent:.1f}\n", encoding="utf-8")


def _processor_seconds(path: Path) -> float:
    """Of all calls that searched a run so far, as far as they were not killed."""
    file = path / PROCESSOR_SECONDS
    return float(file.read_text(encoding="utf-8")) if file.exists() else 0.0


def write(results: Path, name: str, preset: SearchPreset, runs: Mapping[Key, Path]) -> list[str]:
    """Write ``NAME.csv`` and what is drawn from it, ``NAME-progress.csv``, ``NAME.config.toml``.

    Returns:
        The answer in words, a line per topology.
    """
    made = {key: _making(path) for key, path in runs.items()}
    trials = {key: pd.read_csv(path / "trials.csv") for key, path in runs.items()}
    table = pd.concat(
        [
            outcomes(frame, *key).assign(
                seconds_of_scoring=made[key]["seconds_of_scoring"],
                commit=made[key]["commit"],
                device=made[key]["device"],
            )
            for key, frame in trials.items()
        ],
        ignore_index=True,
    )
    budgets = pd.concat([progress(frame, *key) for key, frame in trials.items()])
    equal = at_equal_accuracy(table)
    searches = [{"topology": key[0], "seed": key[1]} | one for key, one in made.items()]
    about = {"preset": dataclasses.asdict(preset), "searches": searches}
    with together(results) as new:
        table.to_csv(new(f"{name}.csv"), index=False, float_format="%.6g")
        both = pd.concat([equal, at_equal_accuracy(table, chosen_on="test")])
        both.to_csv(new(f"{name}-equal.csv"), index=False, float_format="%.6g")
        budgets.to_csv(new(f"{name}-progress.csv"), index=False, float_format="%.6g")
        _figure.draw(new(f"{name}.png"), table, equal, preset.title, _caption(searches))
        # Last, to be in place first: without it the others count as somebody else's.
        new(f"{name}.config.toml").write_text(tomli_w.dumps(about), encoding="utf-8")
    return sentences(equal)


def compare(results: Path, names: Sequence[str]) -> pd.DataFrame:
    """Write ``NAME-and-NAME.csv``: what presets of one network reach, and in which time.

    Raises:
        InputError: a preset has no results, or they are of other networks than the first's.
    """
    tables, seconds, searched = {}, {}, {}
    for name in names:
        file = results / f"{name}.config.toml"
        if not file.exists():
            raise InputError(f"{file} is not there; run --preset {name} first")
        about = tomllib.loads(file.read_text(encoding="utf-8"))
        tables[name] = pd.read_csv(results / f"{name}.csv")
        seconds[name] = sum(one.get("processor_seconds", math.nan) for one in about["searches"])
        networks = ("arch", "dataset", "weights", "topologies", "seeds")
        searched[name] = [about["preset"][key] for key in networks]
        if searched[name] != searched[names[0]] or len(about["searches"]) != 1:
            raise InputError(
                f"presets are compared on one network each, the same one: {name} searched "
                f"{searched[name]}, {names[0]} {searched[names[0]]}"
            )
    table = of_presets(tables)
    table.insert(1, "processor_seconds", table["preset"].map(seconds))
    with together(results) as new:
        table.to_csv(new(f"{'-and-'.join(names)}.csv"), index=False, float_format="%.6g")
    return table


def _making(path: Path) -> dict[str, Any]:
    """Where, when, how and how long a search ran."""
    making: dict[str, Any] = tomllib.loads((path / "config.toml").read_text("utf-8"))["making"]
    seconds = float(pd.read_csv(path / "trials.csv")["seconds"].sum())
    spent = _processor_seconds(path)
    known = {"processor_seconds": spent} if spent else {}
    return {"seconds_of_scoring": round(seconds, 1)} | known | making


def _caption(searches: list[dict[str, Any]]) -> str:
    devices = ", ".join(sorted({one["device"] for one in searches}))
    commits = ", ".join(sorted({one["commit"][:10] for one in searches}))
    hours = sum(one["seconds_of_scoring"] for one in searches) / 3600
    return f"{devices}; {hours:.2f} hours of scoring; commit {commits}"


if __name__ == "__main__":
    run(main)
