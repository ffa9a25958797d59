"""The Triton kernel; imported only where Triton and a GPU are there."""

# mypy: ignore-errors
import torch
import triton
import triton.language as tl

BLOCK_M, BLOCK_N = 32, 64


@triton.jit
def _lookup_kernel(x, w, table, out, m, n, k, BM: tl.constexpr, BN: tl.constexpr):  # noqa: PLR0913
    batch = tl.program_id(2).to(tl.int64)
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    columns = tl.program_id(1) * BN + tl.arange(0, BN)
    row_in, column_in = rows < m, columns < n
    x += batch * m * k
    w += batch * k * n
    total = tl.zeros((BM, BN), dtype=tl.int32)
    for i in range(k):
        x_codes = tl.load(x + rows * k + i, mask=row_in, other=0).to(tl.int32) & 255
        w_codes = tl.load(w + i * n + columns, mask=column_in, other=0).to(tl.int32) & 255
        # Rows and columns beyond the edge are looked up too, and never stored.
        total += tl.load(table + x_codes[:, None] * 256 + w_codes[None, :]).to(tl.int32)
    at = out + batch * m * n + rows[:, None] * n + columns[None, :]
    tl.store(at, total, mask=row_in[:, None] & column_in[None, :])


def launch(x: torch.Tensor, w: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> None:
    """``out[b, m, n] = Σ_k table[x[b, m, k], w[b, k, n]]``, all contiguous."""
    batch, m, k = x.shape
    n = w.shape[-1]
    grid = (triton.cdiv(m, BLOCK_M), triton.cdiv(n, BLOCK_N), batch)
    _lookup_kernel[grid](x, w, table, out, m, n, k, BM=BLOCK_M, BN=BLOCK_N)
