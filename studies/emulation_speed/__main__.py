"""``python -m studies.emulation_speed``: measure, print the table, write CSV and PNG."""

import os

import torch

from luts.console import Reporter, run
from studies._files import write_table
from studies._options import read_config, study_parser
from studies.emulation_speed._report import stem, summary, write_figure
from studies.emulation_speed._run import PARTS, measure


def main() -> None:
    """Measure layers, networks, training steps and memory; report."""
    parser = study_parser("emulation_speed", __doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, help="rounds instead of the configured ones")
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    options = parser.parse_args()
    config = read_config("emulation_speed") | {"threads": options.threads}
    config["repetitions"] = options.repetitions or config["repetitions"]
    torch.set_num_threads(options.threads)

    rows = measure(options.parts, config, Reporter())
    verdicts = summary(rows)
    print(verdicts.to_string(index=False, float_format="%.2f"))
    load = f"load at the end {os.getloadavg()[0]:.2f}"
    for name, table in ((stem(config), rows), (f"{stem(config)}-summary", verdicts)):
        if len(table):
            write_table(options.results / f"{name}.csv", table, config, load, digits=4)
    write_figure(rows, options.results, config)


if __name__ == "__main__":
    run(main)
