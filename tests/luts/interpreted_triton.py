"""Triton's kernel on the CPU, by Triton's interpreter; a process of its own, as that is chosen
before Triton is imported.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton
import triton.language as tl

from luts import Arithmetic, catalog
from luts.backends import _triton_kernel as kernel
from tests.luts import oracle


@triton.jit
def places(out, program, m, n, k, BM: tl.constexpr, BN: tl.constexpr):
    """Offsets of the last operand of a program's last row, and of its last sum."""
    batch, rows, columns = kernel.place(program + tl.program_id(0), m, n, BM, BN)
    last_row, last_column = tl.max(rows, 0), tl.max(columns, 0)
    tl.store(out, (batch * m + last_row) * k + k - 1)
    tl.store(out + 1, (batch * m + last_row) * n + last_column)


def check_products() -> None:
    """Every shape that has an edge inside a block, both ports, several products at once."""
    generator = torch.Generator().manual_seed(0)
    for name, swapped in (("mul8s_1KR3", False), ("mul8s_1L1G", True), ("mul8s_1KX2", False)):
        arithmetic = Arithmetic(catalog[name], swapped)
        table = arithmetic.torch_table(torch.device("cpu")).to(torch.int16)
        for batch, m, k, n in ((1, 1, 1, 1), (2, 33, 5, 65), (3, 32, 9, 64), (5, 7, 17, 130)):
            x, w = (
                torch.randint(-128, 128, shape, generator=generator).char()
                for shape in ((batch, m, k), (batch, k, n))
            )
            out = torch.full((batch, m, n), -1, dtype=torch.int32)
            kernel.launch(x, w, table, out)
            for b in range(batch):
                expected = oracle.matrix_product(arithmetic.table, x[b], w[b])
                assert torch.equal(out[b].long(), expected), (name, batch, m, k, n)
            # A launch that holds fewer products than there are takes several.
            most, kernel.MOST_PROGRAMS = kernel.MOST_PROGRAMS, 2 * -(-m // 32) * -(-n // 64)
            again = torch.full_like(out, -1)
            kernel.launch(x, w, table, again)
            kernel.MOST_PROGRAMS = most
            assert torch.equal(again, out)


def check_offsets() -> None:
    """Beyond 2^31 operands and sums, and beyond 65,535 products."""
    for batch, m, n, k in ((1, 2**20, 2**13, 2**13), (70_000, 64, 64, 2**15), (1, 2**25, 64, 2**8)):
        tiles = (m // 32) * (n // 64)
        assert batch <= kernel.batches_at_once(m, n)
        found = torch.zeros(2, dtype=torch.int64)
        places[(1,)](found, batch * tiles - 1, m, n, k, BM=32, BN=64)
        assert found.tolist() == [batch * m * k - 1, batch * m * n - 1], (batch, m, n, k)
        assert max(found.tolist()) >= 2**31


if __name__ == "__main__":
    check_products()
    check_offsets()
