"""Looking at what passes through a network for a while."""

import contextlib
from collections.abc import Iterable, Iterator

from torch.utils.hooks import RemovableHandle

from models.emulation._emulate import EmulatedNetwork


@contextlib.contextmanager
def looking_at(emulated: EmulatedNetwork, handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Inside, the network is in evaluation mode; afterwards in its own, without the hooks.

    Args:
        emulated: the network.
        handles: of the hooks that look.
    """
    was_training = emulated.training
    emulated.eval()
    try:
        yield
    finally:
        emulated.train(was_training)
        for handle in handles:
            handle.remove()
