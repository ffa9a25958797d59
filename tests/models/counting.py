"""An independent count of multiply-accumulates, for the tests."""

import math

import torch
from torch import nn

from models.emulation._counter import ProductCounter


def count_macs(net: nn.Module, image: torch.Tensor) -> int:
    """MACs of the convolutions and linear layers for one ``image`` [1, C, H, W]."""
    macs = 0

    def add(module, _, output):
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            taps = module.in_channels // module.groups * math.prod(module.kernel_size)
            macs += output.numel() * taps
        else:
            macs += output.numel() * module.in_features

    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        net.eval()(image)
    for handle in handles:
        handle.remove()
    return macs


def counted(compute):
    """Multiply-accumulates that the dispatcher is asked for by ``compute()``, and foreign calls."""
    counter = ProductCounter(lambda: "here")
    with torch.no_grad(), counter:
        compute()
    return counter.macs["here"], counter.foreign
