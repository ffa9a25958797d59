"""The study: every trial of one search, in one database that Optuna keeps."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.event
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from dse._space import Codes, SearchSpace
from dse._trial import Trial
from dse.samplers import ASSIGNMENT, ORIGIN, AssignmentSampler
from luts.errors import InputError
from models import Assignment, Score

STUDY_NAME = "search"
_RESULT = "result"
_SPACE = "space"
_CLOSING = "closing:"


@dataclasses.dataclass(frozen=True)
class Pending:
    """A trial that waits for its scores.

    Attributes:
        number: of the trial.
        origin: who proposed it.
        assignment: what to score.
    """

    number: int
    origin: str
    assignment: Assignment
    _optuna: optuna.Trial = dataclasses.field(repr=False, compare=False)


class SearchStudy:
    """Asks for trials, keeps their scores. Objectives, both minimised: energy, validation score.

    Args:
        path: the SQLite file, made if missing.
        space: sites and choices.
        sampler: proposes trials once the queue is empty.

    Raises:
        InputError: the file holds a study of another search space, or is no study.
    """

    def __init__(self, path: Path, space: SearchSpace, sampler: AssignmentSampler) -> None:
        self.space = space
        try:
            self._study = optuna.create_study(
                storage=_storage(path),
                study_name=STUDY_NAME,
                directions=["minimize", "minimize"],
                sampler=sampler,
                load_if_exists=True,
            )
        except Exception as error:  # SQLAlchemy's own hierarchy is not part of Optuna's interface
            raise InputError(f"{path} is not the database of a search: {error}") from error
        self._claim_space(path)
        self._requeue_interrupted()

    def _claim_space(self, path: Path) -> None:
        mine = _space_record(self.space)
        known = self._study.user_attrs.get(_SPACE)
        if known is None:
            self._study.set_user_attr(_SPACE, mine)
        elif known != mine:
            raise InputError(f"{path} belongs to a search over other sites or multipliers")

    def _requeue_interrupted(self) -> None:
        # What was running when the program was stopped is scored again, under its own number.
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            storage = self._study._storage
            if ASSIGNMENT in trial.user_attrs:
                storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            else:
                storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    @property
    def is_new(self) -> bool:
        """Whether no trial was ever queued."""
        return not self._study.get_trials(deepcopy=False)

    def enqueue(self, codes: Codes, origin: str) -> None:
        """Queue an assignment, given by its codes, to be tried before the sampler is asked."""
        attributes = {ORIGIN: origin, ASSIGNMENT: self.space.decode(codes).to_json()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.enqueue_trial({}, user_attrs=attributes)

    def ask(self) -> Pending:
        """The next trial."""
        trial = self._study.ask()
        # The sampler wrote its proposal to the storage, past the copy that ``trial`` holds.
        attributes = self._study._storage.get_trial(trial._trial_id).user_attrs
        assignment = Assignment.from_json(attributes[ASSIGNMENT])
        return Pending(trial.number, attributes[ORIGIN], assignment, trial)

    def tell(self, pending: Pending, trial: Trial) -> None:
        """Keep what was found for a trial that `ask` gave."""
        pending._optuna.set_user_attr(_RESULT, _result_record(trial))
        self._study.tell(pending._optuna, trial.objectives)

    def trials(self) -> list[Trial]:
        """Every scored trial, in order."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [_trial(frozen.number, frozen.user_attrs) for frozen in complete]

    def keep_closing(self, key: str, record: dict[str, Any]) -> None:
        """Keep a result that belongs to the study's close, not to one trial's scoring."""
        self._study.set_user_attr(_CLOSING + key, record)

    def closing(self, key: str) -> dict[str, Any] | None:
        """What `keep_closing` kept under ``key``."""
        found: dict[str, Any] | None = self._study.user_attrs.get(_CLOSING + key)
        return found


def _storage(path: Path) -> RDBStorage:
    storage = RDBStorage(f"sqlite:///{path}")

    def configure(connection: Any, record: object) -> None:
        # A killed process loses nothing under these, and a commit does not wait for the disk.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    sqlalchemy.event.listen(storage.engine, "connect", configure)
    storage.engine.dispose()
    return storage


def _space_record(space: SearchSpace) -> str:
    record = {
        "free": space.free,
        "choices": [
            [choice.multiplier, choice.swapped, space.catalog[choice.multiplier].sha256]
            for choice in space.choices
        ],
    }
    return json.dumps(record)


def _result_record(trial: Trial) -> dict[str, Any]:
    record = dataclasses.asdict(dataclasses.replace(trial, assignment=Assignment({}, {})))
    for known in ("number", "origin", "assignment"):
        del record[known]
    return record


def _trial(number: int, attributes: dict[str, Any]) -> Trial:
    record = dict(attributes[_RESULT])
    for field in ("validation", "tuned_validation", "test"):
        record[field] = None if record[field] is None else Score(**record[field])
    return Trial(
        number=number,
        origin=attributes[ORIGIN],
        assignment=Assignment.from_json(attributes[ASSIGNMENT]),
        **record,
    )
