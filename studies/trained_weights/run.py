"""``python -m studies.trained_weights.run [TOPOLOGY …]``: train, and write weights and logs."""

import csv
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from luts.console import Parser, Reporter, run
from luts.errors import InputError
from models.networks import TOPOLOGIES, NetworkConfig
from models.training import (
    Data,
    Start,
    TrainingRecipe,
    default_recipe,
    load_data,
    read_making,
    starting_network,
    train_to_file,
)
from studies._images import IMAGES

HERE = Path(__file__).parent


def main() -> None:
    """Train what is not there yet, dense first, as the others start from it."""
    parser = Parser(prog="python -m studies.trained_weights.run", description=__doc__)
    parser.add_argument("topologies", nargs="*", default=["dense"], metavar="TOPOLOGY")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and training")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder or archive of CIFAR-10")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    for topology in options.topologies:
        if topology not in TOPOLOGIES:
            raise InputError(f"unknown topology {topology!r}: known are {', '.join(TOPOLOGIES)}")

    reporter = Reporter()
    config = tomllib.loads((HERE / "config.toml").read_text()) | {"seed": options.seed}
    # 1. The images, 5,000 of the 50,000 training images held back for validation.
    data = load_data(f"imagefolder:{options.images}", seed=config["seed"], reporter=reporter)
    # The folder that the images were in is no part of the result.
    data = replace(data, name=f"imagefolder:{options.images.name}")
    for topology in options.topologies:
        # 2. Train, or go on where an interrupted run stopped.
        weights = options.results / f"{config['arch']}-{topology}-{options.seed}.safetensors"
        if not weights.exists():
            _train(topology, config, data, weights, reporter)
        # 3. The log, and the figures.
        making = read_making(weights)
        _write_log(making, weights.with_suffix(".csv"))
        for split in ("validation", "test"):
            score = making[split]
            print(f"{topology:8} {split:10} {100 * score['accuracy']:.2f} %")


def _train(
    topology: str, config: dict[str, Any], data: Data, weights: Path, reporter: Reporter
) -> None:
    network = NetworkConfig(
        arch=config["arch"],
        topology=topology,
        num_classes=data.num_classes,
        image_size=data.image_size,
    )
    dense = weights.with_name(f"{config['arch']}-dense-{config['seed']}.safetensors")
    start = Start(None if topology == "dense" else str(dense))
    net = starting_network(network, start, data, seed=config["seed"], reporter=reporter)
    making = asdict(network) | {"start": None if topology == "dense" else dense.name}
    train_to_file(
        net,
        data,
        _recipe(config, topology),
        weights,
        seed=config["seed"],
        making=making,
        resume=weights.with_name(weights.name + ".checkpoint").exists(),
        reporter=reporter,
    )


def _recipe(config: dict[str, Any], topology: str) -> TrainingRecipe:
    changes = config["dense" if topology == "dense" else "upcycled"]
    if topology != "dense":
        changes = changes | config.get(topology, {})
    return TrainingRecipe.from_dict(asdict(default_recipe(config["arch"], "cifar10")) | changes)


def _write_log(making: dict[str, Any], path: Path) -> None:
    columns = ("epoch", "loss", "accuracy", "seconds")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "validation_accuracy", "validation_cross_entropy"])
        for epoch in making["history"]:
            score = epoch["validation"]
            cells = [epoch["epoch"], f"{epoch['loss']:.4f}", f"{epoch['accuracy']:.4f}"]
            cells += [f"{epoch['seconds']:.1f}", f"{score['accuracy']:.4f}"]
            writer.writerow([*cells, f"{score['cross_entropy']:.4f}"])


if __name__ == "__main__":
    run(main)
