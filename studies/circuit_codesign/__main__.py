"""``python -m studies.circuit_codesign``: every circuit everywhere, beside what searches found.

Sweeps the circuits of config.toml on every network whose weights are there, skips what
``results/cells`` holds, and compares with the searches that ``studies.searched_vs_fixed`` kept.
"""

from pathlib import Path

from luts.console import Reporter, quieten_libraries, run
from studies._files import together
from studies._images import Images
from studies._matrix import CellStore, Record, announce, measure_all
from studies._options import STUDIES, check_known, study_parser
from studies.circuit_codesign import _figure
from studies.circuit_codesign._cells import CodesignStudy, SweepCell, sweep
from studies.circuit_codesign._table import (
    at_equal_power,
    candidates,
    compared,
    sentences,
    verdict,
)

SECONDS_PER_CIRCUIT = 2.5
"""Of one thread, for a ResNet-20; only for the estimate that is printed first."""


def main() -> None:
    """Sweep what is missing, then compare."""
    common = ("--images", "--data-root", "--networks", "--seeds")
    parser = study_parser("circuit_codesign", __doc__, *common)
    parser.add_argument(
        "--searched",
        type=Path,
        default=STUDIES / "searched_vs_fixed" / "results",
        metavar="DIR",
        help="results of searched_vs_fixed",
    )
    options = parser.parse_args()
    quieten_libraries()
    study, reporter, images = CodesignStudy.read(), Reporter(), Images.of(options)
    check_known("network", options.networks, study.networks)
    store = CellStore[SweepCell](options.results)
    missing = store.missing(study.cells(), data=options.networks, seed=options.seeds)

    def measure(cell: SweepCell) -> Record:
        return sweep(study, cell, images, reporter)

    def kept(cell: SweepCell, record: Record) -> str:
        return f"{len(record['circuits'])} circuits"

    announce(missing, lambda _: SECONDS_PER_CIRCUIT * len(study.choices()), reporter)
    measure_all(store, missing, measure, kept, reporter)
    if store.records():
        for line in write(study, store, options.results, options.searched):
            print(line)


def write(
    study: CodesignStudy, store: CellStore[SweepCell], results: Path, searched: Path
) -> list[str]:
    """Write tables and ``codesign.png``; the answer in words."""
    table = candidates(study, store.records(), searched)
    comparison, beside = compared(table), at_equal_power(table)
    with together(results) as new:
        table.to_csv(new("candidates.csv"), index=False, float_format="%.6g")
        comparison.to_csv(new("comparison.csv"), index=False, float_format="%.6g")
        beside.to_csv(new("equal-power.csv"), index=False, float_format="%.6g")
        _figure.draw(new("codesign.png"), table, "One circuit everywhere, and searched assignments")
    return [*sentences(comparison), *([verdict(beside)] if len(beside) else [])]


if __name__ == "__main__":
    run(main)
