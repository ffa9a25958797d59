"""Timing that machines with other work on them bear: interleaved, medians, quartiles."""

import statistics
import time
from collections.abc import Callable, Mapping

import pandas as pd
import torch

Run = Callable[[], object]


def interleaved(methods: Mapping[str, Run], repetitions: Mapping[str, int]) -> pd.DataFrame:
    """Times every method once per round, so that a disturbance hits all of them alike.

    With one thread the processor's time is taken, in which other processes' work does not count.

    Args:
        methods: what to run, by name.
        repetitions: rounds that each takes part in; each is run once before.

    Returns:
        By name, columns ``median_ms``, ``low_ms`` and ``high_ms``, the quartiles.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    milliseconds: dict[str, list[float]] = {name: [] for name in methods}
    for run in methods.values():
        run()
    for number in range(max(repetitions.values())):
        for name, run in methods.items():
            if number < repetitions[name]:
                start = clock()
                run()
                milliseconds[name].append(1_000 * (clock() - start))
    rows = {}
    for name, values in milliseconds.items():
        low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        rows[name] = {"median_ms": median, "low_ms": low, "high_ms": high}
    return pd.DataFrame.from_dict(rows, orient="index")
