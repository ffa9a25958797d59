"""``python -m studies.recovery``: what each step of a recovery brings, and what it costs.

With ``--multiplier`` it prints the ladder of one recovery. Without, it runs the matrix of
config.toml cell by cell, skips what ``results/cells`` holds already, and writes table and figure.
"""

import argparse
import dataclasses
import json
import tomllib
from pathlib import Path

import luts
from dse.results import provenance
from luts.console import Parser, Reporter, run
from luts.errors import InputError
from models import Recovery
from models.training import atomically
from studies._images import IMAGES
from studies._weights import refuse_other_weights
from studies.recovery import _report
from studies.recovery._cells import (
    HERE,
    Cell,
    StudyConfig,
    Subject,
    estimated_seconds,
    named,
    run_cell,
    subject,
)


def main() -> None:
    """One ladder, or the matrix."""
    options = _parser().parse_args()
    config = StudyConfig.read()
    reporter = Reporter(quiet=options.quiet)
    if options.multiplier is None:
        _matrix(config, options, reporter)
    else:
        _one(config, options, reporter)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m studies.recovery", description=__doc__)
    add = parser.add_argument
    add("--arch", default="resnet20", help="architecture of one ladder (default resnet20)")
    add("--topology", default="dense", help="its topology (default dense)")
    add("--dataset", help="its data set (default: the matrix's for its networks, else digits)")
    add("--multiplier", help="print one ladder, of this multiplier")
    add("--recipe", default="free", metavar="NAME|FILE", help="of config.toml, or a TOML file")
    add("--swapped", action="store_true", help="one ladder: start with ports exchanged")
    add("--seed", type=int, default=0)
    add("--images", type=Path, default=IMAGES, help="folder or archive of CIFAR-10")
    add("--networks", nargs="*", help="only these networks of the matrix")
    add("--recipes", nargs="*", help="only these recipes of the matrix")
    add("--seeds", nargs="*", type=int, help="only these seeds of the matrix")
    add("--results", type=Path, default=HERE / "results")
    add("--quiet", action="store_true", help="show nothing but the result")
    return parser


def _one(config: StudyConfig, options: argparse.Namespace, reporter: Reporter) -> None:
    multiplier = luts.catalog[options.multiplier].name
    name = f"{options.arch}-{options.topology}"
    settings = config.networks.get(name)
    recipe = _recipe(config, options.recipe, name)
    if settings is None or options.dataset is not None:
        settings = {
            "arch": options.arch,
            "topology": options.topology,
            "images": options.dataset or "digits",
        }
    found = subject(settings, config, options.images, reporter)
    cell = Cell("", multiplier, options.recipe, options.seed)
    swapped = options.swapped or options.recipe in config.swapped
    recovered, exact = run_cell(found, cell, recipe, swapped=swapped, reporter=reporter)
    print(_report.as_text(recovered, exact))


def _recipe(config: StudyConfig, name: str, network: str) -> Recovery:
    if not name.endswith(".toml"):
        recipe: Recovery = named(config.recipes, name, "recipe")
        return config.recipe(name, network) if network in config.networks else recipe
    try:
        return Recovery.from_dict(tomllib.loads(Path(name).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the recipe {name}: {error}") from error


def _matrix(config: StudyConfig, options: argparse.Namespace, reporter: Reporter) -> None:
    missing = _missing(config, options)
    subjects = _subjects(config, options, missing, reporter)
    missing = [cell for cell in missing if cell.network in subjects]
    hours = _estimated_hours(config, subjects, missing)
    print(f"{len(missing)} cells to run, about {hours:.2f} hours on this machine as it is now")
    for cell in reporter.track(missing, "recover"):
        _run(config, subjects[cell.network], cell, options.results, reporter)
    if list((options.results / "cells").glob("*.json")):
        print(_report.write(options.results).to_string(index=False))


def _missing(config: StudyConfig, options: argparse.Namespace) -> list[Cell]:
    for given, known, kind in (
        (options.networks, config.networks, "network"),
        (options.recipes, config.recipes, "recipe"),
    ):
        for name in given or ():
            named(known, name, kind)
    return [
        cell
        for cell in config.cells()
        if (options.networks is None or cell.network in options.networks)
        and (options.recipes is None or cell.recipe in options.recipes)
        and (options.seeds is None or cell.seed in options.seeds)
        and not (options.results / "cells" / cell.file_name).exists()
    ]


def _subjects(
    config: StudyConfig, options: argparse.Namespace, cells: list[Cell], reporter: Reporter
) -> dict[str, Subject]:
    found = {}
    for name in dict.fromkeys(cell.network for cell in cells):
        settings = config.networks[name]
        weights = settings.get("weights")
        if weights is not None and not (HERE / weights).exists():
            reporter.note(f"{name} left out: {weights} is not there yet (studies.trained_weights)")
            continue
        found[name] = subject(settings, config, options.images, reporter)
        refuse_other_weights(options.results / "cells", name, found[name].weights_sha256)
    return found


def _estimated_hours(config: StudyConfig, subjects: dict[str, Subject], cells: list[Cell]) -> float:
    seconds = 0.0
    for name, found in subjects.items():
        for recipe in dict.fromkeys(cell.recipe for cell in cells):
            count = sum(cell.network == name and cell.recipe == recipe for cell in cells)
            if count:
                seconds += estimated_seconds(found, config.recipe(recipe, name), count)
    return seconds / 3600


def _run(
    config: StudyConfig, found: Subject, cell: Cell, results: Path, reporter: Reporter
) -> None:
    recipe = config.recipe(cell.recipe, cell.network)
    quiet = Reporter(quiet=True)
    swapped = cell.recipe in config.swapped
    recovered, exact = run_cell(found, cell, recipe, swapped=swapped, reporter=quiet)
    reporter.note(f"{cell.file_name.removesuffix('.json')}: {recovered.note}")
    about = dataclasses.asdict(cell) | {
        "weights_sha256": found.weights_sha256,
        "epoch_seconds": found.epoch_seconds,
        "making": provenance(),
    }
    record = _report.record(recovered, exact, about, recipe)
    path = results / "cells" / cell.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
