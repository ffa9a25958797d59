"""One process that trains, or several that train together through Hugging Face Accelerate.

Several are started by ``accelerate launch`` or ``torchrun``; each takes its share of every batch
and gradients are averaged, so a recipe's batch size is that of all of them.
"""

import os
from typing import Any

import torch
from torch import Tensor, nn

from luts.errors import InputError
from models.networks import ExpertLayer


class ProcessGroup:
    """The processes that train a network together: here this one alone.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank = 0
    size = 1

    def wrapped(self, net: nn.Module) -> nn.Module:
        """The module to call in training; its parameters are those of ``net``."""
        return net

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss`` to the parameters."""
        torch.autograd.backward(loss)

    def share(self, positions: Tensor) -> Tensor:
        """This process's part of a batch, or all of it where a part would be a single image."""
        is_enough = len(positions) >= 2 * self.size
        return positions[self.rank :: self.size] if is_enough else positions


class AcceleratedGroup(ProcessGroup):
    """One of several processes."""

    def __init__(self, device: torch.device, *, has_experts: bool) -> None:
        try:
            import accelerate
        except ImportError:
            raise InputError(
                "training in several processes needs Accelerate: pip install accelerate, "
                "or start one only"
            ) from None
        # An expert that no image of a batch went to has no gradient.
        unused = accelerate.DistributedDataParallelKwargs(find_unused_parameters=has_experts)
        self._accelerator: Any = accelerate.Accelerator(
            cpu=device.type == "cpu", kwargs_handlers=[unused]
        )
        self.rank = self._accelerator.process_index
        self.size = self._accelerator.num_processes

    def wrapped(self, net: nn.Module) -> nn.Module:
        """``net`` with gradients averaged over the processes."""
        prepared: nn.Module = self._accelerator.prepare_model(net)
        return prepared

    def backward(self, loss: Tensor) -> None:
        """Add the mean gradient over all processes."""
        self._accelerator.backward(loss)


def processes() -> int:
    """How many processes were started to train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes and reports."""
    return int(os.environ.get("RANK", "0")) == 0


def local_device() -> torch.device:
    """The device of this process where none is asked for: its own GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def process_group_for(net: nn.Module) -> ProcessGroup:
    """The process group that trains ``net``, on the device where ``net`` is."""
    if processes() == 1:
        return ProcessGroup()
    has_experts = any(isinstance(module, ExpertLayer) for module in net.modules())
    return AcceleratedGroup(next(net.parameters()).device, has_experts=has_experts)
