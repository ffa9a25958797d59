"""Factorised products through the processor's int8 dot products (`torch._int_mm`)."""

import functools

import torch

from luts._arithmetic import Arithmetic
from luts.backends._base import Backend
from luts.backends._stacking import stack_w, stack_x


class Int8Backend(Backend):
    """One stacked int8 matrix product with 32-bit sums.

    Without VNNI, oneDNN's int8 products saturate at 16 bits and are silently wrong, so the process
    tests them once, at the extremes, before it trusts them.
    """

    name = "int8"

    def refusal(self, arithmetic: Arithmetic, *, device: torch.device, batched: bool) -> str | None:
        """Refuse tables without factors, batched operands, other devices, saturating processors."""
        if arithmetic.factorisation is None:
            return "the table has no short factorisation"
        if batched:
            return "int8 products take one matrix, not a batch"
        if device.type != "cpu":
            return f"not used on {device.type}"
        if not int8_products_are_exact():
            return "int8 products saturate on this processor"
        return None

    def prepare(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """Stack the weight's factors, int8 of shape ``(terms · K, N)``."""
        assert arithmetic.factorisation is not None
        return stack_w(w, arithmetic.factorisation).contiguous()

    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Sums as int32, shape ``(..., M, N)``."""
        assert arithmetic.factorisation is not None
        rows = stack_x(x.reshape(-1, x.shape[-1]), arithmetic.factorisation)
        shape = (*x.shape[:-1], prepared.shape[-1])
        if 0 in (*rows.shape, *prepared.shape):
            return torch.zeros(shape, dtype=torch.int32, device=x.device)
        return torch._int_mm(rows.contiguous(), prepared).view(shape)


@functools.cache
def int8_products_are_exact() -> bool:
    """Whether `torch._int_mm` gives exact sums at the extremes in this process."""
    generator = torch.Generator().manual_seed(0)
    for m, k, n in ((33, 64, 48), (1, 64, 1), (17, 257, 31)):
        for x_value, w_value in ((127, 127), (-128, 127), (127, -128), (-128, -128)):
            x = torch.full((m, k), x_value, dtype=torch.int8)
            w = torch.full((k, n), w_value, dtype=torch.int8)
            if not bool((torch._int_mm(x, w) == k * x_value * w_value).all()):
                return False
        x = torch.randint(-128, 128, (m, k), generator=generator, dtype=torch.int8)
        w = torch.randint(-128, 128, (k, n), generator=generator, dtype=torch.int8)
        if not torch.equal(torch._int_mm(x, w).long(), x.long() @ w.long()):
            return False
    return True


INT8 = Int8Backend()
