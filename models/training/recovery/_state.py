"""What the costly steps of a recovery leave behind, to be put back without a forward pass."""

import dataclasses
from collections.abc import Hashable

import torch

from models.emulation import EmulatedNetwork
from models.training.recovery._batchnorm import Statistics, set_statistics_, statistics


@dataclasses.dataclass(frozen=True, eq=False)
class RecoveredState:
    """BatchNorm's statistics and the corrected biases of a network after a recovery.

    Attributes:
        batchnorm: statistics, by module.
        corrections: of the layers with weights, in their order, each of shape ``(out,)``.
    """

    batchnorm: Statistics
    corrections: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, emulated: EmulatedNetwork) -> "RecoveredState":
        """What a recovery has left in ``emulated``."""
        return cls(
            statistics(emulated), tuple(layer.correction.clone() for layer in emulated.weighted)
        )

    @property
    def size(self) -> int:
        """Bytes."""
        buffers = [*self.corrections]
        for kept in self.batchnorm.values():
            buffers += kept.values()
        return sum(buffer.nbytes for buffer in buffers)

    def put_statistics_(self, emulated: EmulatedNetwork) -> None:
        """Give the network's BatchNorms their statistics."""
        set_statistics_(emulated, self.batchnorm)

    @torch.no_grad()
    def put_corrections_(self, emulated: EmulatedNetwork) -> None:
        """Correct the biases of its layers."""
        for layer, correction in zip(emulated.weighted, self.corrections, strict=True):
            layer.correction.copy_(correction)


MOST_BYTES = 2**26
"""Of all states of one network: hundreds of ResNet-20's and ViT-Small's."""


class KeptStates:
    """Recovered states by what decided them; the oldest go where they would take too much.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._states: dict[Hashable, RecoveredState] = {}
        self._size = 0

    def get(self, key: Hashable) -> RecoveredState | None:
        """What `put` kept under ``key``, or None."""
        return self._states.get(key)

    def put(self, key: Hashable, state: RecoveredState) -> None:
        """Keep a state, if it is small enough to be kept at all."""
        if key in self._states or state.size > self._most:
            return
        self._states[key] = state
        self._size += state.size
        while self._size > self._most:
            oldest = next(iter(self._states))
            self._size -= self._states.pop(oldest).size
