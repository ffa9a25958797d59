"""A study as it lies in its database, read without altering anything."""

import contextlib
import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

from dse.problem import Problem, Trial
from dse.samplers import ASSIGNMENT, RESULT, codes_of
from dse.study._paths import placeless
from dse.study._storage import Database, address, check_tables, sqlite_file, without_password
from luts import EXACT, catalog
from luts.errors import InputError
from models import Assignment, Choice

IDENTITY = "identity"
CLOSING = "closing:"
"""Prefix of the keys of what is kept of a study's close."""

CONTENT = "content_sha256"
RECIPE = "recovery"
"""How candidates are recovered before they are scored."""
OPERANDS = "relative toggles of the exact circuit"
"""What tells the operands that energies were charged by, under the energy model ``activity``."""
METRIC = "metric"
"""Name of the user's own score, where accuracy and cross-entropy are not what counts."""
MEASURE = "measure"
"""What that score is, as `models.Measure` has it."""
STUDY_NAME = "search"
SCORING = (
    "finetune",
    "finetune_epochs",
    "rung_images",
    "calibration_images",
    "objective",
    "max_distinct",
    "max_drop",
    "max_energy",
)
"""Settings that decide what a trial is and how it is scored.

Studies of earlier versions record neither them nor `CONTENT` nor `MEASURE`.
"""

FOUNDING_SECONDS = 5.0
"""How long a study on a server may take from being made to saying what it is."""


@dataclasses.dataclass(frozen=True)
class StoredStudy:
    """What a database says about a study.

    Attributes:
        shown: what to call it in messages.
        identity: what it searches and on what, as `SearchStudy` keeps it.
        trials: every scored trial, by number.
        closings: what was kept of its close, by key.
    """

    shown: str
    identity: Mapping[str, Any]
    trials: Mapping[int, Trial]
    closings: Mapping[str, Any]

    def assignment(self, number: int) -> Assignment:
        """What a trial tried, with the tables that it was tried with.

        Raises:
            InputError: the study has no such scored trial.
        """
        if number not in self.trials:
            raise InputError(f"{self.shown} has no scored trial {number}")
        return self.trials[number].assignment

    @property
    def multipliers(self) -> tuple[str, ...]:
        """Names of the multipliers that were searched."""
        return tuple(dict.fromkeys(name for name, *_ in self.identity["space"]["choices"]))


def _assignment(space: Mapping[str, Any], codes: Sequence[int]) -> Assignment:
    """What codes stand for in the space of a study's identity."""
    tables = {EXACT: catalog[EXACT].sha256} | {name: sha for name, _, sha, *_ in space["choices"]}
    choices = {site: Choice(*kept) for site, kept in space["fixed"].items()}
    for group, code in zip(space["groups"], codes, strict=True):
        name, swapped, _, *rounded = space["choices"][code]
        choices |= dict.fromkeys(group, Choice(name, swapped, *rounded))
    return Assignment(choices=choices, tables=tables)


def space_record(problem: Problem) -> dict[str, Any]:
    """The part of a study's identity that says what its codes mean."""
    space = problem.space
    return {
        "groups": [list(group) for group in space.groups],
        "choices": [
            [c.multiplier, c.swapped, space.catalog[c.multiplier].sha256, *[True] * c.rounded]
            for c in space.choices
        ],
        "fixed": {
            name: [choice.multiplier, choice.swapped] for name, choice in space.fixed.items()
        },
        "third": problem.third,
    }


def check_identity(known: Mapping[str, Any], mine: Mapping[str, Any], shown: str) -> None:
    """Compare a study's identity with what it is to be continued with.

    What a study of an earlier version does not record is not compared.

    Raises:
        InputError: they differ.
    """
    if known.get(METRIC) != mine.get(METRIC):
        by = [record.get(METRIC) or "accuracy" for record in (known, mine)]
        raise InputError(
            f"{shown} belongs to a search by {by[0]} and not by {by[1]}; name another study"
        )
    for key, value in mine.items():
        if key in (*SCORING, CONTENT, MEASURE) and key not in known:
            continue
        if is_same(key, known.get(key), value):
            continue
        what = f"with {key} {known.get(key)!r} and not {value!r}"
        if key == "space":
            what = "over other sites or multipliers"
        if key == RECIPE:
            what = f"whose candidates were recovered by {_recipe(known)} and not {_recipe(mine)}"
        if key == CONTENT:
            what = "on other images or labels under the same name"
        raise InputError(f"{shown} belongs to a search {what}; name another study")


