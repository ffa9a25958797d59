"""Timing that machines with other work on them bear: interleaved, medians, quartiles."""

import dataclasses
import statistics
import subprocess
import time
from collections.abc import Mapping

from studies.emulation_speed._methods import Run


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of one method: median and quartiles."""

    median_ms: float
    low_ms: float
    high_ms: float
    repetitions: int


def interleaved(methods: Mapping[str, Run], repetitions: Mapping[str, int]) -> dict[str, Timing]:
    """Times every method once a round, so that a disturbance hits all of them alike.

    Args:
        methods: what to run, by name.
        repetitions: rounds that each takes part in; each is run once before.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for run in methods.values():
        run()
    for turn in range(max(repetitions.values())):
        for name, run in methods.items():
            if turn < repetitions[name]:
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    return {name: _timing(values) for name, values in seconds.items()}


def _timing(seconds: list[float]) -> Timing:
    values = sorted(1_000 * s for s in seconds)
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return Timing(statistics.median(values), quartiles[0], quartiles[2], len(values))


def commit() -> str:
    """The repository's commit, with a mark where files differ from it."""
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()


def processor() -> str:
    """The processor's name, cut to what a file name bears."""
    try:
        with open("/proc/cpuinfo") as info:
            names = [line.split(":")[1] for line in info if line.startswith("model name")]
    except OSError:
        names = []
    return "-".join((names or ["cpu"])[0].split()).lower()
