"""One search that is killed again and again, beside one that is not."""

import contextlib
import dataclasses
import importlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch

from energy import run_files
from luts.console import Reporter, run
from luts.settings import setting
from studies.long_runs import _network
from studies.long_runs._evidence import CACHE, EXPORTS, MANIFEST, RUN, Evidence, look

MARKS = {
    "training": "train: begins",
    "screening": "calibrate: begins",
    "search": "search: begins",
    "closing": "fine-tune and test: begins",
}
"""What the run's log says first of each phase, in their order."""
EXPORT, WRITING = "export", "writing"
"""Making a trial ready for hardware, and writing its files, in a hidden folder first."""
PROGRESSING = ("search", "closing")
"""Phases that go on where they were killed; the others begin anew."""
POLL_SECONDS = 0.005


@dataclasses.dataclass(frozen=True)
class KillSettings:
    """Table ``kills`` of the configuration."""

    multipliers: Annotated[str, setting("that are searched")]
    trials: Annotated[int, setting("of the search", ge=1)]
    train_epochs: Annotated[float, setting("of the float network", gt=0)]
    finetune_epochs: Annotated[float, setting("of each network that the search ends with", gt=0)]
    training: Annotated[int, setting("kills while the float network trains", ge=0)]
    screening: Annotated[int, setting("kills while it is calibrated and screened", ge=0)]
    search: Annotated[int, setting("kills while trials are scored", ge=0)]
    closing: Annotated[int, setting("kills while results are fine-tuned and tested", ge=0)]
    export: Annotated[int, setting("kills while a trial is made ready for hardware", ge=0)]
    writing: Annotated[int, setting("kills while its files are written", ge=0)]
    seed: Annotated[int, setting("of the search, and of the moments", ge=0)]

    @property
    def kills(self) -> int:
        """All of them."""
        return sum(getattr(self, phase) for phase in (*MARKS, EXPORT, WRITING))


@dataclasses.dataclass(frozen=True)
class Killed:
    """What came of it.

    Attributes:
        log: one row per kill.
        differences: what the killed run ended with otherwise than the one that was left alone.
    """

    log: pd.DataFrame
    differences: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """In a few words each; none is what is hoped for."""
        sums = self.log[["lost", "doubled", "broken"]].sum()
        found = [f"{count} {name}" for name, count in sums.items() if count]
        stuck = int((~self.log["resumed"]).sum())
        return (*found, *([f"{stuck} not resumed"] if stuck else []), *self.differences)


class _World:
    """Folders of one search, and the commands that work there.

    Args:
        folder: has `RUN`, `CACHE` and `EXPORTS`, made where missing.
        settings: of the search.
    """

    def __init__(self, folder: Path, settings: KillSettings) -> None:
        self.folder = folder
        self._settings = settings
        (folder / EXPORTS).mkdir(parents=True, exist_ok=True)
        # One process imports everything, and each command begins as a copy of it.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dse.search", "dse.export"])

    def search(self) -> "_Command":
        """Begin the search, or go on with it."""
        settings, folder = self._settings, self.folder / RUN
        if folder.exists():
            return self._command("dse.search", "--resume", folder, "--quiet")
        arch = f"{Path(_network.__file__)}:{_network.small.__name__}"
        return self._command(
            "dse.search",
            *("--arch", arch, "--dataset", "digits", "--topology", "hard", "--quiet"),
            *("--multipliers", settings.multipliers, "--trials", settings.trials),
            *("--seed", settings.seed),
            *("--train-epochs", settings.train_epochs),
            *("--finetune-epochs", settings.finetune_epochs, "--out", folder),
        )

    def export(self, trial: int, name: str) -> "_Command":
        """Write a trial's files for hardware."""
        out = self.folder / EXPORTS / name
        words = (self.folder / RUN, "--trial", trial, "--out", out, "--no-onnx", "--quiet")
        return self._command("dse.export", *words)

    def _command(self, module: str, *words: object) -> "_Command":
        return _Command(self._context, self, module, *map(str, words))

    def hidden(self) -> set[Path]:
        """Folders that exports write to, or that killed ones have left."""
        return {file.parent for file in (self.folder / EXPORTS).glob(".*/*")}

    def table(self, name: str) -> list[dict[Any, Any]]:
        """A table of the run without its column of seconds."""
        frame = pd.read_csv(self.folder / RUN / name, dtype=str, keep_default_na=False)
        return frame.drop(columns=run_files.SECONDS).to_dict("records")

    def assignments(self) -> dict[str, str]:
        """The run's assignments by file name."""
        folder = self.folder / RUN / run_files.ASSIGNMENTS
        return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


