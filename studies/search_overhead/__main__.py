"""``python -m studies.search_overhead``: time and memory beside scoring; one table each."""

import tempfile
import tomllib
from pathlib import Path

from dse.results import provenance
from luts.console import Parser, Reporter, quieten_libraries, run
from models.training import atomically
from studies.search_overhead import _store, _workers

HERE = Path(__file__).parent
PARTS = ("store", "workers")


def main() -> None:
    """Measure, print, write."""
    parser = Parser(prog="python -m studies.search_overhead", description=__doc__)
    parser.add_argument("parts", nargs="*", help="store, workers (default: both)")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}: parts are {', '.join(PARTS)}")
    config = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    reporter = Reporter()
    quieten_libraries()
    options.results.mkdir(parents=True, exist_ok=True)
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            if part == "store":
                frame = _store.measure(config["store"], Path(folder), reporter)
            else:
                frame = _workers.measure(config["workers"]["trials"], Path(folder), reporter)
        print(frame.to_string(index=False))
        made = provenance()
        with atomically(options.results / f"{part}.csv") as temporary:
            text = f"# {made['commit']}; {made['device']}; {config[part]}\n"
            temporary.write_text(text + frame.to_csv(index=False, float_format="%.5g"))


if __name__ == "__main__":
    run(main)
