"""The main job's search by one worker on one core, and by two workers on two."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from dse import _steps
from dse.results import Run
from dse.study import SearchConfig
from luts.console import SILENT, Reporter
from models.training import cache_folder

CACHE = "AXDSE_CACHE"


def measure(trials: int, folder: Path, reporter: Reporter) -> pd.DataFrame:
    """Seconds of the search alone, without training, calibration and close; one row a crew."""
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
    config = dataclasses.replace(
        SearchConfig(), trials=trials, workers=workers, sampler="random", finetune="none"
    )
    run = Run.create(config, out)
    network, data = _steps.load(run, SILENT)
    prepared = _steps.prepare(config, network, data, run, SILENT)
    study = _steps.open_study(prepared)
    _steps.seed_study(prepared, study, SILENT)
    started = time.perf_counter()
    _steps.search(prepared, study, SILENT)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.stdout.write(f"{_timed(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))}\n")