class _Command:
    """A command that runs in a process of its own."""

    def __init__(
        self,
        context: Any,
        world: _World,
        module: str,
        *words: str,
    ) -> None:
        folder = world.folder
        self._log = log = folder / RUN / run_files.LOG
        self._before = log.stat().st_size if log.exists() else 0
        self._hidden = world.hidden()
        self._said = folder.with_name(f"{folder.name}.out")
        self._process = context.Process(
            target=_run, args=(module, words, folder / CACHE, self._said)
        )
        self._process.start()

    def wait(self) -> None:
        """Wait until it has ended well.

        Raises:
            RuntimeError: it has not.
        """
        self._process.join()
        if self._process.exitcode != 0:
            said = self._said.read_text(encoding="utf-8").strip().splitlines() or ["nothing"]
            raise RuntimeError(f"ended with {self._process.exitcode} and said: {said[-1]}")

    def kill(self) -> bool:
        """End it without warning; whether it was still at work."""
        self._process.kill()
        self._process.join()
        return bool(self._process.exitcode)

    @property
    def is_alive(self) -> bool:
        """Whether it is at work."""
        return bool(self._process.is_alive())

    @property
    def phase(self) -> str | None:
        """The last phase that it began, None before the first."""
        said = ""
        with contextlib.suppress(OSError):
            said = self._log.read_bytes()[self._before :].decode(errors="replace")
        begun = [phase for phase, mark in MARKS.items() if mark in said]
        return begun[-1] if begun else None

    def until_it_writes(self, world: _World) -> None:
        """Wait until an export has begun to write files, or has ended."""
        while self.is_alive and not world.hidden() - self._hidden:
            time.sleep(POLL_SECONDS)

    def reach(self, phase: str) -> bool:
        """Wait for a phase, or a later one; whether it came before the command ended."""
        order = [None, *MARKS]
        while order.index(self.phase) < order.index(phase):
            if not self.is_alive:
                return order.index(self.phase) >= order.index(phase)
            time.sleep(POLL_SECONDS)
        return True


def _run(module: str, words: Sequence[str], cache: Path, said: Path) -> None:
    """``python -m MODULE WORDS``, in a process that has imported it."""
    os.environ["AXDSE_CACHE"] = str(cache)
    torch.set_num_threads(1)
    with said.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [module, *words]
    run(importlib.import_module(module).main)


def measure(settings: KillSettings, folder: Path, reporter: Reporter) -> Killed:
    """Search once undisturbed, then search and export the same under kills.

    Args:
        settings: of the search and the kills.
        folder: where all of it lies.
        reporter: shows the progress.

    Raises:
        RuntimeError: a command failed that nobody killed.
    """
    alone, killed = _World(folder / "alone", settings), _World(folder / "killed", settings)
    reporter.note("the run that is left alone")
    lasts = _undisturbed(alone)
    rng = np.random.default_rng(settings.seed)
    with reporter.bar("kills", settings.kills) as advance:
        rows = _Killer(killed, lasts, rng, advance).run(settings)
    return Killed(pd.DataFrame(rows), tuple(_differences(alone, killed)))


def _undisturbed(world: _World) -> dict[str, float]:
    """Search and export; how many seconds each phase lasts."""
    command, began = world.search(), {}
    for phase in MARKS:
        command.reach(phase)
        began[phase] = time.monotonic()
    command.wait()
    ends = [*list(began.values())[1:], time.monotonic()]
    lasts = {phase: end - began[phase] for phase, end in zip(MARKS, ends, strict=True)}
    started = time.monotonic()
    command = world.export(_exported(world), EXPORT)
    command.until_it_writes(world)
    writes = time.monotonic()
    command.wait()
    return {**lasts, EXPORT: writes - started, WRITING: time.monotonic() - writes}


