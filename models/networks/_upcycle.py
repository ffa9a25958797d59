"""From a trained dense network to one with experts, and where their routing comes from.

Sparse upcycling: Komatsuzaki et al., ICLR 2023, arXiv 2212.05055.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from luts.errors import InputError
from models.networks._architecture import architecture
from models.networks._cluster import ClusterMoE, FollowingMoE, centroids_of, pooled
from models.networks._config import NetworkConfig
from models.networks._experts import ExpertLayer, Granularity, upcycled
from models.networks._gate import Standardise, item_features
from models.networks._hard import HardMoE
from models.networks._mixed import MixedKernels, convolutions_of
from models.networks._soft import SoftMoE, WeightedExperts

UPCYCLING_NOISE = 0.01
"""Noise on upcycled experts, relative to each weight tensor's spread."""

SAMPLE_IMAGES = 1_024
"""Images that centroids are made from; a few clusters need no more."""

_TOKENS_AN_IMAGE = 16

Batch = torch.Tensor | Sequence[Any]


def upcycle_(
    network: nn.Module,
    config: NetworkConfig,
    *,
    images: Iterable[Batch] | None = None,
    noise: float = UPCYCLING_NOISE,
    seed: int = 0,
) -> None:
    """Turn blocks of a dense network into experts, in place.

    With ``noise`` 0 a network of topology ``hard`` or ``cluster`` computes the same function as
    before, in evaluation mode.

    Args:
        network: a dense network of ``config.arch``.
        config: topology, number of experts, and which blocks.
        images: batches of training images, or of tuples that begin with them, as the network reads
            them. From the first 1,024 images ``cluster`` makes its centroids, and the routers of
            convolutional networks take the mean and spread of their features.
        noise: spread of the experts around the dense block, relative to each weight tensor's
            spread.
        seed: of noise, routers and clusters.

    Raises:
        InputError: a block's index lies outside the architecture's range, or ``cluster`` gets no
            images or fewer items than clusters.
    """
    if config.topology == "cluster" and images is None:
        raise InputError("the topology cluster is made from training images, but none were given")
    make_experts_(network, config, images=images, noise=noise, seed=seed)


def make_experts_(
    network: nn.Module,
    config: NetworkConfig,
    *,
    images: Iterable[Batch] | None,
    noise: float,
    seed: int,
) -> None:
    """As `upcycle_`, but ``cluster`` without images gets random centroids, to be loaded over."""
    granularity = architecture(config.arch).granularity
    names = _exposed(network, config)
    if config.soft_mixes == "kernels":
        _mix_kernels_(network, config, names, images, noise=noise, seed=seed)
        return
    by_image = config.cluster_route == "image"
    fitted = images is not None and (config.topology == "cluster" or granularity == "image")
    if images is None or not fitted:
        images = [torch.zeros(1, config.in_channels, config.image_size, config.image_size)]
    seen = _watch(network, names.values(), images, granularity, seed=seed, by_image=by_image)
    leader: ClusterMoE | None = None
    for index, name in sorted(names.items()):
        # Layers of one network must not start with the same noise.
        layer_seed = seed * 1_000 + index
        dense = network.get_submodule(name)
        experts = upcycled(
            dense, config.experts, noise=noise, seed=layer_seed, dropped=config.dropped
        )
        # Layers draw weights from the global generator before they are given theirs.
        with torch.random.fork_rng(devices=[]):
            layer: ExpertLayer
            if leader is not None:
                layer = FollowingMoE(experts, leader, granularity=granularity)
            else:
                layer = _expert_layer(
                    experts, config, granularity, seen[name], fitted=fitted, seed=layer_seed
                )
            if by_image and isinstance(layer, ClusterMoE):
                leader = layer
        layer.train(dense.training)
        parameter = next(dense.parameters())
        network.set_submodule(name, layer.to(parameter.device))


def _mix_kernels_(
    network: nn.Module,
    config: NetworkConfig,
    names: Mapping[int, str],
    images: Iterable[Batch] | None,
    *,
    noise: float,
    seed: int,
) -> None:
    """Let the convolutions of these blocks mix kernels; the rest of a block stays one."""
    convolutions = {
        f"{name}.{inner}" if inner else name: (index, number)
        for index, name in names.items()
        for number, inner in enumerate(convolutions_of(network.get_submodule(name)))
    }
    blank = torch.zeros(1, config.in_channels, config.image_size, config.image_size)
    shown = [blank] if images is None else images
    seen = _watch(network, convolutions, shown, "image", seed=seed, by_image=False)
    for name, (index, number) in convolutions.items():
        dense = network.get_submodule(name)
        assert isinstance(dense, nn.Conv2d)
        layer_seed = (seed * 1_000 + index) * 1_000 + number
        with torch.random.fork_rng(devices=[]):
            layer = MixedKernels(dense, config.experts, noise=noise, seed=layer_seed)
        samples = torch.cat(seen[name].rows)
        if images is not None and len(samples) > 1 and isinstance(layer.standardise, Standardise):
            layer.standardise.fit_(samples)
        layer.train(dense.training)
        network.set_submodule(name, layer.to(dense.weight.device))


