"""``python -m studies.fixed_multiplier``: the matrix of a preset, cell by cell, then its figures.

What is in the results folder is not measured again, so that a stopped run goes on with the same
command. Machines share the work through ``--storage``, or each takes its ``--part``.
"""

import argparse
import time
from pathlib import Path

import torch

from luts.console import Parser, Reporter, quieten_libraries, run
from luts.errors import InputError
from studies._images import IMAGES
from studies.fixed_multiplier import _report
from studies.fixed_multiplier._bench import Bench, Place, check_data
from studies.fixed_multiplier._estimate import estimated_hours
from studies.fixed_multiplier._plan import HERE, Cell, Preset, read_preset
from studies.fixed_multiplier._queue import Alone, Queue, Shared
from studies.fixed_multiplier._results import Record, Results


def main() -> None:
    """Measure what is missing, then write tables, figures and claims."""
    options = _parser().parse_args()
    quieten_libraries()
    preset = read_preset(options.preset, options.config)
    results = Results(options.results or HERE / "results" / preset.name, preset)
    reporter = Reporter(quiet=options.quiet)
    if options.draw:
        print(_report.write(results, preset))
        return
    cells = _cells(preset, options)
    place = Place(options.images, options.data_root, _device(options.device))
    queue: Queue = Alone(cells, results)
    if options.storage:
        # A database that is filled once accepts no corrected preset.
        check_data(preset, cells, place, reporter)
        queue = Shared(options.storage, preset, cells, results)
    try:
        bench = Bench(preset, place, reporter, on_weights=queue.check_weights)
        _announce(bench, queue, reporter)
        work(queue, bench, results, reporter)
    except KeyboardInterrupt:
        reporter.note("stopped; the same command goes on")
        raise
    finally:
        _leave(queue, reporter)
    print(_report.write(results, preset))


def _leave(queue: Queue, reporter: Reporter) -> None:
    try:
        if isinstance(queue, Shared):
            queue.collect()
            if queue.elsewhere:
                reporter.note(
                    f"cells still with other processes: {queue.elsewhere}; the same command "
                    f"collects them later, and measures those of a process that has died"
                )
    finally:
        queue.close()


def work(queue: Queue, bench: Bench, results: Results, reporter: Reporter) -> None:
    """Measure cells until none waits; what was measured is kept at once."""
    started, left, number = time.monotonic(), len(queue.waiting), 0
    while (cell := queue.take()) is not None:
        try:
            # On a shared database this folder may know a cell that the others do not.
            record = results.read(cell) if results.has(cell) else bench.measure(cell)
            results.keep(cell, record)
        except BaseException:
            queue.give_back(cell)
            raise
        queue.done(cell, record)
        number += 1
        elapsed = (time.monotonic() - started) / 3600
        reporter.note(_line(cell, record, f"{number}/{max(left, number)}, {elapsed:.2f} h"))


def _line(cell: Cell, record: Record, progress: str) -> str:
    note = f"; {record['note']}" if record["note"] else ""
    return (
        f"[{progress}] {cell.name}: {100 * record['test']['accuracy']:.2f} % at "
        f"{record['energy_rel']:.3f} energy, {record['seconds']:.1f} s{note}"
    )


def _announce(bench: Bench, queue: Queue, reporter: Reporter) -> None:
    waiting = queue.waiting
    if not waiting:
        reporter.note("every cell is there already")
        return
    hours = estimated_hours(bench, waiting)
    reporter.note(
        f"{len(waiting)} cells to measure, about {hours:.2f} hours on this machine as it is now, "
        f"float networks that are not in the cache included"
    )


def _cells(preset: Preset, options: argparse.Namespace) -> list[Cell]:
    if options.part is None:
        return preset.cells()
    try:
        index, of = (int(word) for word in options.part.split("/"))
    except ValueError:
        index, of = 0, 0
    if not 1 <= index <= of:
        raise InputError(f"--part is I/N with I from 1 to N, as in 2/3, not {options.part}")
    return preset.part(index, of)


def _device(name: str) -> str:
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name} cannot be used: {reason}") from error
    return name


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m studies.fixed_multiplier", description=__doc__)
    add = parser.add_argument
    add("--preset", default="smoke", help="table of config.toml (default smoke)")
    add("--config", type=Path, default=HERE / "config.toml", help="file of presets")
    add("--images", type=Path, default=IMAGES, help="folder or archive of CIFAR-10 images")
    add("--data-root", type=Path, metavar="DIR", help="folder of published archives")
    add("--results", type=Path, metavar="DIR", help="where cells are kept (default: by preset)")
    add("--part", metavar="I/N", help="measure only this share of the float networks")
    add("--storage", metavar="URL", help="database server through which machines share the cells")
    add("--device", default="cpu", help="that networks run on (default cpu)")
    add("--draw", action="store_true", help="measure nothing; write tables, figures and claims")
    add("--quiet", action="store_true", help="show nothing but the result")
    return parser


if __name__ == "__main__":
    run(main)
