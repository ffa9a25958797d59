"""BatchNorm's statistics under another arithmetic.

Shomron, Weiser, "Post-training BatchNorm recalibration", arXiv 2010.05625. What a network was
trained with are the statistics of augmented images, and few images give noisy ones. So those of the
same images under the exact arithmetic can be taken as well, and only the difference that the
circuits make is carried over (`transport_`).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.networks import Inputs, called, in_batches

BATCH_SIZE = 250

Statistics = Mapping[str, Mapping[str, torch.Tensor]]


def batchnorms(network: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Every BatchNorm that keeps statistics, by name."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield name, module


def has_batchnorm(network: nn.Module) -> bool:
    """Whether there is anything to recalibrate."""
    return next(batchnorms(network), None) is not None


def statistics(network: nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    """A copy of every BatchNorm's statistics."""
    return {
        name: {key: buffer.clone() for key, buffer in module.named_buffers()}
        for name, module in batchnorms(network)
    }


def set_statistics_(network: nn.Module, kept: Statistics) -> None:
    """Put statistics back."""
    for name, module in batchnorms(network):
        for key, buffer in module.named_buffers():
            buffer.copy_(kept[name][key])


@torch.no_grad()
def recalibrate_(
    network: nn.Module, images: torch.Tensor | Inputs, *, batch_size: int = BATCH_SIZE
) -> frozenset[str]:
    """Take every BatchNorm's mean and variance anew, in one forward pass.

    They become the plain averages over batches (momentum None). One that nothing reaches, in an
    expert without an image, keeps what it had.

    Args:
        network: in place; everything but BatchNorm runs as in evaluation.
        images: ``(N, …)``.
        batch_size: images at a time.

    Returns:
        Names of the BatchNorms that were recalibrated.
    """
    norms = dict(batchnorms(network))
    kept = statistics(network)
    momenta = {name: module.momentum for name, module in norms.items()}
    was_training = network.training
    network.eval()
    handles = [
        m.register_forward_pre_hook(_train_unless_single, with_kwargs=True) for m in norms.values()
    ]
    try:
        for module in norms.values():
            module.reset_running_stats()
            module.momentum = None
        for batch in in_batches(images, batch_size):
            called(network, batch)
    finally:
        for handle in handles:
            handle.remove()
        reached = set()
        for name, module in norms.items():
            module.momentum = momenta[name]
            is_reached = bool(module.num_batches_tracked)
            if is_reached:
                reached.add(name)
            for key, buffer in module.named_buffers():
                if not is_reached or key == "num_batches_tracked":
                    buffer.copy_(kept[name][key])
        network.train(was_training)
    return frozenset(reached)


def _train_unless_single(module: nn.Module, args: Any, kwargs: Any) -> None:
    """A single value per channel has no variance, and PyTorch refuses it in training."""
    x = (*args, *kwargs.values())[0]
    module.train(x.numel() > x.shape[1])


@torch.no_grad()
def transport_(
    network: nn.Module, trained: Statistics, exact: Statistics, *, names: Collection[str]
) -> None:
    """Turn statistics of images into those that training would have left under this arithmetic.

    A channel is taken to be changed affinely, ``y' = a·y + b``. Then ``a² = v'/v`` and
    ``b = m' − a·m``, with m, v of the exact and m', v' of this arithmetic on the same images, and
    the trained mean and variance M, V become ``a·M + b`` and ``a²·V``. Under the exact arithmetic
    nothing changes.

    Args:
        network: has the statistics of the images, from `recalibrate_`; in place.
        trained: what the float network was trained with.
        exact: of the exact network on the same images.
        names: of the BatchNorms that the images reach under this arithmetic; others stay.
    """
    for name, module in batchnorms(network):
        if name not in names:
            continue
        mean, variance = module.running_mean, module.running_var
        assert mean is not None and variance is not None
        ratio = (variance + module.eps) / (exact[name]["running_var"] + module.eps)
        mean += ratio.sqrt() * (trained[name]["running_mean"] - exact[name]["running_mean"])
        variance.copy_(ratio * trained[name]["running_var"])
