"""``python -m studies.fixed_multiplier``: the matrix of a preset, cell by cell, then its figures.

What is in the results folder is not measured again, so that a stopped run goes on with the same
command. Machines share the work through ``--storage``, or each takes its ``--part``.
"""

import argparse
from pathlib import Path

import torch

from luts.console import Reporter, quieten_libraries, run
from luts.errors import InputError
from studies._images import Images
from studies._matrix import Record, announce, measure_all
from studies._options import study_parser
from studies.fixed_multiplier import _report
from studies.fixed_multiplier._bench import Bench, check_data
from studies.fixed_multiplier._estimate import CellSeconds
from studies.fixed_multiplier._plan import HERE, RECOVERIES, FixedCell, MatrixPreset, read_preset
from studies.fixed_multiplier._results import Results
from studies.fixed_multiplier._shared import SharedResults


def main() -> None:
    """Measure what is missing, then write tables, figures and claims."""
    options = _parser().parse_args()
    quieten_libraries()
    preset = read_preset(options.preset, options.config)
    results = Results(options.results or HERE / "results" / preset.name, preset)
    if not options.draw:
        _measure(results, options, Reporter(quiet=options.quiet))
    print(_report.write(results, preset))


def _measure(results: Results, options: argparse.Namespace, reporter: Reporter) -> None:
    preset, images = results.preset, Images.of(options)
    cells, device = _cells(preset, options), _device(options.device)
    if options.storage:
        # A database that has its settings accepts no corrected preset.
        check_data(preset, cells, images, reporter)
        results = SharedResults(options.storage, results.path, preset)
    bench = Bench(preset, images, device, reporter, results.check_weights, results.check_recipe)
    try:
        announce(results.missing(cells), CellSeconds(bench), reporter)
        measure_all(results, cells, bench.measure, _said, reporter)
    except KeyboardInterrupt:
        reporter.note("stopped; the same command goes on")
        raise
    finally:
        _leave(results, reporter)


def _leave(results: Results, reporter: Reporter) -> None:
    try:
        if isinstance(results, SharedResults):
            results.collect()
            if results.elsewhere:
                reporter.note(
                    f"cells still with other processes: {len(results.elsewhere)}; the same command "
                    f"collects them later, and measures those of a process that has died"
                )
    finally:
        results.close()


def _said(cell: FixedCell, record: Record) -> str:
    note = f"; {record['note']}" if record["note"] else ""
    return (
        f"{100 * record['test']['accuracy']:.2f} % at {record['energy_rel']:.3f} energy, "
        f"{record['seconds']:.1f} s{note}"
    )


def _cells(preset: MatrixPreset, options: argparse.Namespace) -> list[FixedCell]:
    cells = _of_part(preset, options.part)
    return [cell for cell in cells if cell.recovery in options.recovery]


def _of_part(preset: MatrixPreset, part: str | None) -> list[FixedCell]:
    if part is None:
        return preset.cells()
    try:
        index, of = (int(word) for word in part.split("/"))
    except ValueError:
        index, of = 0, 0
    if not 1 <= index <= of:
        raise InputError(f"--part is I/N with I from 1 to N, as in 2/3, not {part}")
    return preset.part(index, of)


def _device(name: str) -> str:
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name} cannot be used: {reason}") from error
    return name


def _parser() -> argparse.ArgumentParser:
    parser = study_parser("fixed_multiplier", __doc__, "--images", "--data-root", "--quiet")
    parser.set_defaults(results=None)  # by preset
    add = parser.add_argument
    add("--preset", default="smoke", help="table of config.toml (default smoke)")
    add("--config", type=Path, default=HERE / "config.toml", help="file of presets")
    add("--part", metavar="I/N", help="measure only this share of the float networks")
    add(
        "--recovery",
        nargs="+",
        choices=RECOVERIES,
        default=RECOVERIES,
        help="measure only what is recovered so, such as none recalibrated, which take seconds",
    )
    add("--storage", metavar="URL", help="database server through which machines share the cells")
    add("--device", default="cpu", help="that networks run on (default cpu)")
    add("--draw", action="store_true", help="measure nothing; write tables, figures and claims")
    return parser


if __name__ == "__main__":
    run(main)
