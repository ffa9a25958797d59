"""``python -m studies.trained_weights [TOPOLOGY …]``: train, and write weights and logs."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from luts.console import Reporter, run
from models import training
from models.networks import TOPOLOGIES, NetworkConfig
from studies._images import Images
from studies._options import check_known, read_config, study_parser
from studies._training import WeightsStudy, trained_weights


def main() -> None:
    """Train what is not there yet, dense first, as the others start from it."""
    tables = read_config("trained_weights")
    parser = study_parser("trained_weights", __doc__, "--images", "--data-root")
    parser.add_argument("topologies", nargs="*", default=["dense"], metavar="TOPOLOGY")
    parser.add_argument("--network", default="resnet20", help=", ".join(tables))
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and training")
    options = parser.parse_args()
    check_known("topology", options.topologies, TOPOLOGIES)
    name, seed, reporter = options.network, options.seed, Reporter()
    study = trained_weights(name)

    # 1. The images, a tenth of the training images held back for validation.
    data = Images.of(options).read(
        study.dataset, seed=seed, image_size=study.image_size, reporter=reporter
    )
    for topology in options.topologies:
        # 2. Train, or go on where an interrupted run stopped.
        weights, dense = (
            options.results / f"{name}-{each}-{seed}.safetensors" for each in (topology, "dense")
        )
        if not weights.exists():
            start = None if topology == "dense" else dense
            _train(study, topology, data, start, weights, seed=seed, reporter=reporter)
        # 3. The log, and the figures.
        making = training.read_making(weights)
        _write_log(making, weights.with_suffix(".csv"))
        for split in ("validation", "test"):
            score = making[split]
            print(f"{topology:8} {split:10} {100 * score['accuracy']:.2f} %")


def _train(
    study: WeightsStudy,
    topology: str,
    data: training.Data,
    dense: Path | None,
    weights: Path,
    *,
    seed: int,
    reporter: Reporter,
) -> None:
    network = NetworkConfig(
        arch=study.arch,
        topology=topology,
        num_classes=data.num_classes,
        image_size=data.image_size,
        patch_size=study.patch_size,
    )
    start = training.Start(None if dense is None else str(dense))
    net = training.starting_network(network, start, data, seed=seed, reporter=reporter)
    making = dataclasses.asdict(network) | {"start": None if dense is None else dense.name}
    training.train_to_file(
        net,
        data,
        study.recipe(topology),
        weights,
        seed=seed,
        making=making,
        resume=weights.with_name(weights.name + ".checkpoint").exists(),
        reporter=reporter,
    )


def _write_log(making: dict[str, Any], path: Path) -> None:
    log = pd.DataFrame(making["history"])[["epoch", "loss", "accuracy", "seconds"]]
    for name in ("accuracy", "cross_entropy"):
        log[f"validation_{name}"] = [epoch["validation"][name] for epoch in making["history"]]
    log["seconds"] = log["seconds"].map("{:.1f}".format)
    log.to_csv(path, index=False, float_format="%.4f", lineterminator="\r\n")


if __name__ == "__main__":
    run(main)
