"""The main job's search by one worker on one core, and by two workers on two."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from dse import Run, SearchConfig, explore_run
from luts.console import Reporter
from models.training import cache_folder

CACHE = "AXDSE_CACHE"


class Stopwatch(Reporter):
    """Shows nothing, and notes how many seconds each progress bar is there."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        """A bar that nobody sees."""
        started = time.perf_counter()
        with super().bar(title, total) as advance:
            yield advance
        self.seconds[title] = time.perf_counter() - started


def measure(trials: int, folder: Path, reporter: Reporter) -> pd.DataFrame:
    """Seconds of the search alone, without training, calibration and close; one row per count.

    Args:
        trials: of each search.
        folder: where the runs lie meanwhile.
        reporter: shows the progress.
    """
    rows = []
    for workers in (1, 2):
        cache = folder / f"cache-{workers}"
        cache.mkdir()
        weights = cache_folder() / "weights"
        if weights.exists():  # but no scores: they are what is timed
            shutil.copytree(weights, cache / "weights")
        reporter.note(f"{workers} worker(s), {trials} trials")
        out = folder / f"run-{workers}"
        command = [sys.executable, "-m", __name__, str(workers), str(trials), str(out)]
        environment = os.environ | {CACHE: str(cache), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        rows.append({"workers": workers, "trials": trials, "seconds": float(done.stdout)})
    frame = pd.DataFrame(rows)
    return frame.assign(speed_up=frame["seconds"].iloc[0] / frame["seconds"])


def _timed(workers: int, trials: int, out: Path) -> float:
    if workers == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    config = SearchConfig(
        dataset="digits",
        multipliers="mul8s",
        trials=trials,
        workers=workers,
        sampler="random",
        finetune="none",
        finetune_members=1,
    )
    stopwatch = Stopwatch()
    explore_run(Run.create(config, out), stopwatch)
    return stopwatch.seconds["search"]


if __name__ == "__main__":
    sys.stdout.write(f"{_timed(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))}\n")
