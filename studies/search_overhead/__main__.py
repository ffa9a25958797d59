"""``python -m studies.search_overhead``: time and memory beside scoring; one table each."""

import tempfile
from pathlib import Path

from luts.console import Reporter, quieten_libraries, run
from studies._files import write_table
from studies._options import check_known, read_config, study_parser
from studies.search_overhead import _store, _workers

PARTS = {"store": _store.measure, "workers": _workers.measure}


def main() -> None:
    """Measure, print, write."""
    parser = study_parser("search_overhead", __doc__)
    parser.add_argument("parts", nargs="*", default=[*PARTS], metavar="store|workers")
    options = parser.parse_args()
    check_known("part", options.parts, PARTS)
    quieten_libraries()
    config = read_config("search_overhead")
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            frame = PARTS[part](config[part], Path(folder), Reporter())
        print(frame.to_string(index=False))
        write_table(options.results / f"{part}.csv", frame, config[part])


if __name__ == "__main__":
    run(main)
