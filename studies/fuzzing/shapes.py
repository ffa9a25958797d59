"""``python -m studies.fuzzing.shapes``: random shapes, and whether each ends as in PyTorch.

Each kind of call runs in a process of its own, so that one that a signal ends is seen.
"""

import itertools
import math
import multiprocessing
import sys
from collections import Counter
from multiprocessing.connection import Connection

import pandas as pd

from luts.console import Reporter, quieten_libraries, run
from studies._files import write_table
from studies._options import study_parser
from studies.fuzzing._shapes import OPERATIONS, arithmetics, try_shapes


def main() -> None:
    """Try all operations under all kinds of arithmetic; status 1 where one ends otherwise."""
    parser = study_parser("fuzzing", __doc__)
    parser.prog = "python -m studies.fuzzing.shapes"
    parser.add_argument("--calls", type=int, default=100_000, help="in total (default 100000)")
    parser.add_argument("--seed", type=int, default=0, help="of shapes (default 0)")
    options = parser.parse_args()
    quieten_libraries()
    kinds = list(itertools.product(OPERATIONS, arithmetics()))
    each = math.ceil(options.calls / len(kinds))
    rows, lines = [], []
    for number, kind in enumerate(Reporter().track(kinds, "kinds of calls")):
        row, differing = _in_a_process(*kind, each, options.seed + number)
        rows.append(row)
        lines += differing
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    for line in lines[:20]:
        print(line)
    crashes, others = int(table["ended_by_signal"].sum()), int(table["otherwise"].sum())
    print(f"{table['calls'].sum():,} calls, {crashes} ended by a signal, {others} otherwise")
    write_table(options.results / "shapes.csv", table, f"seed {options.seed}")
    sys.exit(1 if crashes or others else 0)


def _in_a_process(
    operation: str, arithmetic: str, count: int, seed: int
) -> tuple[dict[str, object], list[str]]:
    """A row of the table, and what differed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["studies.fuzzing._shapes"])
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(sending, operation, arithmetic, count, seed))
    process.start()
    sending.close()
    counts: Counter[str] = Counter()
    differing: list[str] = []
    try:
        counts, differing = receiving.recv()
    except EOFError:
        differing = [f"{operation}, {arithmetic}: the process ended before it had told anything"]
    process.join()
    row = {
        "operation": operation,
        "arithmetic": arithmetic,
        "calls": counts.total(),
        "valid": counts["valid"],
        "refused": counts["refused"],
        "otherwise": len(differing),
        "ended_by_signal": int((process.exitcode or 0) < 0),
    }
    return row, differing


def _try(sending: Connection, operation: str, arithmetic: str, count: int, seed: int) -> None:
    import torch

    torch.set_num_threads(1)
    sending.send(try_shapes(operation, arithmetics()[arithmetic], count, seed=seed))
    sending.close()


if __name__ == "__main__":
    run(main)
