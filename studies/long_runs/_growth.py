"""Memory and open files of a search that goes on and on."""

import contextlib
import dataclasses
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from dse.samplers import NAMES as SAMPLERS
from energy import run_files
from luts.console import Reporter
from luts.settings import setting
from studies._machine import handles, status_mb
from studies.long_runs import _network

MOST_GROWTH = 1.10
"""Memory in the end over that at the first measurement."""
POLL_SECONDS = 0.05
LOOKS = 11
"""Looks at open files for one figure, their median: a file may be open for a moment."""


@dataclasses.dataclass(frozen=True)
class MemorySettings:
    """Table ``memory`` of the configuration."""

    multipliers: Annotated[str, setting("that are searched")]
    trials: Annotated[int, setting("of the search", ge=2)]
    every: Annotated[int, setting("trials between two measurements", ge=1)]
    sampler: Annotated[str, setting("who proposes them", choices=SAMPLERS)]


def measure(settings: MemorySettings, folder: Path, reporter: Reporter) -> pd.DataFrame:
    """Search in another process; one row each so many trials.

    Args:
        settings: of the search.
        folder: where the run and its cache lie.
        reporter: shows the progress.

    Raises:
        RuntimeError: the search failed.
    """
    run, said = folder / "run", folder / "said.txt"
    with said.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            _command(settings, run), stdout=file, stderr=file, env=_environment(folder)
        )
        rows: list[dict[str, Any]] = []
        started = time.monotonic()
        with reporter.bar("trials", settings.trials) as advance:
            shown = 0
            while process.poll() is None:
                done = _scored(run / run_files.DATABASE)
                advance(done - shown)
                shown = done
                # The last trials are followed by the close, which is no part of it.
                if settings.every * (len(rows) + 1) <= done < settings.trials:
                    with contextlib.suppress(OSError):  # it has just ended
                        rows.append(_row(process.pid, done, time.monotonic() - started))
                time.sleep(POLL_SECONDS)
    if process.returncode:
        raise RuntimeError(said.read_text(encoding="utf-8").strip().splitlines()[-1])
    return pd.DataFrame(rows)


def growth(frame: pd.DataFrame) -> tuple[str, ...]:
    """What has grown that must not, in a few words each."""
    factor = frame["rss_mb"].iloc[-1] / frame["rss_mb"].iloc[0]
    found = []
    if factor > MOST_GROWTH:
        found.append(f"memory grew to {factor:.2f} of what it was")
    if frame["handles"].nunique() > 1:
        found.append(f"{frame['handles'].min()} to {frame['handles'].max()} open files")
    return tuple(found)


def _command(settings: MemorySettings, run: Path) -> list[str]:
    arch = f"{Path(_network.__file__)}:{_network.small.__name__}"
    words = (
        *("--arch", arch, "--dataset", "digits", "--topology", "dense", "--train-epochs", 3),
        *("--multipliers", settings.multipliers, "--trials", settings.trials),
        *("--sampler", settings.sampler, "--finetune", "none", "--out", run, "--quiet"),
    )
    return [sys.executable, "-m", "dse.search", *map(str, words)]


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"AXDSE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def _scored(database: Path) -> int:
    """Trials that are scored; 0 as long as there is no database."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as opened,
    ):
        query = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
        return int(opened.execute(query).fetchone()[0])
    return 0


def _row(process: int, trials: int, seconds: float) -> dict[str, Any]:
    looks = []
    for _ in range(LOOKS):
        looks.append(handles(process))
        time.sleep(0.01)
    return {
        "trials": trials,
        "rss_mb": status_mb("VmRSS", process),
        "handles": int(statistics.median(looks)),
        "seconds": seconds,
    }
