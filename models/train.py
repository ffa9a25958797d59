"""``python -m models.train``: train one network on one data set and write its weights."""

import argparse
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from luts.console import Parser, Reporter, Terminal, run
from luts.errors import InputError
from luts.settings import add_settings, given_settings
from models.networks import ARCHITECTURES, NetworkConfig
from models.training import (
    DATASETS,
    Start,
    TrainedWeights,
    TrainingRecipe,
    default_recipe,
    is_first,
    load_data,
    local_device,
    prepare_out,
    starting_network,
    train_to_file,
)

ABOUT_EXPERTS = (
    "experts",
    "top_k",
    "expert_blocks",
    "cluster_features",
    "cluster_route",
    "soft_mixes",
    "dropped",
)
OF_THE_RECIPE = (
    "epochs",
    "batch_size",
    "lr",
    "weight_decay",
    "label_smoothing",
    "ema",
    "precision",
)


def main() -> None:
    """Read the arguments, train, and print the scores."""
    options = _parser().parse_args()
    reporter = Reporter(quiet=options.quiet or not is_first())
    out = Path(options.out)
    # Mistakes that cost nothing to find come before data are fetched.
    prepare_out(out, resume=options.resume)
    recipe = _recipe(options)
    weights = None if options.weights in (None, "none") else options.weights
    start = Start(weights, options.pretrained)
    config = _config(options, num_classes=2, image_size=options.image_size or 32)
    device = _device(options.device)

    data = load_data(
        options.dataset,
        seed=options.seed,
        image_size=options.image_size,
        root=options.data_root,
        reporter=reporter,
    )
    config = _config(options, num_classes=data.num_classes, image_size=data.image_size)
    net = starting_network(config, start, data, seed=options.seed, reporter=reporter).to(device)
    making = asdict(config) | {"start": asdict(start), "dataset": options.dataset}
    try:
        result = train_to_file(
            net,
            data,
            recipe,
            out,
            seed=options.seed,
            making=making,
            resume=options.resume,
            reporter=reporter,
        )
    except KeyboardInterrupt:
        words = [word for word in sys.argv[1:] if word != "--resume"]
        command = shlex.join(["python", "-m", "models.train", *words, "--resume"])
        reporter.note(f"stopped; the last whole epoch is kept: go on with {command}")
        raise
    if is_first():
        _show(result)


def _parser() -> Parser:
    parser = Parser(prog="python -m models.train", description=__doc__)
    add = parser.add_argument
    overrides: dict[str, dict[str, object]] = {
        "arch": {"required": True, "help": ", ".join(ARCHITECTURES)},
        "image_size": {"help": "scale images to this side in pixels"},
    }
    shape = ("arch", "topology", *ABOUT_EXPERTS, "image_size", "patch_size")
    add_settings(parser, NetworkConfig, shape, overrides=overrides)
    names = ", ".join(DATASETS)
    add("--dataset", default="cluttered-digits", help=f"{names} (default: %(default)s)")
    add("--data-root", type=Path, help="folder of the published archives (default: the cache)")
    add("--out", required=True, metavar="FILE", help="weights to write, .safetensors")
    add("--resume", action="store_true", help="go on after an interruption, to the same result")
    add("--weights", metavar="PATH|URL|none", help="start from these, dense or of the topology")
    add("--pretrained", action="store_true", help="start from the published weights")
    add("--seed", type=int, default=0, help="of weights, split and order (default: 0)")
    add("--device", help="cpu, cuda, cuda:1 … (default: cuda where there is one)")
    add("--quiet", action="store_true", help="no progress, only the scores")
    recipe = parser.add_argument_group("recipe (defaults suit architecture and data)")
    add_settings(recipe, TrainingRecipe, OF_THE_RECIPE, show_defaults=False)
    return parser


def _recipe(options: argparse.Namespace) -> TrainingRecipe:
    changes = given_settings(options, TrainingRecipe)
    return replace(default_recipe(options.arch, options.dataset), **changes)


def _config(options: argparse.Namespace, *, num_classes: int, image_size: int) -> NetworkConfig:
    given = given_settings(options, NetworkConfig)
    return NetworkConfig(**given | {"num_classes": num_classes, "image_size": image_size})


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name) if name else local_device()
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"no device {name!r} ({reason}): cpu is always there") from None
    return device


def _show(result: TrainedWeights) -> None:
    console = Terminal()
    for title, score in (("validation", result.validation), ("test", result.test)):
        console.say(
            f"{title}: {100 * score.accuracy:.2f} % of {score.images} images, "
            f"cross-entropy {score.cross_entropy:.4f}"
        )
    console.say(f"weights: {result.path}")


if __name__ == "__main__":
    run(main)
