"""``python -m studies.emulation_speed``: measure, print the table, write CSV and PNG."""

import tomllib
from pathlib import Path

import torch

from luts.console import Parser, Reporter, run
from studies.emulation_speed._report import print_summary, summary, write_figure, write_table
from studies.emulation_speed._run import measure

HERE = Path(__file__).parent


def main() -> None:
    """Measure layers, networks, training steps and memory; report."""
    parser = Parser(prog="python -m studies.emulation_speed", description=__doc__)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, help="rounds instead of the configured ones")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["layers", "networks", "training", "memory"],
        choices=["layers", "networks", "training", "memory"],
    )
    options = parser.parse_args()
    config = tomllib.loads((HERE / "config.toml").read_text())
    config["threads"] = options.threads
    config["repetitions"] = options.repetitions or config["repetitions"]
    torch.set_num_threads(options.threads)

    rows = measure(options.parts, config, Reporter())
    lines = summary(rows)
    print_summary(lines)
    write_table(rows, lines, options.results, config)
    write_figure(rows, options.results, config)


if __name__ == "__main__":
    run(main)