def is_same(key: str, known: Any, mine: Any) -> bool:
    """Whether a part of an identity, as it was kept, agrees with another."""
    return bool(placeless(key, known) == placeless(key, json.loads(json.dumps(mine))))


def _recipe(identity: Mapping[str, Any]) -> str:
    """A recovery in a few words."""
    if RECIPE not in identity:
        return "the recipe of an earlier version"
    steps = [f"{key}={value}" for key, value in sorted(identity[RECIPE].items())]
    return "(" + ", ".join(steps) + ")"


def read_study(
    where: Path | str, name: str = STUDY_NAME, *, with_trials: bool = True
) -> StoredStudy | None:
    """A study, or None if there is no database or no study of this name in it.

    Args:
        where: a SQLite file, or the URL of a database server.
        name: of the study.
        with_trials: read its trials too.

    Raises:
        InputError: the database cannot be reached or read, or this program did not make the study.
    """
    if isinstance(where, Path) and not where.exists():
        return None
    is_copy = sqlite_file(where) is not None
    with reading(where) as (storage, shown):
        if storage is None:
            return None
        shown = f"study {name!r} in {shown}" if isinstance(where, str) else shown
        try:
            study = optuna.load_study(study_name=name, storage=storage)
            identity = _identity(study, seconds=0 if is_copy else FOUNDING_SECONDS)
            complete = (TrialState.COMPLETE,)
            if identity is None and is_bare(study):
                return None
            trials = study.get_trials(deepcopy=False, states=complete) if with_trials else []
            attributes = study.user_attrs
        except KeyError:
            return None
        except Exception as error:  # SQLAlchemy's own hierarchy is not part of Optuna's interface
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{shown} cannot be read: {reason}") from error
    if not isinstance(identity, dict) or "space" not in identity:
        raise InputError(f"{shown} was made by something else than this program")
    kept = {
        key.removeprefix(CLOSING): value
        for key, value in attributes.items()
        if key.startswith(CLOSING)
    }
    return StoredStudy(shown, identity, {t.number: _trial(identity, t) for t in trials}, kept)


def is_bare(study: optuna.Study) -> bool:
    """Whether a study of several objectives was made and nothing was ever written to it."""
    untouched = not (study.user_attrs or study.get_trials(deepcopy=False))
    return untouched and len(study.directions) > 1


def _trial(identity: Mapping[str, Any], frozen: FrozenTrial) -> Trial:
    proposal = frozen.user_attrs[ASSIGNMENT]
    return Trial.from_record(
        frozen.user_attrs[RESULT],
        number=frozen.number,
        assignment=_assignment(identity["space"], codes_of(proposal).tolist()),
        proposal=proposal,
    )


def _identity(study: optuna.Study, *, seconds: float) -> Any:
    """What another process is about to write if it is making the study at this moment."""
    until = time.monotonic() + seconds
    while True:
        identity = study.user_attrs.get(IDENTITY)
        if identity is not None or time.monotonic() >= until:
            return identity
        time.sleep(0.2)


@contextlib.contextmanager
def reading(where: Path | str) -> Iterator[tuple[Database | None, str]]:
    """The database, or None if it is empty; a file is read from a copy.

    SQLite writes beside a file that is in write-ahead mode even to read it.
    """
    with contextlib.ExitStack() as stack:
        shown, file = without_password(where), sqlite_file(where)
        if file is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                for end in ("", "-wal", "-journal"):
                    path = file.with_name(file.name + end)
                    if path.exists():
                        shutil.copyfile(path, folder / path.name)
            except OSError as error:
                raise InputError(f"cannot read {shown}: {error}") from error
            where = folder / file.name
        if not check_tables(where):
            yield None, shown
            return
        storage = _opened(where, shown)
        try:
            yield storage, shown
        finally:
            storage.close()


def _opened(where: Path | str, shown: str) -> Database:
    settings = {}
    if address(where)[0].startswith("postgresql"):
        settings = {"connect_args": {"options": "-c default_transaction_read_only=on"}}
    try:
        return Database(where, skip_table_creation=True, engine_kwargs=settings)
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{shown} is not the database of a search: {reason}") from error
