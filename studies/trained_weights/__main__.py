"""``python -m studies.trained_weights [TOPOLOGY …]``: train, and write weights and logs."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luts.console import Reporter, run
from models.networks import TOPOLOGIES, NetworkConfig
from models.training import (
    Data,
    Start,
    TrainingRecipe,
    default_recipe,
    read_making,
    starting_network,
    train_to_file,
)
from studies._images import Images
from studies._options import check_known, read_config, study_parser


def main() -> None:
    """Train what is not there yet, dense first, as the others start from it."""
    networks = read_config("trained_weights")
    parser = study_parser("trained_weights", __doc__, "--images", "--data-root")
    parser.add_argument("topologies", nargs="*", default=["dense"], metavar="TOPOLOGY")
    parser.add_argument("--network", default="resnet20", help=", ".join(networks))
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and training")
    options = parser.parse_args()
    check_known("topology", options.topologies, TOPOLOGIES)
    check_known("network", [options.network], networks)

    reporter = Reporter()
    config = networks[options.network] | {"seed": options.seed, "name": options.network}
    # 1. The images, a tenth of the training images held back for validation.
    data = Images.of(options).read(
        config["dataset"],
        seed=config["seed"],
        image_size=config.get("image_size"),
        reporter=reporter,
    )
    for topology in options.topologies:
        # 2. Train, or go on where an interrupted run stopped.
        weights = _weights(config, topology, options.results)
        if not weights.exists():
            _train(topology, config, data, weights, reporter)
        # 3. The log, and the figures.
        making = read_making(weights)
        _write_log(making, weights.with_suffix(".csv"))
        for split in ("validation", "test"):
            score = making[split]
            print(f"{topology:8} {split:10} {100 * score['accuracy']:.2f} %")


def _weights(config: dict[str, Any], topology: str, results: Path) -> Path:
    return results / f"{config['name']}-{topology}-{config['seed']}.safetensors"


def _train(
    topology: str, config: dict[str, Any], data: Data, weights: Path, reporter: Reporter
) -> None:
    network = NetworkConfig(
        arch=config["arch"],
        topology=topology,
        num_classes=data.num_classes,
        image_size=data.image_size,
        patch_size=config.get("patch_size"),
    )
    dense = _weights(config, "dense", weights.parent)
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
    return TrainingRecipe.from_dict(
        asdict(default_recipe(config["arch"], config["dataset"])) | changes
    )


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