def _exposed(network: nn.Module, config: NetworkConfig) -> dict[int, str]:
    """The modules that become experts, by the index of their block."""
    chosen = architecture(config.arch)
    sites = chosen.expert_sites(network)
    if not sites:
        raise InputError(
            f"{config.arch} has no blocks that can become experts (an mlp beside an attn, on "
            f"tokens); its topology is dense"
        )
    blocks = config.expert_blocks
    if blocks is None:
        every_other = tuple(range(1, len(sites), 2)) or (0,)
        blocks = chosen.default_expert_blocks or every_other
    for index in blocks:
        if not 0 <= index < len(sites):
            raise InputError(
                f"expert blocks of {config.arch} lie in 0…{len(sites) - 1}, not {index}"
            )
    return {index: chosen.expose_(network, sites[index]) for index in blocks}


@dataclasses.dataclass
class _Seen:
    """What went into one module: a sample of item features, and items an image has."""

    rows: list[torch.Tensor]
    items_per_image: int = 1


def _watch(
    network: nn.Module,
    names: Iterable[str],
    batches: Iterable[Batch],
    granularity: Granularity,
    *,
    seed: int,
    by_image: bool,
) -> dict[str, _Seen]:
    """Inputs of the named modules while ``network`` runs on ``batches`` in evaluation mode."""
    seen = {name: _Seen([]) for name in names}
    generator = torch.Generator().manual_seed(seed)

    def note(mine: _Seen) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].detach()
            if granularity == "image":
                mine.rows.append(item_features(x, granularity))
                return
            tokens = x.reshape(len(x), -1, x.shape[-1])
            mine.items_per_image = tokens.shape[1]
            if by_image:
                mine.rows.append(pooled(x, granularity))
                return
            some = torch.randperm(tokens.shape[1], generator=generator)[:_TOKENS_AN_IMAGE]
            mine.rows.append(tokens[:, some.to(x.device)].flatten(0, 1))

        return hook

    handles = [
        network.get_submodule(name).register_forward_pre_hook(note(mine))
        for name, mine in seen.items()
    ]
    modes = [(module, module.training) for module in network.modules()]
    parameter = next(network.parameters())
    network.eval()
    try:
        with torch.no_grad():
            count = 0
            for batch in batches:
                x = batch if isinstance(batch, torch.Tensor) else batch[0]
                network(x[: SAMPLE_IMAGES - count].to(parameter))
                count += len(x)
                if count >= SAMPLE_IMAGES:
                    break
    finally:
        for handle in handles:
            handle.remove()
        for module, was_training in modes:
            module.training = was_training
    if not count:
        raise InputError("experts are made from training images, but there were 0")
    return seen


def _expert_layer(
    experts: list[nn.Module],
    config: NetworkConfig,
    granularity: Granularity,
    seen: _Seen,
    *,
    fitted: bool,
    seed: int,
) -> ExpertLayer:
    samples = torch.cat(seen.rows)
    features = samples.shape[-1]
    if config.topology == "cluster":
        on_unit = config.cluster_features == "unit"
        if fitted:
            if on_unit:
                samples = functional.normalize(samples, dim=1)
            centroids = centroids_of(samples, len(experts), seed=seed)
        else:
            generator = torch.Generator().manual_seed(seed)
            centroids = torch.randn(len(experts), features, generator=generator)
        return ClusterMoE(
            experts,
            centroids,
            granularity=granularity,
            on_unit=on_unit,
            by_image=config.cluster_route == "image",
        )
    if config.topology == "soft" and granularity == "token":
        return SoftMoE(experts, features=features, tokens=seen.items_per_image, seed=seed)
    layer: HardMoE | WeightedExperts
    if config.topology == "soft":
        layer = WeightedExperts(experts, features=features, seed=seed)
    else:
        layer = HardMoE(
            experts, features=features, granularity=granularity, top_k=config.top_k, seed=seed
        )
    if fitted and len(samples) > 1 and isinstance(layer.standardise, Standardise):
        layer.standardise.fit_(samples)
    return layer
