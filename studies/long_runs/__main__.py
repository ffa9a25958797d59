"""``python -m studies.long_runs``: a search that is killed 50 times, and one of 2,000 trials."""

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd

from luts.console import Reporter, quieten_libraries, run
from luts.settings import setting
from studies._files import write_table
from studies._options import check_known, study_parser, study_settings
from studies.long_runs import _growth, _kills

PARTS = ("kills", "memory")


@dataclasses.dataclass(frozen=True)
class LongRunsStudy:
    """The configuration."""

    kills: Annotated[_kills.KillSettings, setting("one search that is killed")]
    memory: Annotated[_growth.MemorySettings, setting("one search that is left alone")]


def main() -> None:
    """Measure, print, write; status 1 where something was lost or has grown."""
    study = study_settings(LongRunsStudy, "long_runs")
    parser = study_parser("long_runs", __doc__)
    parser.add_argument("parts", nargs="*", default=[*PARTS], metavar="|".join(PARTS))
    options = parser.parse_args()
    check_known("part", options.parts, PARTS)
    quieten_libraries()
    faults = [fault for part in options.parts for fault in _measured(part, study, options.results)]
    sys.exit(1 if faults else 0)


def _measured(part: str, study: LongRunsStudy, results: Path) -> tuple[str, ...]:
    settings: object
    with tempfile.TemporaryDirectory() as name:
        folder, reporter = Path(name).resolve(), Reporter()
        if part == "kills":
            settings = study.kills
            killed = _kills.measure(study.kills, folder, reporter)
            table, faults = killed.log, killed.faults
            good = f"{len(table)} kills: nothing lost, nothing doubled, all resumed"
        else:
            settings = study.memory
            table = _growth.measure(study.memory, folder, reporter)
            faults = _growth.growth(table)
            good = "memory and open files as they were"
    _tell(table, faults, good)
    write_table(results / f"{part}.csv", table, settings, *faults)
    return faults


def _tell(table: pd.DataFrame, faults: tuple[str, ...], good: str) -> None:
    print(table.to_string(index=False, float_format="%.3f"))
    print("; ".join(faults) or good)


if __name__ == "__main__":
    run(main)
