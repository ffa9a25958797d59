"""A run as its folder and its database tell it, without loading its network."""

import dataclasses
from pathlib import Path

from dse.problem import Trial
from dse.results._closing import Closing
from dse.results._run_folder import Run
from dse.study import MEASURE, STUDY_NAME, StoredStudy, read_study
from luts.errors import InputError
from luts.text import quoted
from models import Measure, Routing, Score


def study_of(run: Run) -> StoredStudy:
    """The study of a run.

    Raises:
        InputError: it cannot be read, or was not made by this program.
    """
    config = run.config
    where: Path | str = config.storage or run.database
    study = read_study(where, config.study or STUDY_NAME)
    if study is None:
        raise InputError(f"{run.path}: the study {config.study or STUDY_NAME!r} is not in {where}")
    return study


def known_measure(run: Run) -> Measure | None:
    """What a run is searched by, or None before its study is made, or by accuracy.

    None too of a study of an earlier version.

    Raises:
        InputError: the study cannot be read, or was not made by this program.
    """
    config = run.config
    where: Path | str = config.storage or run.database
    study = read_study(where, config.study or STUDY_NAME, with_trials=False)
    kept = None if study is None else study.identity.get(MEASURE)
    return None if kept is None else Measure(**kept)


def read_closing(run: Run) -> Closing:
    """What a finished search has found.

    Raises:
        InputError: the run is not finished, or was finished by an earlier version.
    """
    study = study_of(run)
    summary = study.closings.get(Closing.KEY)
    if summary is None:
        raise InputError(
            f"{run.path} is not finished, or was finished by an earlier version; python -m "
            f"dse.search --resume {quoted(run.path)} finishes it"
        )
    trials = {n: _closed(study, n, trial) for n, trial in sorted(study.trials.items())}
    routings = {
        number: Routing(**record["routing"])
        for number in trials
        if (record := study.closings.get(f"trial-{number}")) and record.get("routing")
    }
    return Closing.from_summary(summary, trials, routings)


def _closed(study: StoredStudy, number: int, trial: Trial) -> Trial:
    """The trial with what the close of the search added."""
    record, whole = study.closings.get(f"trial-{number}"), study.closings.get(f"whole-{number}")
    if record is not None:
        trial = trial.closed(record)
        if whole is not None:
            score = Score.from_dict(whole["validation"])
            trial = dataclasses.replace(trial, whole_validation=score)
    return trial
