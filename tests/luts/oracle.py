"""Slow products by definition, written apart from everything they check."""

import numpy as np
import numpy.typing as npt
import torch

from luts import Geometry

Table = npt.NDArray[np.int32]


def codes(x: torch.Tensor) -> npt.NDArray[np.intp]:
    """The bits of int8 values read as unsigned numbers."""
    return x.contiguous().numpy().view(np.uint8).astype(np.intp)


def matrix_product(table: Table, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """``Σ_k T[x[…, m, k], w[…, k, n]]``, int64."""
    x_codes, w_codes = codes(x), codes(w)
    total = 0
    for k in range(x.shape[-1]):
        total = total + table[x_codes[..., :, k, None], w_codes[..., k, None, :]].astype(np.int64)
    if x.shape[-1] == 0:
        batch = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        total = np.zeros((*batch, x.shape[-2], w.shape[-1]), dtype=np.int64)
    return torch.from_numpy(np.asarray(total))


def convolution(table: Table, x: torch.Tensor, w: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """A convolution, tap by tap, int64; the zeros of the padding are operands."""
    (ph, pw), (sh, sw), (dh, dw) = geometry.padding, geometry.stride, geometry.dilation
    x_codes = np.pad(codes(x), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    w_codes = codes(w)
    out, per_group, kh, kw = w.shape
    batch, _, height, width = x_codes.shape
    rows = max(0, (height - dh * (kh - 1) - 1) // sh + 1)
    columns = max(0, (width - dw * (kw - 1) - 1) // sw + 1)
    total = np.zeros((batch, out, rows, columns), dtype=np.int64)
    if 0 in total.shape:
        return torch.from_numpy(total)
    per_group_out = out // geometry.groups
    for n in range(out):
        first = n // per_group_out * per_group
        for c in range(per_group):
            for i in range(kh):
                for j in range(kw):
                    taps = x_codes[:, first + c, i * dh :, j * dw :]
                    taps = taps[:, : (rows - 1) * sh + 1 : sh, : (columns - 1) * sw + 1 : sw]
                    total[:, n] += table[taps, w_codes[n, c, i, j]]
    return torch.from_numpy(total)
