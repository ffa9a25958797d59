"""Weights of several experts in one tensor, which would be taken for one layer."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

ROUTERS = ("gate", "router", "gating", "gate_network", "router_gate", "w_gate", "wg")
"""Names under which blocks are known to hold what chooses among them: a module or a parameter."""


COUNTS = ("num_experts", "n_experts", "num_local_experts", "moe_num_experts")
"""Attributes by which modules say how many experts they have."""

NAMES = re.compile(r"experts?|moe|mixture", re.IGNORECASE)
"""In the name of a class that holds experts."""


def fused_weights(network: nn.Module, name: str) -> str | None:
    """Qualified name and class of a parameter that has a slice for each of several experts.

    Such are a module's own parameters of three or more dimensions, if the module, or the one that
    it lies in, says that it has as many experts as the first of these dimensions, or routes to as
    many; or, if no more than its class's name speaks of experts, those with a matrix in each of two
    or more slices, unlike tokens and scales that are broadcast; and two or more matrices of one
    shape that are as many times as long as the module says that it has experts. Not where the
    experts are modules, and never in PyTorch's own layers.

    Args:
        network: that holds the module.
        name: qualified name of the module.

    Returns:
        As it is to be read, or None.
    """
    block = network.get_submodule(name)
    if type(block).__module__.startswith("torch.nn.") or _has_modules_of_experts(block):
        return None
    own = dict(block.named_parameters(recurse=False))
    deep = [key for key, weight in own.items() if weight.dim() > 2]
    named = NAMES.search(type(block).__name__) is not None
    found = [key for key in deep if named and _has_matrices(own[key])]
    if not found:
        around = [block, network.get_submodule(name.rpartition(".")[0])] if name else [block]
        counts = {number for module in around for number in _counts_of(module)}
        found = [key for key in deep if len(own[key]) in counts] or _stacked(block, own)
    if not found:
        return None
    return f"{f'{name}.{found[0]}'.removeprefix('.')} ({type(block).__name__})"


def is_slotted(held: Any) -> bool:
    """Whether a layer is lucidrains' ``Experts`` (the package ``mixture-of-experts``)."""
    w1, w2 = (getattr(held, name, None) for name in ("w1", "w2"))
    return (
        type(held).__name__ == "Experts"
        and isinstance(w1, nn.Parameter)
        and isinstance(w2, nn.Parameter)
        and w1.dim() == w2.dim() == 3
        and w1.shape == w2.transpose(1, 2).shape
        and isinstance(getattr(held, "act", None), nn.Module)
    )


def _has_matrices(weight: nn.Parameter) -> bool:
    """Whether several slices of a weight hold a matrix each."""
    return len(weight) > 1 and min(weight.shape[-2:]) > 1


def _stacked(block: nn.Module, own: dict[str, nn.Parameter]) -> list[str]:
    """Matrices of one shape in which the experts lie one below the other."""
    shapes = [weight.shape for weight in own.values() if weight.dim() == 2]
    numbers = [*_declared(block)]
    return [
        key
        for key, weight in own.items()
        if shapes.count(weight.shape) > 1
        and any(len(weight) > number and len(weight) % number == 0 for number in numbers)
    ]


def _has_modules_of_experts(block: nn.Module) -> bool:
    """Whether a module's experts are modules, so that its own weights are not theirs."""
    lists = [m for m in block.modules() if isinstance(m, nn.ModuleList | nn.ModuleDict)]
    numbers = [*_declared(block)]
    return any(len(held) in numbers if numbers else len(held) > 1 for held in lists)


def _declared(block: nn.Module) -> Iterator[int]:
    """How many experts a module says that it has."""
    for name in COUNTS:
        number = getattr(block, name, None)
        if isinstance(number, int) and number > 1:
            yield number


def _counts_of(block: nn.Module) -> Iterator[int]:
    """How many experts a module says that it has, or routes to."""
    yield from _declared(block)
    for name in ROUTERS:
        router = getattr(block, name, None)
        if isinstance(router, nn.Linear) and router.out_features > 1:
            yield router.out_features
