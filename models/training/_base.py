"""The trained float network that a search starts from."""

import copy
import dataclasses

from torch import nn

from luts.console import SILENT, Reporter
from models.networks import NetworkConfig, architecture, build, source_digest, upcycle_
from models.training._cache import check_making, trained
from models.training._data import Data
from models.training._loop import fit
from models.training._recipe import (
    TrainingRecipe,
    adapted_recipe,
    default_recipe,
    upcycled_recipe,
)
from models.training._train_to_file import Start
from models.training._weights import fits, load_pretrained_, load_state_, read_weights, state_digest


def base_network(
    config: NetworkConfig,
    data: Data,
    *,
    seed: int,
    recipe: TrainingRecipe | None = None,
    experts_recipe: TrainingRecipe | None = None,
    start: Start | None = None,
    reporter: Reporter = SILENT,
) -> nn.Module:
    """The network of ``config`` trained on ``data``, from the cache if it was trained before.

    A mixture of experts starts from the trained dense network (sparse upcycling) and is trained on.
    Weights that are given are taken as they are: dense ones are trained no further, those of a
    mixture not at all. Published ones are trained on only where they had to be adapted.

    Args:
        config: architecture and topology.
        data: what it classifies.
        seed: of weights and training.
        recipe: of the dense network's training; by default the architecture's for this data set.
        experts_recipe: of what follows with experts; by default the dense network's for a third as
            long (transformers) or a seventh (convolutional networks).
        start: weights to take instead of training the dense network.
        reporter: shows the progress of training.

    Raises:
        InputError: the training diverged, or the weights are not of this network.
    """
    recipe = default_recipe(config.arch, data.name) if recipe is None else recipe
    further = upcycled_recipe(recipe) if experts_recipe is None else experts_recipe
    if start is not None and start.weights is not None:
        state = read_weights(start.weights, reporter=reporter)
        network = build(config, seed=seed)
        if config.topology == "dense" or fits(network, state):
            if config.topology != "dense":
                check_making(start.weights, config)
            load_state_(network, state, source=start.weights)
            return network.eval()
        dense = build(config.dense(), seed=seed)
        load_state_(dense, state, source=start.weights)
        origin: dict[str, object] = {"weights_sha256": state_digest(state)}
    else:
        pretrained = start is not None and start.pretrained
        dense, origin = _dense(config, data, recipe, seed, pretrained=pretrained, reporter=reporter)
    if config.topology == "dense":
        return dense.eval()
    return _with_experts(dense, origin, config, data, further, seed, reporter)


def _dense(
    config: NetworkConfig,
    data: Data,
    recipe: TrainingRecipe,
    seed: int,
    *,
    pretrained: bool,
    reporter: Reporter,
) -> tuple[nn.Module, dict[str, object]]:
    """The trained dense network, and how it was made."""
    config = config.dense()
    making = _making(config, data, recipe, seed)
    network = build(config, seed=seed)
    if pretrained:
        classes = config.num_classes
        adapted = load_pretrained_(network, config.arch, num_classes=classes, reporter=reporter)
        recipe = adapted_recipe(recipe)
        making = _making(config, data, recipe, seed) | {"pretrained": True}
        if not adapted:
            return network, making

    def train(network: nn.Module) -> None:
        reporter.note(f"training {config.arch} dense on {data.name}, {recipe.epochs:g} epochs")
        fit(network, data, recipe, seed=seed, reporter=reporter)

    return trained(lambda: network, making, train, reporter=reporter), making


def _with_experts(
    dense: nn.Module,
    origin: dict[str, object],
    config: NetworkConfig,
    data: Data,
    further: TrainingRecipe,
    seed: int,
    reporter: Reporter,
) -> nn.Module:
    def start() -> nn.Module:
        network = copy.deepcopy(dense)
        upcycle_(network, config, images=data.train.batches(64), seed=seed)
        return network

    def train(network: nn.Module) -> None:
        reporter.note(f"training its experts ({config.topology}), {further.epochs:g} epochs")
        fit(network, data, further, seed=seed, reporter=reporter)

    making = _making(config, data, further, seed) | {"upcycled_from": origin}
    return trained(start, making, train, reporter=reporter)


def _making(
    config: NetworkConfig, data: Data, recipe: TrainingRecipe, seed: int
) -> dict[str, object]:
    digest = source_digest(config.arch)
    shape = dataclasses.asdict(config)
    if config.cluster_features == "raw":
        # Weights from before there was a choice keep their name.
        del shape["cluster_features"]
    if config.cluster_route == "layer":
        del shape["cluster_route"]
    if config.soft_mixes == "outputs":
        del shape["soft_mixes"]
    if config.dropped == 0:
        del shape["dropped"]
    if config.topology == "hard" and architecture(config.arch).granularity == "image":
        # Weights from when the gradient of such a router reached the layers before it are others.
        shape["router_features"] = "detached"
    return {
        **shape,
        # A user's file may have changed under its name.
        **({} if digest is None else {"source_sha256": digest}),
        "data": data.making,
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
    }
