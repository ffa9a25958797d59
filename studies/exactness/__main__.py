"""``python -m studies.exactness``: compare every backend with look-ups, over random shapes."""

import functools

import numpy as np
import pandas as pd
import torch

from luts import Arithmetic, Multiplier, Task, catalog, families, isa, scalar_loop
from luts.backends import BACKENDS, REFERENCE
from luts.console import Reporter, run
from luts.errors import InputError
from studies._files import write_table
from studies._machine import processor
from studies._options import study_parser

CPU = torch.device("cpu")
SIZES = (1, 5, 6, 7, 12, 16, 17, 48, 64, 65, 191, 192, 256, 257, 300)
INNER = (1, 3, 31, 32, 33, 255, 256, 257, 511, 1_023, 1_024, 1_025, 2_304, 4_608)


def main() -> None:
    """Compare until every circuit and order has had its share of the products."""
    parser = study_parser("exactness", __doc__)
    parser.add_argument("--products", type=float, default=2e10, help="in total, per backend")
    parser.add_argument("--seed", type=int, default=20_261_122)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = [Arithmetic(m, swapped) for m in _multipliers(rng) for swapped in (False, True)]

    rows = []
    for arithmetic in Reporter().track(cases, "circuits"):
        rows += _compare(arithmetic, options.products / len(cases), rng)
    products = pd.DataFrame(rows).groupby(["circuit", "swapped", "backend"], sort=False)["products"]
    table = products.agg(matrices="size", products="sum").reset_index()
    path = options.results / f"exactness-{isa()}.csv"
    write_table(path, table, f"seed {options.seed}", processor(), isa())
    for name, count in table.groupby("backend", sort=False)["products"].sum().items():
        print(f"{name:12} {count:.3g} products, every sum equal")


def _multipliers(rng: np.random.Generator) -> list[Multiplier]:
    made_up = functools.partial(
        Multiplier, power_mw=1.0, area_um2=1.0, delay_ns=1.0, source="studies.exactness"
    )
    table = rng.integers(-32_767, 32_768, (256, 256)).astype(np.int32)
    unsigned = families.mitchell(signed=False)
    return [
        *catalog.values(),
        made_up("random_table", table),
        made_up("unsigned_mitchell", unsigned, signed=False),
    ]


def _compare(
    arithmetic: Arithmetic, products: float, rng: np.random.Generator
) -> list[dict[str, object]]:
    """A row per backend and matrix that was compared, with its products."""
    case = {"circuit": arithmetic.multiplier.name, "swapped": arithmetic.swapped}
    rows: list[dict[str, object]] = []
    total = 0
    while total < products:
        m, n, k = (int(size) for size in (*rng.choice(SIZES, 2), rng.choice(INNER)))
        x, w = (_codes(rng, rows, k) for rows in (m, n))
        expected = scalar_loop(x, w, arithmetic)
        task = Task(CPU, k, n)
        for backend in BACKENDS:
            if backend is REFERENCE or backend.refusal(arithmetic, task) is not None:
                continue
            prepared = backend.prepare(w[:, :, None, None], arithmetic, task)
            y = backend.layer(x[:, :, None, None], prepared, arithmetic, task, None)
            if not torch.equal(y[:, :, 0, 0], expected):
                raise InputError(
                    f"{backend.name} differs: {arithmetic.multiplier.name} {(m, k, n)}"
                )
            rows.append({**case, "backend": backend.name, "products": m * n * k})
        total += m * n * k
    return rows


def _codes(rng: np.random.Generator, rows: int, k: int) -> torch.Tensor:
    """Uniform over all 256 codes, or small, or non-negative, or at the extremes."""
    low, high = [(-128, 128), (-9, 10), (0, 128)][rng.integers(3)]
    codes = rng.integers(low, high, (rows, k))
    if rng.integers(4) == 0:
        codes = rng.choice([-128, -127, -1, 0, 127], (rows, k))
    return torch.from_numpy(codes.astype(np.int8))


if __name__ == "__main__":
    run(main)
