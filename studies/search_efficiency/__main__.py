"""``python -m studies.search_efficiency``: hypervolume against evaluations, sampler by sampler.

Runs the matrix of config.toml cell by cell, skips what ``results/cells`` holds, goes on inside the
cell where an interrupted run stopped, and writes table and figure.
"""

import json
from pathlib import Path

from dse.results import provenance
from luts.console import Parser, Reporter, quieten_libraries, run
from luts.errors import InputError, suggest
from models.training import atomically, cache_folder
from studies._images import IMAGES
from studies._weights import refuse_other_weights
from studies.search_efficiency import _report
from studies.search_efficiency._cells import (
    HERE,
    Cell,
    StudyConfig,
    Subject,
    run_cell,
    subject,
)

RUNNING = "search-efficiency"
"""Folder in the cache where the studies lie while they run."""


def main() -> None:
    """Run what is missing, then report."""
    parser = Parser(prog="python -m studies.search_efficiency", description=__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder or archive of CIFAR-10")
    parser.add_argument("--networks", nargs="*", help="only these networks")
    parser.add_argument("--samplers", nargs="*", help="only these samplers")
    parser.add_argument("--seeds", nargs="*", type=int, help="only these seeds")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    config, reporter = StudyConfig.read(), Reporter()
    quieten_libraries()
    _check(options.networks, list(config.networks), "network")
    _check(options.samplers, sorted({*config.budgets, *config.tied}), "sampler")
    missing = [
        cell
        for cell in config.cells()
        if (options.networks is None or cell.network in options.networks)
        and (options.samplers is None or cell.sampler in options.samplers)
        and (options.seeds is None or cell.seed in options.seeds)
        and not (options.results / "cells" / f"{cell.name}.json").exists()
    ]
    subjects = {
        name: subject(config.networks[name], config, options.images, reporter)
        for name in dict.fromkeys(cell.network for cell in missing)
    }
    for name, found in subjects.items():
        refuse_other_weights(options.results / "cells", name, found.weights_sha256)
    hours = _estimated_hours(subjects, missing)
    print(f"{len(missing)} cells to run, about {hours:.2f} hours on this machine as it is now")
    for cell in missing:
        _run(config, subjects[cell.network], cell, options.results, reporter)
        _report.write(options.results)
    if list((options.results / "cells").glob("*.json")):
        print(_report.write(options.results).to_string(index=False))


def _check(given: list[str] | None, known: list[str], kind: str) -> None:
    for name in given or ():
        if name not in known:
            raise InputError(f"unknown {kind} {name!r}: {suggest(name, known)}")


def _estimated_hours(subjects: dict[str, Subject], cells: list[Cell]) -> float:
    """By processor time; a repeated assignment costs less."""
    return sum((20 + cell.budget) * subjects[cell.network].seconds for cell in cells) / 3600


def _run(
    config: StudyConfig, found: Subject, cell: Cell, results: Path, reporter: Reporter
) -> None:
    database = cache_folder() / RUNNING / f"{cell.name}.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    record = run_cell(found, cell, config.multipliers, database, reporter)
    path = results / "cells" / f"{cell.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as temporary:
        text = json.dumps({**record, "making": provenance()})
        temporary.write_text(text + "\n", encoding="utf-8")
    database.unlink()


if __name__ == "__main__":
    run(main)
