"""Timing that machines with other work on them bear: interleaved, medians, quartiles."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping

Run = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of one method: median and quartiles."""

    median_ms: float
    low_ms: float
    high_ms: float


def interleaved(methods: Mapping[str, Run], repetitions: Mapping[str, int]) -> dict[str, Timing]:
    """Times every method once per round, so that a disturbance hits all of them alike.

    Args:
        methods: what to run, by name.
        repetitions: rounds that each takes part in; each is run once before.
    """
    milliseconds: dict[str, list[float]] = {name: [] for name in methods}
    for run in methods.values():
        run()
    for number in range(max(repetitions.values())):
        for name, run in methods.items():
            if number < repetitions[name]:
                start = time.perf_counter()
                run()
                milliseconds[name].append(1_000 * (time.perf_counter() - start))
    return {name: _timing(values) for name, values in milliseconds.items()}


def _timing(values: list[float]) -> Timing:
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return Timing(statistics.median(values), quartiles[0], quartiles[2])
