"""``python -m studies.exactness``: compare every backend with look-ups, over random shapes."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import torch

from luts import Arithmetic, Multiplier, Task, catalog, families
from luts._native import isa, scalar_loop
from luts.backends import BACKENDS, REFERENCE
from luts.console import Parser, Reporter, run
from luts.errors import InputError
from studies.emulation_speed._timing import commit, processor

HERE = Path(__file__).parent
CPU = torch.device("cpu")
SIZES = (1, 5, 6, 7, 12, 16, 17, 48, 64, 65, 191, 192, 256, 257, 300)
INNER = (1, 3, 31, 32, 33, 255, 256, 257, 511, 1_023, 1_024, 1_025, 2_304, 4_608)


def main() -> None:
    """Compare until every circuit and order has had its share of the products."""
    parser = Parser(prog="python -m studies.exactness", description=__doc__)
    parser.add_argument("--products", type=float, default=2e10, help="in total, per backend")
    parser.add_argument("--seed", type=int, default=20_261_122)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = [Arithmetic(m, swapped) for m in _multipliers(rng) for swapped in (False, True)]

    rows = []
    for arithmetic in Reporter().track(cases, "circuits"):
        rows += _compare(arithmetic, options.products / len(cases), rng)
    _write(rows, options.results, options.seed)
    for name in dict.fromkeys(row[2] for row in rows):
        products = sum(int(row[4]) for row in rows if row[2] == name)
        print(f"{name:12} {products:.3g} products, every sum equal")


def _multipliers(rng: np.random.Generator) -> list[Multiplier]:
    figures = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0, "source": "studies.exactness"}
    table = rng.integers(-32_767, 32_768, (256, 256)).astype(np.int32)
    unsigned = families.mitchell(signed=False)
    return [
        *catalog.values(),
        Multiplier("random_table", table, **figures),
        Multiplier("unsigned_mitchell", unsigned, signed=False, **figures),
    ]


def _compare(
    arithmetic: Arithmetic, products: float, rng: np.random.Generator
) -> list[tuple[str, bool, str, int, int]]:
    """One row a backend: circuit, order, backend, matrices, products."""
    done: dict[str, list[int]] = {}
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
            count = done.setdefault(backend.name, [0, 0])
            count[0], count[1] = count[0] + 1, count[1] + m * n * k
        total += m * n * k
    name = arithmetic.multiplier.name
    return [(name, arithmetic.swapped, backend, *count) for backend, count in done.items()]


def _codes(rng: np.random.Generator, rows: int, k: int) -> torch.Tensor:
    """Uniform over all 256 codes, or small, or non-negative, or at the extremes."""
    low, high = [(-128, 128), (-9, 10), (0, 128)][rng.integers(3)]
    codes = rng.integers(low, high, (rows, k))
    if rng.integers(4) == 0:
        codes = rng.choice([-128, -127, -1, 0, 127], (rows, k))
    return torch.from_numpy(codes.astype(np.int8))


def _write(rows: list[tuple[str, bool, str, int, int]], folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    version = torch.__version__
    text.write(f"# commit {commit()}; seed {seed}; {processor()}; {isa()}; torch {version}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["circuit", "swapped", "backend", "matrices", "products"])
    writer.writerows(rows)
    path = folder / f"exactness-{isa()}.csv"
    partial = path.with_suffix(".csv.part")
    partial.write_text(text.getvalue())
    os.replace(partial, path)


if __name__ == "__main__":
    run(main)
