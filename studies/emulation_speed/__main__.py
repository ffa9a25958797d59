"""``python -m studies.emulation_speed``: measure, print the table, write CSV and PNG."""

import dataclasses
import os

import torch

from luts.console import Reporter, run
from studies._files import write_table
from studies._options import study_parser, study_settings
from studies.emulation_speed._report import stem, summary, write_figure
from studies.emulation_speed._run import PARTS, measure
from studies.emulation_speed._subjects import SpeedStudy


def main() -> None:
    """Measure layers, networks, training steps and memory; report."""
    parser = study_parser("emulation_speed", __doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--parts", nargs="+", default=[*PARTS], choices=[*PARTS])
    options = parser.parse_args()
    study = study_settings(SpeedStudy, "emulation_speed")
    torch.set_num_threads(options.threads)

    rows = measure(options.parts, study, Reporter())
    verdicts = summary(rows)
    print(verdicts.to_string(index=False, float_format="%.2f"))
    about = dataclasses.asdict(study) | {"threads": options.threads}
    load = f"load at the end {os.getloadavg()[0]:.2f}"
    for name, table in ((stem(), rows), (f"{stem()}-summary", verdicts)):
        if len(table):
            write_table(options.results / f"{name}.csv", table, about, load, digits=4)
    write_figure(rows, options.results)


if __name__ == "__main__":
    run(main)
