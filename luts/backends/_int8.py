"""Factorised products through PyTorch's int8 matrix product (`torch._int_mm`)."""

import functools

import torch
import torch.nn.functional as F

from luts._arithmetic import Arithmetic
from luts._task import Task
from luts.backends._base import MatrixBackend
from luts.backends._stacking import stack_w, stack_x

CUDA_MULTIPLE = 8
"""cuBLAS wants K and N to be multiples of 8, and more than 16 rows."""

CUDA_MIN_ROWS = 17


class Int8Backend(MatrixBackend):
    """One stacked int8 matrix product with 32-bit sums.

    Without VNNI, oneDNN's int8 products saturate at 16 bits and are silently wrong, so the process
    tests them once per device, at the extremes, before it trusts them.
    """

    name = "torch int8"

    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Refuse tables without factors, batched operands, other devices, saturating processors."""
        if arithmetic.factorisation is None:
            return "the table has no short factorisation"
        if task.batched:
            return "int8 products take one matrix, not a batch"
        if task.device.type not in ("cpu", "cuda"):
            return f"not used on {task.device.type}"
        if not int8_products_are_exact(str(task.device)):
            return "int8 products saturate or are missing on this processor"
        return None

    def prepare_matrix(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """Stack the weight's factors, int8 of shape ``(terms · K, N)``, padded on CUDA."""
        assert arithmetic.factorisation is not None
        stacked = stack_w(w, arithmetic.factorisation)
        if w.device.type == "cuda":
            k, n = stacked.shape
            stacked = F.pad(stacked, (0, -n % CUDA_MULTIPLE, 0, -k % CUDA_MULTIPLE))
            return stacked.t().contiguous().t()
        return stacked.contiguous()

    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Sums as int32, shape ``(..., M, N)``, N rounded up on CUDA (`layer` cuts it)."""
        assert arithmetic.factorisation is not None
        rows = stack_x(x.reshape(-1, x.shape[-1]), arithmetic.factorisation)
        m, n = len(rows), prepared.shape[-1]
        if 0 in (*rows.shape, n):
            return torch.zeros((*x.shape[:-1], n), dtype=torch.int32, device=x.device)
        if x.device.type == "cuda":
            more_rows = max(0, CUDA_MIN_ROWS - m)
            rows = F.pad(rows, (0, prepared.shape[0] - rows.shape[1], 0, more_rows))
        return torch._int_mm(rows.contiguous(), prepared)[:m].view(*x.shape[:-1], n)


@functools.cache
def int8_products_are_exact(device: str = "cpu") -> bool:
    """Whether `torch._int_mm` gives exact sums at the extremes on ``device`` in this process."""
    generator = torch.Generator().manual_seed(0)
    for m, k, n in ((33, 64, 48), (17, 256, 8), (24, 264, 32)):
        pairs = ((127, 127), (-128, 127), (127, -128), (-128, -128))
        operands = [(torch.full((m, k), a), torch.full((k, n), b)) for a, b in pairs]
        operands.append(
            (
                torch.randint(-128, 128, (m, k), generator=generator),
                torch.randint(-128, 128, (k, n), generator=generator),
            )
        )
        for x, w in operands:
            second = w.to(torch.int8).to(device)
            if second.is_cuda:  # as `prepare_matrix` lays it out
                second = second.t().contiguous().t()
            try:
                y = torch._int_mm(x.to(torch.int8).to(device), second)
            except RuntimeError:
                return False
            if not torch.equal(y.cpu().long(), x @ w):
                return False
    return True


INT8 = Int8Backend()
