"""Any table on CUDA, looked up by a Triton kernel."""

import functools
import importlib.util

import numpy as np
import torch

from luts._arithmetic import Arithmetic
from luts._task import Task
from luts.backends._base import MatrixBackend


class TritonBackend(MatrixBackend):
    """Gather every product from the table, which stays in the GPU's caches."""

    name = "triton table"

    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Refuse other devices than CUDA, and installations without Triton."""
        if task.device.type != "cuda":
            return f"not made for {task.device.type}"
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed"
        return None

    def prepare_matrix(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """The codes themselves."""
        return w.contiguous()

    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Sums as int32, shape ``(..., M, N)``."""
        batch = np.broadcast_shapes(x.shape[:-2], prepared.shape[:-2])
        (m, k), n = x.shape[-2:], prepared.shape[-1]
        rows = x.expand(*batch, m, k).reshape(-1, m, k).contiguous()
        columns = prepared.expand(*batch, k, n).reshape(-1, k, n).contiguous()
        out = torch.empty(len(rows), m, n, dtype=torch.int32, device=x.device)
        if out.numel():
            table = arithmetic.torch_table(x.device)
            if arithmetic.max_abs_product < 2**15:
                table = table.to(torch.int16)
            _launcher()(rows, columns, table, out)
        return out.view(*batch, m, n)


@functools.cache
def _launcher():  # type: ignore[no-untyped-def]  # Triton has no types
    from luts.backends._triton_kernel import launch

    return launch


TRITON = TritonBackend()
