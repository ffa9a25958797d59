"""The Triton kernel; imported only where Triton is there, and a GPU or Triton's interpreter."""

# mypy: ignore-errors
import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N = 32, 64
MOST_PROGRAMS = 2**31 - 1
"""Of a CUDA grid's first dimension; the other two end at 65,535."""


@triton.jit
def place(program, m, n, BM: tl.constexpr, BN: tl.constexpr):
    """Batch, rows and columns of a program, int64: products of these pass 2^31."""
    across, down = tl.cdiv(n, BN), tl.cdiv(m, BM)
    batch = (program // (across * down)).to(tl.int64)
    rows = (program // across % down).to(tl.int64) * BM + tl.arange(0, BM)
    columns = (program % across).to(tl.int64) * BN + tl.arange(0, BN)
    return batch, rows, columns


@triton.jit
def _lookup_kernel(x, w, table, out, m, n, k, BM: tl.constexpr, BN: tl.constexpr):  # noqa: PLR0913
    batch, rows, columns = place(tl.program_id(0), m, n, BM, BN)
    row_in, column_in = rows < m, columns < n
    x_at, w_at = x + (batch * m + rows) * k, w + batch * k * n + columns
    total = tl.zeros((BM, BN), dtype=tl.int32)
    for _ in range(k):
        x_codes = tl.load(x_at, mask=row_in, other=0).to(tl.int32) & 255
        w_codes = tl.load(w_at, mask=column_in, other=0).to(tl.int32) & 255
        # Rows and columns beyond the edge are looked up too, and never stored.
        total += tl.load(table + x_codes[:, None] * 256 + w_codes[None, :]).to(tl.int32)
        x_at += 1
        w_at += n
    at = out + ((batch * m + rows) * n)[:, None] + columns[None, :]
    tl.store(at, total, mask=row_in[:, None] & column_in[None, :])


def batches_at_once(m: int, n: int) -> int:
    """How many products of this size fit into one launch."""
    return MOST_PROGRAMS // (triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N))


def launch(x: torch.Tensor, w: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> None:
    """``out[b, m, n] = Σ_k table[x[b, m, k], w[b, k, n]]``, all contiguous and none empty."""
    batch, m, k = x.shape
    n = w.shape[-1]
    tiles = triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N)
    step = batches_at_once(m, n)
    for at in range(0, batch, step):
        part = slice(at, at + step)
        grid = (tiles * len(x[part]),)
        _lookup_kernel[grid](x[part], w[part], table, out[part], m, n, k, BM=BLOCK_M, BN=BLOCK_N)
