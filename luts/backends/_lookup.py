"""Any table, by the compiled look-up kernels."""

import numpy as np
import torch

from luts._arithmetic import Arithmetic
from luts._geometry import POINT
from luts._native import isa, native_lookup, native_pad
from luts._quantise import codes_of, quantise
from luts._task import Scaling, Task
from luts.backends._base import Backend

VECTOR = 64
"""Columns that one look-up instruction serves."""

WELL_FILLED = 0.75


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
        """The codes, int8: of a linear layer that fills vectors in columns, else in rows."""
        rows = w.flatten(1).contiguous()
        return rows.t().contiguous() if _is_columns(task) else rows

    def layer(
        self,
        x: torch.Tensor,
        prepared: torch.Tensor,
        arithmetic: Arithmetic,
        task: Task,
        scaling: Scaling | None,
    ) -> torch.Tensor:
        """Weights are rows and output pixels columns of the kernel's product, or the reverse."""
        factor = None if scaling is None else scaling.factor
        bias = None if scaling is None else scaling.offset
        if _is_columns(task) and x.is_contiguous(memory_format=torch.channels_last):
            codes = x if scaling is None else codes_of(x, scaling.x)
            pixels = codes.permute(0, 2, 3, 1)
            rows, columns = pixels.reshape(-1, task.channels), prepared[None, :, None]
            y = native_lookup(columns, rows, arithmetic, scale=factor, bias=bias)
            return y.view(*pixels.shape[:3], task.out_channels).permute(0, 3, 1, 2)
        weights = prepared.t().contiguous() if _is_columns(task) else prepared
        if x.shape[2:] == (1, 1) and task.geometry == POINT:
            codes = x if scaling is None else codes_of(x, scaling.x)
            columns = codes.flatten(1).t().contiguous()[None, :, None]
            y = native_lookup(
                columns, weights, arithmetic, transposed=True, scale=factor, bias=bias
            )
            return y[0, :, 0].t()[:, :, None, None]
        planes = native_pad(x, task.geometry.padding, 1.0 if scaling is None else scaling.x.item())
        return native_lookup(
            planes, weights, arithmetic, task.geometry, transposed=True, scale=factor, bias=bias
        )

    def batched(
        self, x: torch.Tensor, y: torch.Tensor, arithmetic: Arithmetic, scaling: Scaling | None
    ) -> torch.Tensor:
        """``x`` gives the rows, ``y`` the columns."""
        (m, k), n = x.shape[-2:], y.shape[-1]
        scale = None
        if scaling is not None:
            assert scaling.y is not None
            x, y = quantise(x, scaling.x), quantise(y, scaling.y)
            scale = scaling.factor.expand(n)
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        rows = x.expand(*batch, m, k).reshape(-1, m, k).contiguous()
        columns = y.expand(*batch, k, n).reshape(-1, k, 1, n).contiguous()
        return native_lookup(columns, rows, arithmetic, scale=scale).view(*batch, m, n)


def _is_columns(task: Task) -> bool:
    """Whether a linear layer's outputs fill the vectors well enough to be their columns."""
    return task.geometry == POINT and _filled(task.out_channels) >= WELL_FILLED


def _filled(columns: int) -> float:
    return columns / max(1, -(-columns // VECTOR) * VECTOR)


LOOKUP = LookupBackend()
