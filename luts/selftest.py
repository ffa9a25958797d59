"""``python -m luts.selftest``: prove that every backend is exact on this machine."""

import sys
import time

import luts
from luts._selftest import Report, arithmetics, selftest
from luts.console import Parser, Reporter, Terminal, run


def main() -> None:
    """Test, print what was tested, and exit with status 1 where something is wrong."""
    parser = Parser(prog="python -m luts.selftest", description=__doc__)
    parser.add_argument("--brief", action="store_true", help="what runs before a first search")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parser.parse_args()
    started = time.monotonic()
    title, total = "self-test", len(arithmetics(brief=options.brief))
    with Reporter(quiet=options.quiet).bar(title, total) as advance:
        report = selftest(brief=options.brief, advance=advance)
    _show(report, time.monotonic() - started)
    if report.failures:
        sys.exit(1)


def _show(report: Report, seconds: float) -> None:
    console = Terminal()
    for failure in report.failures[:20]:
        console.say(f"wrong: {failure}")
    for where, count in report.counts.items():
        wrong = sum(failure.backend == where for failure in report.failures)
        outcome = f"{wrong} of {count} products wrong" if wrong else f"{count} products exact"
        console.say(f"{where}: {outcome}")
    console.say(f"compiled kernels: {luts.isa()}; {seconds:.1f} s")


if __name__ == "__main__":
    run(main)
