"""``python -m studies.recovery``: what each step of a recovery brings, and what it costs.

With ``--multiplier`` it prints the ladder of one recovery. Without, it runs the matrix of
config.toml cell by cell, skips what ``results/cells`` holds already, and writes table and figure.
"""

import argparse
import dataclasses
import tomllib
from pathlib import Path

import torch

import luts
from dse import provenance
from luts.console import SILENT, Reporter, run
from luts.errors import InputError
from models import Recovery
from studies._images import Images
from studies._matrix import CellStore, Record, announce, measure_all
from studies._networks import NamedNetwork
from studies._options import check_known, study_parser
from studies.recovery import _report
from studies.recovery._cells import HERE, RecoveryCell, RecoveryStudy, TrainedNetwork, run_cell


def main() -> None:
    """One ladder, or the matrix."""
    options = _parser().parse_args()
    study = RecoveryStudy.read()
    reporter = Reporter(quiet=options.quiet)
    if options.multiplier is None:
        _matrix(study, options, reporter)
    else:
        _one(study, options, reporter)


def _parser() -> argparse.ArgumentParser:
    common = ("--images", "--data-root", "--networks", "--seeds", "--quiet")
    parser = study_parser("recovery", __doc__, *common)
    add = parser.add_argument
    add("--recipes", nargs="*", metavar="NAME", help="only these recipes of the matrix")
    add("--multiplier", help="print one ladder, of this multiplier")
    add("--arch", default="resnet20", help="architecture of one ladder (default resnet20)")
    add("--topology", default="dense", help="its topology (default dense)")
    add("--dataset", help="its data set (default: the matrix's for its networks, else digits)")
    add("--recipe", default="free", metavar="NAME|FILE", help="of config.toml, or a TOML file")
    add("--swapped", action="store_true", help="one ladder: start with ports exchanged")
    add("--rounded", action="store_true", help="one ladder: round operands to the bits in use")
    add("--seed", type=int, default=0, help="of one ladder")
    return parser


def _one(study: RecoveryStudy, options: argparse.Namespace, reporter: Reporter) -> None:
    multiplier = luts.catalog[options.multiplier].name
    name = f"{options.arch}-{options.topology}"
    recipe = _recipe(study, options.recipe, name)
    named: NamedNetwork | None = study.networks.get(name)
    if named is None or options.dataset is not None:
        dataset = options.dataset or "digits"
        named = NamedNetwork(arch=options.arch, topology=options.topology, images=dataset)
    network = TrainedNetwork.load(named, study, Images.of(options), reporter)
    cell = RecoveryCell("", multiplier, options.recipe, options.seed)
    swapped = options.swapped or options.recipe in study.swapped
    rounded = options.rounded or options.recipe in study.rounded
    recovered, exact = run_cell(
        network, cell, recipe, swapped=swapped, rounded=rounded, reporter=reporter
    )
    print(_report.as_text(recovered, exact))


def _recipe(study: RecoveryStudy, name: str, network: str) -> Recovery:
    if not name.endswith(".toml"):
        check_known("recipe", [name], study.recipes)
        return study.recipe(name, network)
    try:
        return Recovery.from_dict(tomllib.loads(Path(name).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the recipe {name}: {error}") from error


def _matrix(study: RecoveryStudy, options: argparse.Namespace, reporter: Reporter) -> None:
    check_known("network", options.networks, study.networks)
    check_known("recipe", options.recipes, study.recipes)
    store = CellStore[RecoveryCell](options.results)
    only = {"network": options.networks, "recipe": options.recipes, "seed": options.seeds}
    missing = store.missing(study.cells(), **only)
    networks = _networks(study, missing, options, reporter)
    for name, network in networks.items():
        store.check_weights(name, network.weights_sha256)
    missing = [cell for cell in missing if cell.network in networks]

    def seconds_of(cell: RecoveryCell) -> float:
        return networks[cell.network].seconds_of(study.recipe(cell.recipe, cell.network))

    def measure(cell: RecoveryCell) -> Record:
        return _measured(study, networks[cell.network], cell)

    def recovered(cell: RecoveryCell, record: Record) -> str:
        return f"{100 * record['steps'][-1]['after']['accuracy']:.2f} %"

    announce(missing, seconds_of, reporter)
    measure_all(store, missing, measure, recovered, reporter)
    if store.records():
        print(_report.write(store).to_string(index=False))


def _networks(
    study: RecoveryStudy,
    cells: list[RecoveryCell],
    options: argparse.Namespace,
    reporter: Reporter,
) -> dict[str, TrainedNetwork]:
    """The networks of some cells, but those whose weights are not there yet."""
    networks = {}
    for name in dict.fromkeys(cell.network for cell in cells):
        named = study.networks[name]
        if not (HERE / named.weights).exists():
            away = f"{named.weights} is not there yet (studies.trained_weights)"
            reporter.note(f"{name} left out: {away}")
            continue
        networks[name] = TrainedNetwork.load(named, study, Images.of(options), reporter)
    return networks


def _measured(study: RecoveryStudy, network: TrainedNetwork, cell: RecoveryCell) -> Record:
    recipe = study.recipe(cell.recipe, cell.network)
    swapped = cell.recipe in study.swapped
    rounded = cell.recipe in study.rounded
    recovered, exact = run_cell(
        network, cell, recipe, swapped=swapped, rounded=rounded, reporter=SILENT
    )
    return {
        **dataclasses.asdict(cell),
        "weights_sha256": network.weights_sha256,
        "epoch_seconds": network.epoch_seconds,
        "making": provenance(),
        "exact": exact.to_dict(),
        "steps": recovered.to_dicts(),
        "recipe_values": recipe.to_dict(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    run(main)
