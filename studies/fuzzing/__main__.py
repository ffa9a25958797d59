"""``python -m studies.fuzzing``: damaged files for every reader, and how many ends were documented.

A reader takes a file or refuses it with an `InputError` of one line. Anything else is a fault: the
command prints it, keeps a file that leads to it beside the results, and ends with status 1.
"""

import math
import sys
import tempfile
from pathlib import Path

import pandas as pd

from luts.console import Reporter, quieten_libraries, run
from studies._files import write_table
from studies._options import study_parser
from studies.fuzzing._fuzz import Outcome, fuzz
from studies.fuzzing._readers import readers


def main() -> None:
    """Fuzz all readers in turn."""
    parser = study_parser("fuzzing", __doc__)
    parser.add_argument("--inputs", type=int, default=110_000, help="in total (default 110000)")
    parser.add_argument("--readers", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default 0)")
    options = parser.parse_args()
    quieten_libraries()
    reporter = Reporter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = [r for r in readers(folder) if not options.readers or r.name in options.readers]
        each = options.inputs / sum(reader.share for reader in chosen)
        outcomes = {
            reader.name: fuzz(
                reader, math.ceil(reader.share * each), folder / "damaged", seed=options.seed
            )
            for reader in reporter.track(chosen, "readers")
        }
    _tell(outcomes)
    if not options.readers:
        table = pd.DataFrame([_row(name, outcome) for name, outcome in outcomes.items()])
        write_table(options.results / "fuzzing.csv", table, f"seed {options.seed}")
    _keep(outcomes, options.results)


def _row(name: str, outcome: Outcome) -> dict[str, object]:
    undocumented = outcome.undocumented.total()
    return {
        "reader": name,
        "inputs": outcome.accepted + outcome.refused + undocumented,
        "accepted": outcome.accepted,
        "refused": outcome.refused,
        "undocumented": undocumented,
        "slowest_s": outcome.slowest_s,
    }


def _tell(outcomes: dict[str, Outcome]) -> None:
    table = pd.DataFrame([_row(name, outcome) for name, outcome in outcomes.items()])
    print(table.to_string(index=False, float_format="%.2f"))
    print(f"{table['inputs'].sum():,} inputs, {table['undocumented'].sum()} undocumented ends")
    for name, outcome in outcomes.items():
        for what, count in outcome.undocumented.most_common(10):
            print(f"{name}: {count} × {what}")


def _keep(outcomes: dict[str, Outcome], results: Path) -> None:
    faults = {name: o.example for name, o in outcomes.items() if o.example is not None}
    for name, example in faults.items():
        (results / "faults").mkdir(parents=True, exist_ok=True)
        (results / "faults" / name.replace(" ", "-")).write_bytes(example)
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
