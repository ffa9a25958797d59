"""``python -m dse.export RUN --trial ID --out DIR``: a trial as files for hardware."""

import dataclasses
from pathlib import Path

from rich.console import Console

from dse._explore import read_run
from dse.results import BENCH, ExportSettings, Run, check_target, check_unedited, study_of
from dse.study import ALL
from luts.console import Parser, Reporter, quieten_libraries, run
from luts.errors import InputError
from luts.settings import add_settings, given_settings
from luts.text import quoted


def main() -> None:
    """Load the run, recover the trial's network, write."""
    parser = Parser(
        prog="python -m dse.export",
        description="Write a trial of a finished run as files for hardware: constants and golden "
        "vectors of its sites, each circuit in Verilog with a self-checking test bench, and the "
        "exact int8 network as ONNX. A trial that was fine-tuned is fine-tuned again.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--trial", type=int, required=True, metavar="ID", help="number of a trial")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--quiet", action="store_true", help="show nothing but errors")
    names = [field.name for field in dataclasses.fields(ExportSettings)]
    add_settings(parser, ExportSettings, names)
    options = parser.parse_args()
    quieten_libraries()
    check_target(options.out)
    _check_run(options.run, options.trial)
    result = read_run(options.run)
    reporter = Reporter(quiet=options.quiet)
    settings = given_settings(options, ExportSettings)
    exported = result.export(options.trial, options.out, reporter=reporter, **settings)
    for note in exported.notes:
        reporter.note(f"note: {note}")
    console = Console(quiet=options.quiet, soft_wrap=True, highlight=False)
    size = exported.bytes / 2**20
    console.print(
        f"{exported.path}/: {exported.files} files, {size:.1f} MiB; vectors of "
        f"{len(exported.sites)} sites",
        markup=False,
    )
    if exported.checked:
        where = f"cd {quoted(exported.path)}"
        console.print(f"to check {len(exported.checked)} of them: {where} && {BENCH}", markup=False)


def _check_run(path: Path, trial: int) -> None:
    folder = Run.open(path)
    if folder.config.topology == ALL:
        names = ", ".join(folder.config.topologies)
        raise InputError(f"{path} holds a run of each topology: name one of them ({names}) in it")
    check_unedited(folder, study_of(folder), trial)


if __name__ == "__main__":
    run(main)
