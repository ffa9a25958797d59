"""The slow, obvious way: look every product up."""

import numpy as np
import torch

from luts._arithmetic import Arithmetic
from luts._task import Task
from luts.backends._base import MatrixBackend


class ReferenceBackend(MatrixBackend):
    """Look up and sum, one inner index at a time: any table, any device; the tests' oracle."""

    name = "reference"

    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Refuse nothing."""
        return None

    def prepare_matrix(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """The codes themselves."""
        return w

    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Sums as int32, shape ``(..., M, N)``."""
        table = arithmetic.torch_table(x.device)
        x_codes = x.contiguous().view(torch.uint8).int()
        w_codes = prepared.contiguous().view(torch.uint8).int()
        batch = np.broadcast_shapes(x.shape[:-2], prepared.shape[:-2])
        total = torch.zeros(
            (*batch, x.shape[-2], prepared.shape[-1]), dtype=torch.int32, device=x.device
        )
        for k in range(x.shape[-1]):
            total += table[x_codes[..., :, k, None] * 256 + w_codes[..., k, None, :]]
        return total


REFERENCE = ReferenceBackend()
