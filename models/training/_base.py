"""The trained float network that a search starts from."""

import copy
import dataclasses

from torch import nn

from luts.console import SILENT, Reporter
from models.networks import NetworkConfig, build, source_digest, upcycle_
from models.training._cache import trained
from models.training._data import Data
from models.training._loop import fit
from models.training._recipe import TrainingRecipe, default_recipe, upcycled_recipe


def base_network(
    config: NetworkConfig,
    data: Data,
    *,
    seed: int,
    epochs: float | None = None,
    reporter: Reporter = SILENT,
) -> nn.Module:
    """The network of ``config`` trained on ``data``, from the cache if it was trained before.

    A mixture of experts starts from the trained dense network (sparse upcycling) and is trained on.

    Args:
        config: architecture and topology.
        data: what it classifies.
        seed: of weights and training.
        epochs: of the dense network's training; by default its recipe's own. Experts are trained a
            third as long (transformers) or a seventh (convolutional networks).
        reporter: shows the progress of training.

    Raises:
        InputError: the training diverged.
    """
    recipe = default_recipe(config.arch, data.name)
    if epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=epochs)
    dense_config = dataclasses.replace(config, topology="dense")

    def train_dense(network: nn.Module) -> None:
        reporter.note(f"training {config.arch} dense on {data.name}, {recipe.epochs:g} epochs")
        fit(network, data, recipe, seed=seed, reporter=reporter)

    dense = trained(
        lambda: build(dense_config, seed=seed),
        _making(dense_config, data, recipe, seed),
        train_dense,
        reporter=reporter,
    )
    if config.topology == "dense":
        return dense
    further = upcycled_recipe(recipe)

    def start() -> nn.Module:
        network = copy.deepcopy(dense)
        upcycle_(network, config, images=data.train.batches(64), seed=seed)
        return network

    def train_experts(network: nn.Module) -> None:
        reporter.note(f"training its experts ({config.topology}), {further.epochs:g} epochs")
        fit(network, data, further, seed=seed, reporter=reporter)

    making = _making(config, data, further, seed)
    making["upcycled_from"] = _making(dense_config, data, recipe, seed)
    return trained(start, making, train_experts, reporter=reporter)


def _making(
    config: NetworkConfig, data: Data, recipe: TrainingRecipe, seed: int
) -> dict[str, object]:
    digest = source_digest(config.arch)
    return {
        **dataclasses.asdict(config),
        # A user's file may have changed under its name.
        **({} if digest is None else {"source_sha256": digest}),
        "data": data.making,
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
    }
