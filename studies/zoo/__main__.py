"""``python -m studies.zoo``: emulate networks that nobody here wrote, one row each.

Measures every network of config.toml that ``results/cells`` does not hold yet, and writes
``census.csv``. Ctrl-C stops it; the same command goes on.
"""

import math
from typing import Any

import pandas as pd

from luts.console import Reporter, quieten_libraries, run
from studies._files import together
from studies._matrix import CellStore, Record, measure_all
from studies._options import check_known, study_parser
from studies.zoo._measure import LEAST_COVERAGE, WORSE_THAN_NOISE, measure
from studies.zoo._networks import ZooCell, ZooStudy

COLUMNS = (
    "library",
    "family",
    "network",
    "input",
    "sites",
    "macs",
    "coverage",
    "agreement",
    "noise_agreement",
    "error",
    "noise_error",
    "backward",
    "emulate_seconds",
    "float_seconds",
    "int8_seconds",
    "seconds",
    "reason",
)


def main() -> None:
    """Measure what is missing, then write the table."""
    options = study_parser("zoo", __doc__, "--networks", "--quiet").parse_args()
    quieten_libraries()
    study, reporter = ZooStudy.read(), Reporter(quiet=options.quiet)
    cells = list(study.cells())
    check_known("network", options.networks, [cell.network for cell in cells])
    store = CellStore[ZooCell](options.results)
    missing = store.missing(cells, network=options.networks)
    measure_all(store, missing, lambda cell: measure(study, cell), _said, reporter)
    records = [store.read(cell) for cell in cells if store.has(cell)]
    if records:
        with together(options.results) as new:
            table(records).to_csv(new("census.csv"), index=False, float_format="%.4g")
        print("\n".join(answer(records)))


def _said(cell: ZooCell, record: Record) -> str:
    coverage = f"coverage {record['coverage']:.1%}, " if "coverage" in record else ""
    return f"{coverage}{record['seconds']} s{'; ' if record['reason'] else ''}{record['reason']}"


def table(records: list[Record]) -> pd.DataFrame:
    """One row a network."""
    rows = [{column: record.get(column) for column in COLUMNS} for record in records]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["reason"] = [reason_of(record) for record in records]
    frame["input"] = [_by(record.get("input")) for record in records]
    return frame


def reason_of(record: Record) -> str:
    """Where a network falls short of what is wanted of all, or empty."""
    if "error" in record and not math.isfinite(record["error"]):
        return record["reason"] or "its outputs of all inputs are alike, so that no error is known"
    return str(record["reason"])


def _by(shape: Any) -> str:
    return "" if shape is None else "x".join(map(str, shape))


def answer(records: list[Record]) -> list[str]:
    """What the census says, in a few lines."""
    done = [record for record in records if "coverage" in record]
    whole = [r for r in done if r["coverage"] >= LEAST_COVERAGE]
    as_noise = [r for r in done if r["error"] <= WORSE_THAN_NOISE * r["noise_error"]]
    trained = [r for r in done if r["backward"] == "ok"]
    families = len({record["family"] for record in done})
    of = f"of {len(done)}"
    lines = [
        f"{len(done)} of {len(records)} networks are emulated, of {families} families",
        f"{len(whole)} {of} have {LEAST_COVERAGE:.0%} or more of their products as sites",
        f"{len(as_noise)} {of} err at most {WORSE_THAN_NOISE:g} times as much as rounding noise",
        f"{len(trained)} {of} can be trained through",
    ]
    return lines + [f"{r['network']}: {reason_of(r)}" for r in records if reason_of(r)]


if __name__ == "__main__":
    run(main)
