"""Any table, by the compiled look-up kernels."""

import numpy as np
import torch
import torch.nn.functional as F

from luts._arithmetic import Arithmetic
from luts._geometry import POINT
from luts._native import isa, native_lookup
from luts._quantise import quantise
from luts._task import Scaling, Task
from luts.backends._base import Backend

VECTOR = 64
"""Columns that one look-up instruction serves."""


class LookupBackend(Backend):
    """Look up 64 products at once (AVX-512 VBMI), eight (AVX2), or one."""

    name = "table"

    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Refuse other devices and installations without compiled kernels."""
        if task.device.type != "cpu":
            return f"not made for {task.device.type}"
        if isa() == "none":
            return "no compiled kernels"
        return None

    def prepare(self, w: torch.Tensor, arithmetic: Arithmetic, task: Task) -> torch.Tensor:
        """The codes in rows, int8 of shape ``(out, inner)``."""
        return w.flatten(1).contiguous()

    def layer(
        self,
        x: torch.Tensor,
        prepared: torch.Tensor,
        arithmetic: Arithmetic,
        task: Task,
        scaling: Scaling | None,
    ) -> torch.Tensor:
        """Weights are rows, output pixels are columns of the kernel's product."""
        codes = x if scaling is None else quantise(x, scaling.x)
        if x.shape[2:] == (1, 1) and task.geometry == POINT:
            y = self._matrix(codes[:, :, 0, 0], prepared, arithmetic, task)
        else:
            ph, pw = task.geometry.padding
            planes = F.pad(codes, (pw, pw, ph, ph)).contiguous()
            y = native_lookup(planes, prepared, arithmetic, task.geometry, transposed=True)
        return y if scaling is None else scaling.apply(y, channel_dim=-3)

    def batched(
        self, x: torch.Tensor, y: torch.Tensor, arithmetic: Arithmetic, scaling: Scaling | None
    ) -> torch.Tensor:
        """``x`` gives the rows, ``y`` the columns."""
        if scaling is not None:
            assert scaling.y is not None
            sums = self.batched(quantise(x, scaling.x), quantise(y, scaling.y), arithmetic, None)
            return scaling.apply(sums, channel_dim=-1)
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        (m, k), n = x.shape[-2:], y.shape[-1]
        rows = x.expand(*batch, m, k).reshape(-1, m, k).contiguous()
        columns = y.expand(*batch, k, n).reshape(-1, k, 1, n).contiguous()
        return native_lookup(columns, rows, arithmetic).view(*batch, m, n)

    def _matrix(
        self, x: torch.Tensor, w: torch.Tensor, arithmetic: Arithmetic, task: Task
    ) -> torch.Tensor:
        """A linear layer, with whichever side fills the vectors better as columns."""
        m, n = x.shape[0], task.out_channels
        if _filled(n) >= _filled(m):
            columns = w.t().contiguous()[None, :, None]
            y = native_lookup(columns, x.contiguous(), arithmetic)[0, :, 0]
        else:
            columns = x.t().contiguous()[None, :, None]
            y = native_lookup(columns, w, arithmetic, transposed=True)[0, :, 0].t()
        return y[:, :, None, None]


def _filled(columns: int) -> float:
    return columns / max(1, -(-columns // VECTOR) * VECTOR)


LOOKUP = LookupBackend()
