"""Factorised products through float32 matrix products, kept below 2^24."""

import torch

from luts._arithmetic import Arithmetic
from luts._task import Task
from luts.backends._base import MatrixBackend
from luts.backends._stacking import stack_w, stack_x

EXACT_FLOAT32 = 2**24
"""Every integer up to this magnitude is a float32."""


class Float32Backend(MatrixBackend):
    """Stacked float32 products, split along the inner dimension so that every partial sum is exact.

    The operands have 8 bits, so that they are exact in bfloat16 and TF32 as well and PyTorch's
    reduced-precision switches change nothing.
    """

    name = "float32"

    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Refuse tables without factors."""
        if arithmetic.factorisation is None:
            return "the table has no short factorisation"
        return None

    def prepare_matrix(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """Stack the weight's factors, float32 of shape ``(..., terms · K, N)``."""
        assert arithmetic.factorisation is not None
        return stack_w(w, arithmetic.factorisation).float()

    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Sums as float32 if none can exceed 2^24, else as int32, shape ``(..., M, N)``."""
        factorisation = arithmetic.factorisation
        assert factorisation is not None
        rows = stack_x(x, factorisation).float()
        # Of one operand pair's terms, all may fall into one split: bound them together.
        split = EXACT_FLOAT32 // factorisation.max_abs_sum
        if rows.shape[-1] <= split:
            return rows @ prepared
        total = torch.zeros((*x.shape[:-1], prepared.shape[-1]), dtype=torch.int32, device=x.device)
        for at in range(0, rows.shape[-1], split):
            part = rows[..., at : at + split] @ prepared[..., at : at + split, :]
            total += part.to(torch.int32)
        return total


FLOAT32 = Float32Backend()
