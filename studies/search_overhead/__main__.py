"""``python -m studies.search_overhead``: time and memory beside scoring; one table each."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pandas as pd

from luts.console import Reporter, quieten_libraries, run
from luts.settings import setting
from studies._files import write_table
from studies._options import check_known, study_parser, study_settings
from studies.search_overhead import _arrays, _prefixes, _store, _trials, _workers


@dataclasses.dataclass(frozen=True)
class OverheadStudy:
    """The configuration."""

    worker_trials: Annotated[int, setting("of the main job's search by one and two", ge=1)]
    store: Annotated[_store.StoreSettings, setting("asking, with many trials in the store")]
    arrays: Annotated[_arrays.ArraySettings, setting("asking, with many circuits to choose from")]
    prefixes: Annotated[_prefixes.PrefixSettings, setting("sites before the first difference")]
    trials: Annotated[_trials.TrialSettings, setting("where a trial's time goes")]


PARTS = ("store", "arrays", "workers", "prefixes", "trials")


def main() -> None:
    """Measure, print, write."""
    study = study_settings(OverheadStudy, "search_overhead")
    parser = study_parser("search_overhead", __doc__)
    parser.add_argument("parts", nargs="*", default=[*PARTS], metavar="|".join(PARTS))
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="another checkout, whose trials are timed too"
    )
    options = parser.parse_args()
    check_known("part", options.parts, PARTS)
    parts: dict[str, tuple[Callable[..., pd.DataFrame], object]] = {
        "store": (_store.measure, study.store),
        "arrays": (_arrays.measure, study.arrays),
        "workers": (_workers.measure, study.worker_trials),
        "prefixes": (_prefixes.measure, study.prefixes),
        "trials": (functools.partial(_trials.measure, against=options.against), study.trials),
    }
    quieten_libraries()
    for part in options.parts:
        measure, settings = parts[part]
        with tempfile.TemporaryDirectory() as folder:
            frame = measure(settings, Path(folder), Reporter())
        print(frame.to_string(index=False))
        write_table(options.results / f"{part}.csv", frame, settings)


if __name__ == "__main__":
    run(main)