def _exported(world: _World) -> int:
    """The trial that is exported: the first front member."""
    return int(world.table(run_files.FRONT)[0][run_files.TRIAL])


class _Killer:
    """Kills one search in each phase, and looks at its files every time."""

    def __init__(
        self, world: _World, lasts: Mapping[str, float], rng: np.random.Generator, advance: Any
    ) -> None:
        self._world, self._lasts, self._rng, self._advance = world, lasts, rng, advance
        self._rows: list[dict[str, Any]] = []
        self._before = Evidence()

    def run(self, settings: KillSettings) -> list[dict[str, Any]]:
        """All kills, then the rest of the search; one row per kill."""
        for phase in MARKS:
            self._kill_searching(phase, getattr(settings, phase))
        self._resumed(self._world.search())
        trial = _exported(self._world)
        self._kill_exporting(trial, EXPORT, settings.export)
        # Kills that came too late in a phase are made up for here.
        self._kill_exporting(trial, WRITING, settings.kills - len(self._rows))
        return self._rows

    def _kill_exporting(self, trial: int, phase: str, count: int) -> None:
        done = 0
        while count:
            name = f"{phase}{done}"
            command = self._world.export(trial, name)
            if phase == WRITING:
                command.until_it_writes(self._world)
            seconds = self._rng.uniform(0, self._lasts[phase])
            time.sleep(seconds)
            if command.kill():
                self._note(phase, seconds)
                count -= 1
            if (self._world.folder / EXPORTS / name).exists():
                done += 1
                self._is_resumed()
        self._resumed(self._world.export(trial, f"{phase}{done}"))

    def _kill_searching(self, phase: str, count: int) -> None:
        most = self._lasts[phase]
        if phase in PROGRESSING:
            most *= min(0.5, 1.8 / max(count, 1))  # so that all kills come before it has ended
        for _ in range(count):
            command = self._world.search()
            if not command.reach(phase):
                command.wait()
                return
            self._is_resumed()
            seconds = self._rng.uniform(0, most)
            time.sleep(seconds)
            reached = command.phase
            if not command.kill():
                return
            self._note(str(reached), seconds)

    def _note(self, phase: str, seconds: float) -> None:
        now = look(self._world.folder)
        self._rows.append(
            {
                "kill": len(self._rows) + 1,
                "phase": phase,
                "seconds_into_it": seconds,
                "trials": len(now.trials),
                "closed": len(now.closings),
                "lost": now.lost_since(self._before),
                "doubled": now.doubled,
                "broken": len(now.broken),
                "half_written": len(now.half_written),
                "resumed": False,
            }
        )
        self._before = now
        self._advance()

    def _is_resumed(self) -> None:
        """A command has gone on after the kills so far."""
        for row in self._rows:
            row["resumed"] = True

    def _resumed(self, command: _Command) -> None:
        command.wait()
        self._is_resumed()


def _differences(alone: _World, killed: _World) -> list[str]:
    """What the killed search ended with otherwise."""
    found = [
        f"another {name}"
        for name in (run_files.TRIALS, run_files.FRONT)
        if alone.table(name) != killed.table(name)
    ]
    if alone.assignments() != killed.assignments():
        found.append("other assignments")
    exports = [_exports(world.folder / EXPORTS) for world in (alone, killed)]
    if any(export not in exports[0] for export in exports[1]):
        found.append("another export")
    left = look(killed.folder)
    return [*found, *(f"left behind: {name}" for name in left.half_written)]


def _exports(folder: Path) -> list[dict[str, Any]]:
    """Digests of all files of each export."""
    manifests = [file.read_bytes() for file in sorted(folder.glob(f"[!.]*/{MANIFEST}"))]
    return [json.loads(manifest)["files"] for manifest in manifests]
