"""Who measures which cell next: one process alone, or machines that share a database."""

import contextlib
import dataclasses
import json
import platform
import time
import warnings
from typing import Any, Protocol

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from dse.study import BEAT_SECONDS, Heartbeat, open_storage
from luts.errors import InputError
from studies.fixed_multiplier._plan import Base, Cell, Preset
from studies.fixed_multiplier._results import Record, Results

_CELL, _RECORD, _MACHINE = "cell", "record", "machine"
_SETTINGS, _QUEUED = "settings", "queued"
WAIT_SECONDS = 60.0


class Queue(Protocol):
    """Hands out cells, each to one process only."""

    @property
    def waiting(self) -> list[Cell]:
        """Cells that nobody has taken, in order."""

    def take(self) -> Cell | None:
        """The next cell, or None if none waits."""

    def done(self, cell: Cell, record: Record) -> None:
        """Keep what was measured for a cell that `take` gave."""

    def give_back(self, cell: Cell) -> None:
        """Let somebody else take it."""

    def check_weights(self, cell: Cell, sha256: str) -> None:
        """Hold a float network against the one that its other cells were computed with.

        Raises:
            InputError: they started from other weights.
        """

    def close(self) -> None:
        """Let go of what it holds; may be called twice."""


class Alone:
    """The cells whose files are not there yet.

    Args:
        cells: in order.
        results: where cells are kept.
    """

    def __init__(self, cells: list[Cell], results: Results) -> None:
        self._cells = cells
        self._results = results

    @property
    def waiting(self) -> list[Cell]:
        """Cells without a file."""
        return [cell for cell in self._cells if not self._results.has(cell)]

    def take(self) -> Cell | None:
        """The first cell without a file."""
        return next(iter(self.waiting), None)

    def done(self, cell: Cell, record: Record) -> None:
        """Its file says so."""

    def give_back(self, cell: Cell) -> None:
        """Its file is not there."""

    def check_weights(self, cell: Cell, sha256: str) -> None:
        """Against the files."""
        self._results.check_weights(cell, sha256)

    def close(self) -> None:
        """Nothing is held."""


