"""The study: every trial of one search, in one database that Optuna keeps."""

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dse.problem import Codes, Offer, Outcome, Pending, Problem, Trial
from dse.samplers import ASSIGNMENT, RESULT, AssignmentSampler, codes_of, record_of
from dse.study._heartbeat import Heartbeat
from dse.study._lease import Lease
from dse.study._outage import UNREACHABLE, going_on
from dse.study._storage import BEAT_SECONDS, GRACE, Database, open_storage
from dse.study._stored import CLOSING, IDENTITY, STUDY_NAME, check_identity, is_bare, space_record
from luts.errors import InputError

WORST = 1e6
"""Stands for a score that is not finite."""

POLL_SECONDS = 0.2

_SEEDED = "seeded"
_SEEDER = "seeder"
_SCREENING = "screening"
_OFFER = "offer"


class SearchStudy:
    """Asks for trials, keeps their scores. Objectives, all minimised: energy, validation score.

    A SQLite file has one user, and what was running when it was closed is scored again at once.
    On a database server many processes may work on one study: each gives signs of life for its
    trials, and those of a process that died are scored again by another.

    Args:
        where: a SQLite file, a database server's URL, or a storage of this process alone.
        problem: what is searched.
        sampler: proposes trials once the queue is empty; may be given later, to `use`.
        name: of the study in its database.
        about: what else must agree for a study to be continued, as plain values.
        beat_seconds: see `dse.study.BEAT_SECONDS`.
        tell: told when the server is gone, as it is waited for then, and when it is back.

    Raises:
        InputError: the storage cannot be reached, holds something else, or the study belongs to
            another search. An existing study is not altered then.
    """

    def __init__(
        self,
        where: Path | str | BaseStorage,
        problem: Problem,
        sampler: AssignmentSampler | None = None,
        *,
        name: str = STUDY_NAME,
        about: dict[str, Any] | None = None,
        beat_seconds: int = BEAT_SECONDS,
        tell: Callable[[str], None] = warnings.warn,
    ) -> None:
        self.problem = problem
        self.space = problem.space
        self._is_shared = isinstance(where, str)
        storage = where
        if not isinstance(storage, BaseStorage):
            storage = open_storage(storage, beat_seconds=beat_seconds, tell=tell)
        self._storage = storage
        self._beat_seconds, self._grace = beat_seconds, GRACE * beat_seconds
        if sampler is not None:
            sampler.has_rivals = self._is_shared
        try:
            self._study, self.is_founder = _opened(storage, name, sampler, problem)
            self._claim(f"study {name!r}" if self._is_shared else str(where), about or {})
        except BaseException:
            self._disconnect()
            raise
        self._heartbeat: Heartbeat | None = None
        self._seeding: Lease | None = None
        if self._is_shared:
            self._heartbeat = Heartbeat(self._rdb, beat_seconds)
            self._seeding = Lease(self._rdb, self._study._study_id, _SEEDER)
        self._first_seen: dict[int, float] = {}
        self._trials: dict[int, Trial] = {}
        if not self._is_shared:
            self._requeue([t for t in self._in_state(TrialState.RUNNING)])

    @property
    def _rdb(self) -> RDBStorage:
        assert isinstance(self._storage, RDBStorage)
        return self._storage

    def _claim(self, shown: str, about: dict[str, Any]) -> None:
        mine = {"space": space_record(self.problem), **about}
        if self.is_founder:
            self._study.set_user_attr(IDENTITY, mine)
            return
        known = self._wait_for(IDENTITY)
        if known is not None:
            check_identity(known, mine, shown)
        elif is_bare(self._study):
            self._study.set_user_attr(IDENTITY, mine)  # who made it was killed before it said so
        else:
            raise InputError(f"{shown} was made by something else than this program")

    def _wait_for(self, key: str, seconds: float = 5.0) -> Any:
        """A study attribute that another process is about to set."""
        until = time.monotonic() + (seconds if self._is_shared else 0)
        while True:
            value = self._study.user_attrs.get(key)
            if value is not None or time.monotonic() >= until:
                return value
            time.sleep(POLL_SECONDS)

    def use(self, sampler: AssignmentSampler) -> None:
        """Let ``sampler`` propose trials."""
        sampler.has_rivals = self._is_shared
        self._study.sampler = sampler

    def close(self) -> None:
        """Give no more signs of life, and let go of the database.

        A SQLite file is whole by itself from then on. A server that is gone is not waited for.
        """
        self.stop_waiting()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._seeding is not None:
            with contextlib.suppress(*UNREACHABLE):
                self._seeding.leave()
        self._disconnect()

    def stop_waiting(self) -> None:
        """Do not wait for a server that is gone, from now on."""
        if isinstance(self._storage, Database) and self._storage.outage is not None:
            self._storage.outage.give_up()

    def _disconnect(self) -> None:
        if isinstance(self._storage, Database):
            self._storage.close()

    # --- seeds -------------------------------------------------------------------------------

    @property
    def needs_seeds(self) -> bool:
        """Whether this process has to queue the first trials.

        One of all processes does; the others wait here, and one of them takes over if it dies.
        """
        while not self._study.user_attrs.get(_SEEDED):
            if self._heartbeat is None or self._seeding is None:
                return True
            if self._seeding.take(self._grace):
                self._heartbeat.keep(_SEEDER, self._seeding.renew)
                # Whoever held the lease before may have finished since the last look.
                return not self._study.user_attrs.get(_SEEDED)
            time.sleep(POLL_SECONDS)
        return False

    def seed(self, assignments: list[tuple[Codes, str]]) -> None:
        """Queue the first trials, each codes and an origin; what is queued already is left out.

        If another process has taken this one for dead meanwhile, all are left to it.
        """
        if self._seeding is not None and self._seeding.is_lost and not self.needs_seeds:
            return
        known = {
            codes_of(t.user_attrs[ASSIGNMENT]).tobytes()
            for t in self._study.get_trials(deepcopy=False)
            if ASSIGNMENT in t.user_attrs
        }
        for codes, origin in assignments:
            if codes.tobytes() not in known:
                known.add(codes.tobytes())
                self.enqueue(codes, origin)
        self._study.set_user_attr(_SEEDED, True)
        if self._heartbeat is not None:
            self._heartbeat.remove(_SEEDER)

    def enqueue(self, codes: Codes, origin: str) -> None:
        """Queue an assignment, given by its codes, to be tried before the sampler is asked."""
        with _quiet():
            self._study.enqueue_trial({}, user_attrs={ASSIGNMENT: record_of(codes, origin)})

    def keep_screening(self, distortion: list[list[float]]) -> None:
        """Keep what screening predicts, shape ``(groups, choices)``."""
        self._study.set_user_attr(_SCREENING, distortion)

    def screening(self) -> list[list[float]] | None:
        """What `keep_screening` kept."""
        distortion: list[list[float]] | None = self._study.user_attrs.get(_SCREENING)
        return distortion

    def keep_offer(self, offer: Offer) -> None:
        """Keep which choices each group is offered."""
        self._study.set_user_attr(_OFFER, offer.to_lists())

    def offer(self) -> Offer:
        """What `keep_offer` kept; all choices in a study of an earlier version."""
        lists: list[list[int]] | None = self._study.user_attrs.get(_OFFER)
        choices = len(self.space.choices)
        if lists is None:
            return Offer.everything(self.space.size, choices)
        return Offer.of_lists(lists, choices)

    # --- trials ------------------------------------------------------------------------------

    def ask(self) -> Pending:
        """The next trial.

        Raises:
            SpaceExhausted: the sampler has nothing left to propose.
        """
        with _quiet():
            trial = self._study.ask()
        if self._heartbeat is not None:
            self._heartbeat.add(trial._trial_id)
        # The sampler wrote its proposal to the storage, past the copy that ``trial`` holds.
        record = self._study._storage.get_trial(trial._trial_id).user_attrs[ASSIGNMENT]
        codes = codes_of(record)
        return Pending(
            trial.number, record["origin"], codes, self.space.decode(codes), trial._trial_id
        )

    def tell(self, pending: Pending, outcome: Outcome) -> Trial:
        """Keep what scoring found for a trial that `ask` gave.

        A trial that another process has finished meanwhile, taking this one for dead, is left as
        it is.

        Returns:
            The trial.
        """
        problem = self.problem
        third = None
        if problem.third is not None:
            third = float(problem.thirds(pending.codes[None])[0])
        energy_rel = problem.energy_rel(pending.codes)
        trial = Trial.of(pending, outcome, energy_rel=energy_rel, third=third)
        if self._heartbeat is not None:
            self._heartbeat.remove(pending.trial_id)
        storage = self._study._storage
        values = [min(v, WORST) if math.isfinite(v) else WORST for v in trial.objectives]
        with contextlib.suppress(UpdateFinishedTrialError):
            storage.set_trial_user_attr(pending.trial_id, RESULT, trial.to_record())
            storage.set_trial_state_values(pending.trial_id, TrialState.COMPLETE, values)
        return trial

    def give_back(self, pending: Pending) -> None:
        """Put a trial back into the queue, unscored."""
        if self._heartbeat is not None:
            self._heartbeat.remove(pending.trial_id)
        with contextlib.suppress(UpdateFinishedTrialError):
            self._forget_beat(pending.trial_id)
            self._study._storage.set_trial_state_values(pending.trial_id, TrialState.WAITING)

    def trials(self) -> list[Trial]:
        """Every scored trial, in order."""
        for frozen in self._in_state(TrialState.COMPLETE):
            if frozen.number not in self._trials:
                self._trials[frozen.number] = self._trial(frozen)
        return [self._trials[number] for number in sorted(self._trials)]

    def _trial(self, frozen: FrozenTrial) -> Trial:
        proposal = frozen.user_attrs[ASSIGNMENT]
        return Trial.from_record(
            frozen.user_attrs[RESULT],
            number=frozen.number,
            assignment=self.space.decode(codes_of(proposal)),
            proposal=proposal,
        )

    @property
    def complete(self) -> int:
        """Number of scored trials."""
        return len(self._in_state(TrialState.COMPLETE))

    @property
    def open(self) -> int:
        """Number of trials that are scored or being scored, by whichever process."""
        return len(self._in_state(TrialState.COMPLETE, TrialState.RUNNING))

    def open_before(self, pending: Pending) -> int:
        """Number of trials with a lower number that are scored or being scored.

        Always 0 where this process works alone: nobody else asks at the same time.
        """
        if not self._is_shared:
            return 0
        opened = self._in_state(TrialState.COMPLETE, TrialState.RUNNING)
        return sum(trial.number < pending.number for trial in opened)

    @property
    def running(self) -> int:
        """Number of trials that are being scored, by whichever process."""
        return len(self._in_state(TrialState.RUNNING))

    @property
    def waiting(self) -> int:
        """Number of trials in the queue."""
        return len(self._in_state(TrialState.WAITING))

    def _in_state(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    # --- trials of processes that died -------------------------------------------------------

    def requeue_dead(self) -> int:
        """Queue the trials of processes that died again, under their own numbers; how many."""
        if self._heartbeat is None or self._is_just_back:
            return 0
        stale = set(self._rdb._get_stale_trial_ids(self._study._study_id))
        running = self._in_state(TrialState.RUNNING)
        # A process can die before its first sign of life; by this one's own clock, since others'
        # may differ.
        now = time.monotonic()
        beating = self._beating() if running else set()
        silent = [t._trial_id for t in running if t._trial_id not in beating]
        self._first_seen = {key: self._first_seen.get(key, now) for key in silent}
        stale |= {key for key in silent if now - self._first_seen[key] > self._grace}
        dead = [trial for trial in running if trial._trial_id in stale]
        self._requeue(dead)
        return len(dead)

    @property
    def _is_just_back(self) -> bool:
        """Whether the server was gone a moment ago: those who live have yet to say so again."""
        outage = self._storage.outage if isinstance(self._storage, Database) else None
        ended = None if outage is None else outage.ended
        return ended is not None and time.monotonic() - ended < 2 * self._beat_seconds

    @going_on
    def _beating(self) -> set[int]:
        with self._rdb.engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT trial_id FROM trial_heartbeats"))
            return {int(row[0]) for row in rows}

    @going_on
    def _forget_beat(self, trial_id: int) -> None:
        """Delete the old heartbeat, so that a requeued trial is not taken for dead."""
        if self._is_shared:
            with self._rdb.engine.begin() as connection:
                delete = sqlalchemy.text("DELETE FROM trial_heartbeats WHERE trial_id = :id")
                connection.execute(delete, {"id": trial_id})

    def _requeue(self, trials: list[FrozenTrial]) -> None:
        storage = self._study._storage
        for trial in trials:
            # One whose process died before it had an assignment is given one when it is asked for,
            # the same, as that depends on its number.
            with contextlib.suppress(UpdateFinishedTrialError):
                self._forget_beat(trial._trial_id)
                storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    # --- the close ---------------------------------------------------------------------------

    def keep_closing(self, key: str, record: dict[str, Any]) -> None:
        """Keep a result that belongs to the study's close, not to one trial's scoring."""
        self._study.set_user_attr(CLOSING + key, record)

    def closing(self, key: str) -> dict[str, Any] | None:
        """What `keep_closing` kept under ``key``."""
        record: dict[str, Any] | None = self._study.user_attrs.get(CLOSING + key)
        return record


def _opened(
    storage: BaseStorage, name: str, sampler: AssignmentSampler | None, problem: Problem
) -> tuple[optuna.Study, bool]:
    """The study, and whether it was made just now."""
    directions = [StudyDirection.MINIMIZE] * (2 if problem.third is None else 3)
    try:
        made = optuna.create_study(
            storage=storage, study_name=name, directions=directions, sampler=sampler
        )
        return made, True
    except DuplicatedStudyError:
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler), False
    except Exception as error:  # SQLAlchemy's own hierarchy is not part of Optuna's interface
        raise InputError(f"the storage is not the database of a search: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's remarks on experimental functions and on heartbeats under ask and tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        yield
