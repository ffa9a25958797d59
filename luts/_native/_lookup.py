"""Table products by the compiled kernels."""

import ctypes
import dataclasses
import functools
import itertools

import numpy as np
import numpy.typing as npt
import torch

from luts._arithmetic import Arithmetic
from luts._geometry import POINT, Geometry
from luts._native._checks import check_factors, check_inner, check_operand, need
from luts._native._library import kernels
from luts._native._structures import Lookup


def native_lookup(
    columns: torch.Tensor,
    rows: torch.Tensor,
    arithmetic: Arithmetic,
    geometry: Geometry = POINT,
    *,
    transposed: bool = False,
    scale: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """``out[b, r, …] = Σ_k T[rows[r, k], columns[b, window k of …]]``, scaled if asked.

    A table that 16 bits do not hold is looked up in parts that sum up to it.

    Args:
        columns: codes, contiguous int8 of shape ``(batch, channels, rows, columns)``, padded.
        rows: codes, contiguous int8 of shape ``(R, inner)`` or ``(batch, R, inner)``.
        arithmetic: the multiplier and operand order; its first operand is the row's.
        geometry: the window over the columns; its padding must already be there.
        transposed: the table's first operand is the column's.
        scale: factor of the sums, float32: of each row where the table is transposed, else of each
            column; None for the sums themselves.
        bias: added after, of the same shape.

    Returns:
        int32 or, if scaled, float32 of shape ``(batch, R, out rows, out columns)``.
    """
    out_h, out_w = _checked_size(columns, rows, geometry)
    batch, channels, height, width = columns.shape
    check_factors(scale, rows.shape[-2] if transposed else out_h * out_w)
    check_factors(bias, rows.shape[-2] if transposed else out_h * out_w)
    tables = _tables(arithmetic, transposed)
    kind = torch.int32 if scale is None or len(tables) > 1 else torch.float32
    job = Lookup()
    job.row_codes, job.n_rows, job.inner = rows.data_ptr(), rows.shape[-2], rows.shape[-1]
    job.columns, job.batch = columns.data_ptr(), batch
    job.channels, job.height, job.width = channels, height, width
    job.kernel_h, job.kernel_w = geometry.kernel
    job.stride_h, job.stride_w = geometry.stride
    job.dilation_h, job.dilation_w = geometry.dilation
    job.groups, job.out_h, job.out_w = geometry.groups, out_h, out_w
    job.rows_vary, job.scale_by_column = rows.dim() == 3, not transposed
    job.threads = torch.get_num_threads()
    scale, bias = (None if t is None else t.contiguous() for t in (scale, bias))
    if len(tables) == 1:
        job.scale = None if scale is None else scale.data_ptr()
        job.bias = None if bias is None else bias.data_ptr()
    shape = (batch, rows.shape[-2], out_h, out_w)
    parts = [_run(job, table, torch.empty(shape, dtype=kind)) for table in tables]
    if len(parts) == 1 or scale is None:
        return functools.reduce(torch.Tensor.add_, parts)
    factor_shape = (-1, 1, 1) if transposed else (out_h, out_w)
    scaled = functools.reduce(torch.Tensor.add_, parts).to(torch.float32)
    scaled.mul_(scale.view(factor_shape))
    return scaled if bias is None else scaled.add_(bias.view(factor_shape))


def _run(job: Lookup, tables: "_Tables", out: torch.Tensor) -> torch.Tensor:
    job.table, job.biased = tables.table.ctypes.data, tables.biased.ctypes.data
    job.columns_odd, job.out = tables.is_odd, out.data_ptr()
    kernels().axdse_lookup(ctypes.byref(job))
    return out


def _checked_size(columns: torch.Tensor, rows: torch.Tensor, geometry: Geometry) -> tuple[int, int]:
    """Rows and columns of the output of what fits together.

    Raises:
        ValueError: the operands do not.
    """
    check_operand(columns, dims=4, codes_only=True)
    check_operand(rows, dims=max(2, min(3, rows.dim())), codes_only=True)
    need(columns.is_contiguous() and rows.is_contiguous(), "codes", "strided", "contiguous")
    batch, channels, height, width = columns.shape
    groups, (kh, kw) = geometry.groups, geometry.kernel
    need(rows.dim() == 2 or len(rows) == batch, "a row's batches", rows.shape[0], batch)
    need(channels % groups == 0, "channels", channels, f"a multiple of {groups} groups")
    need(rows.shape[-2] % groups == 0, "rows", rows.shape[-2], f"a multiple of {groups} groups")
    inner = channels // groups * kh * kw
    need(rows.shape[-1] == inner, "a row's length", rows.shape[-1], inner)
    check_inner(inner)
    return dataclasses.replace(geometry, padding=(0, 0)).out_size(height, width)


def native_pad(x: torch.Tensor, padding: tuple[int, int], scale: float) -> torch.Tensor:
    """Codes of ``x`` in contiguous planes with zeros around them.

    Args:
        x: ``(batch, channels, rows, columns)``, float32 to be quantised, or int8 codes.
        padding: zero rows above and below, zero columns left and right.
        scale: value of one code.
    """
    check_operand(x, dims=4)
    need(min(padding) >= 0, "the padding", padding, "0 or more")
    x, (ph, pw) = x.contiguous(), padding
    batch, channels, height, width = x.shape
    planes = torch.empty(batch, channels, height + 2 * ph, width + 2 * pw, dtype=torch.int8)
    kernels().axdse_pad(
        x.data_ptr(),
        x.dtype == torch.int8,
        batch * channels,
        *(height, width, ph, pw),
        scale,
        planes.data_ptr(),
        torch.get_num_threads(),
    )
    return planes


def scalar_loop(x: torch.Tensor, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
    """``x @ w`` by one look-up after the other: the baseline of the speed study.

    Args:
        x: codes, int8 of shape ``(M, K)``.
        w: codes, int8 of shape ``(N, K)``.
        arithmetic: the multiplier and operand order.
    """
    check_operand(x, dims=2, codes_only=True)
    check_operand(w, dims=2, codes_only=True)
    largest = arithmetic.max_abs_product
    need(largest < 2**15, "products", f"up to {largest:,}", "of 16 bits with their sign")
    need(x.shape[1] == w.shape[1], "inner dimensions", (x.shape[1], w.shape[1]), "equal")
    table = np.ascontiguousarray(arithmetic.table, dtype=np.int16)
    x, w = x.contiguous(), w.contiguous()
    out = torch.empty(len(x), len(w), dtype=torch.int32)
    addresses = (ctypes.c_void_p(a) for a in (table.ctypes.data, x.data_ptr(), w.data_ptr()))
    sizes = (ctypes.c_int64(size) for size in (len(x), len(w), x.shape[1]))
    threads = ctypes.c_int64(torch.get_num_threads())
    kernels().axdse_scalar_loop(*addresses, *sizes, ctypes.c_void_p(out.data_ptr()), threads)
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class _Tables:
    """One table as the kernels want it.

    Attributes:
        table: int32 of shape ``(256, 256)``.
        biased: the bytes of the products + 32768: 256 low and 256 high ones per row.
        is_odd: whether ``T[x, −w] = −T[x, w]``. Every unsigned circuit is odd in this way, as it
            works through sign and magnitude.
    """

    table: npt.NDArray[np.int32]
    biased: npt.NDArray[np.uint8]
    is_odd: bool

    @classmethod
    def of(cls, table: npt.NDArray[np.int32]) -> "_Tables":
        biased = (table + 32768).astype(np.uint16)
        split = np.stack([biased & 255, biased >> 8], axis=1).astype(np.uint8)
        odd = np.array_equal(table[:, :128:-1], -table[:, 1:128])
        return cls(table, np.ascontiguousarray(split), odd)


@functools.lru_cache(maxsize=64)
def _tables(arithmetic: Arithmetic, transposed: bool) -> tuple[_Tables, ...]:
    """The table, or a few that sum up to it where 16 bits do not hold every product."""
    table = np.ascontiguousarray(arithmetic.table.T if transposed else arithmetic.table)
    if -(2**15) <= table.min() and table.max() < 2**15:
        return (_Tables.of(table),)
    count = -(-int(np.abs(table).max()) // (2**15 - 1))
    # Towards zero, so that the parts of an odd table are odd.
    magnitude, sign = np.abs(table).astype(np.int64), np.sign(table)
    sums = [(magnitude * i // count * sign).astype(np.int32) for i in range(count + 1)]
    return tuple(_Tables.of(after - before) for before, after in itertools.pairwise(sums))