class Shared:
    """Cells as trials of an Optuna study, in the same database as a search's.

    A waiting trial is taken by setting its state, which only one process can. While it is measured
    it gives signs of life; the cell of a process that died waits again, which is looked for when a
    process starts and when it finds nothing else.

    Args:
        url: of the database server.
        preset: whose cells they are; all of them are queued, whatever part this process takes.
        cells: those that this process takes, a part of the preset's.
        results: every record of the database is copied there by `collect`.
        beat_seconds: see `dse.study._storage.BEAT_SECONDS`.

    Raises:
        InputError: the database cannot be reached, or the study in it has other settings.
    """

    def __init__(
        self,
        url: str,
        preset: Preset,
        cells: list[Cell],
        results: Results,
        *,
        beat_seconds: int = BEAT_SECONDS,
    ) -> None:
        self._mine = set(cells)
        self._results = results
        self._storage = open_storage(url, beat_seconds=beat_seconds)
        self._heart = Heartbeat(self._storage, beat_seconds)
        self._taken: dict[Cell, int] = {}
        self._last: Base | None = None
        self._machine = platform.node()
        try:
            self._study = self._open(preset, f"fixed_multiplier-{preset.name}")
            self._requeue_dead()
        except BaseException:
            self.close()
            raise

    def _open(self, preset: Preset, name: str) -> optuna.Study:
        try:
            study = optuna.create_study(storage=self._storage, study_name=name)
        except DuplicatedStudyError:
            study = optuna.load_study(storage=self._storage, study_name=name)
            _join(study, preset)
        else:
            _found(study, preset)
        return study

    @property
    def waiting(self) -> list[Cell]:
        """Cells of this process that nobody has taken."""
        return [_cell(trial) for trial in self._waiting()]

    @property
    def elsewhere(self) -> int:
        """How many cells other processes are at, dead ones that nobody has noticed included."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return len(running) - len(self._taken)

    def take(self) -> Cell | None:
        """A waiting cell; of a float network that no other process trains, as long as there is one.

        The network that this process had last goes first, then those that nobody is at and of
        which no other machine has measured a cell, then the rest; within them, the usual order.
        """
        while (trial := self._next()) is not None:
            # Before the state changes, so that a process that dies in between leaves a trace.
            self._storage.record_heartbeat(trial._trial_id)
            with contextlib.suppress(UpdateFinishedTrialError):
                if self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    self._heart.add(trial._trial_id)
                    cell = _cell(trial)
                    self._taken[cell] = trial._trial_id
                    self._last = cell.base
                    return cell
        return None

    def done(self, cell: Cell, record: Record) -> None:
        """Keep the record for all machines."""
        trial_id = self._taken.pop(cell)
        self._heart.remove(trial_id)
        accuracy = record["test"]["accuracy"]
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_user_attr(trial_id, _RECORD, record)
            self._storage.set_trial_user_attr(trial_id, _MACHINE, self._machine)
            self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [accuracy])

    def give_back(self, cell: Cell) -> None:
        """Let the cell wait again."""
        trial_id = self._taken.pop(cell)
        self._heart.remove(trial_id)
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def check_weights(self, cell: Cell, sha256: str) -> None:
        """Against what all machines have measured so far."""
        self.collect()
        self._results.check_weights(cell, sha256)

    def collect(self) -> int:
        """Copy the records of all machines into the results folder; how many are complete.

        Raises:
            InputError: cells of one float network started from different weights.
        """
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        for trial in complete:
            self._results.keep(_cell(trial), trial.user_attrs[_RECORD])
        return len(complete)

    def close(self) -> None:
        """No more signs of life; let go of the server."""
        self._heart.stop()
        self._storage.close()

    def _waiting(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        ordered = sorted(trials, key=lambda trial: trial.number)
        return [trial for trial in ordered if _cell(trial) in self._mine]

    def _next(self) -> FrozenTrial | None:
        waiting = self._waiting()
        if not waiting:
            self._requeue_dead()
            waiting = self._waiting()
        elsewhere = self._bases_elsewhere()

        def place(trial: FrozenTrial) -> tuple[bool, bool, int]:
            base = _cell(trial).base
            return (base != self._last, base in elsewhere, trial.number)

        return min(waiting, key=place, default=None)

    def _bases_elsewhere(self) -> set[Base]:
        """Float networks that another process is at, or that another machine has."""
        states = (TrialState.RUNNING, TrialState.COMPLETE)
        mine = set(self._taken.values())
        return {
            _cell(trial).base
            for trial in self._study.get_trials(deepcopy=False, states=states)
            if trial._trial_id not in mine
            and (not trial.state.is_finished() or trial.user_attrs.get(_MACHINE) != self._machine)
        }

    def _requeue_dead(self) -> None:
        for trial_id in self._storage._get_stale_trial_ids(self._study._study_id):
            with contextlib.suppress(UpdateFinishedTrialError):
                # Whoever takes it has until the next beat before it looks dead again.
                self._storage.record_heartbeat(trial_id)
                self._storage.set_trial_state_values(trial_id, TrialState.WAITING)


def _cell(trial: FrozenTrial) -> Cell:
    return Cell(**trial.user_attrs[_CELL])


def _settings(preset: Preset) -> dict[str, Any]:
    """The preset as the database gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(preset)))
    return found


def _found(study: optuna.Study, preset: Preset) -> None:
    study.set_user_attr(_SETTINGS, _settings(preset))
    for cell in preset.cells():
        attributes = {_CELL: dataclasses.asdict(cell)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.enqueue_trial({}, user_attrs=attributes)
    study.set_user_attr(_QUEUED, True)


def _join(study: optuna.Study, preset: Preset) -> None:
    name, until = study.study_name, time.monotonic() + WAIT_SECONDS
    while not study.user_attrs.get(_QUEUED):
        if time.monotonic() > until:
            raise InputError(
                f"study {name} was never filled: whoever made it has stopped; delete it with "
                f"optuna delete-study --study-name {name}"
            )
        time.sleep(0.5)
    if study.user_attrs.get(_SETTINGS) != _settings(preset):
        raise InputError(
            f"study {name} in this database was made with other settings than preset "
            f"{preset.name} has now; name another database, or use the same configuration"
        )
