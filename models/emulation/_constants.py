"""Which tensors a network holds, and which come from its inputs."""

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves


class Constants:
    """Tensors that are parameters and buffers of a network, or made from these.

    What is made of nothing, a row of numbers say, may help to make them, and is none by itself.
    """

    def __init__(self, network: nn.Module) -> None:
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], bool]] = {}
        for tensor in (*network.parameters(), *network.buffers()):
            self._known[id(tensor)] = weakref.ref(tensor), True

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return self._held(tensor) is True

    def _held(self, tensor: torch.Tensor) -> bool | None:
        """Whether a tensor holds something of the network; None if it holds data."""
        if isinstance(tensor, nn.Parameter):
            return True
        known, holds = self._known.get(id(tensor), (None, None))
        return holds if known is not None and known() is tensor else None

    def note(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Take note of what a function made of its arguments, or wrote into the first of them."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        held = [self._held(tensor) for tensor in given]
        is_constant = None not in held if given else func in _FACTORIES
        name = getattr(func, "__name__", "")
        writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if writes and None in held and args and given[0] is args[0]:
            # What a view's base holds is no longer the network's alone either.
            for written in (given[0], given[0]._base):
                if written is not None:
                    self._known.pop(id(written), None)
        for made in tree_leaves(output):
            if isinstance(made, torch.Tensor):
                if is_constant:
                    self._known[id(made)] = weakref.ref(made), True in held
                else:
                    self._known.pop(id(made), None)


_FACTORIES = {torch.zeros, torch.ones, torch.full, torch.eye, torch.arange, torch.linspace}
