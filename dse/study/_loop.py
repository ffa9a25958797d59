"""The loop of every search: ask, score, tell, until the budget is spent."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator

from dse.problem import Trial
from dse.samplers import SpaceExhausted
from dse.scoring import Workers
from dse.study._outage import UNREACHABLE
from dse.study._study import SearchStudy

WAIT_SECONDS = 1.0

Advance = Callable[..., None]
"""Called with the number of trials that were scored since the last call, and ``status``."""


def run_trials(study: SearchStudy, workers: Workers, budget: int, advance: Advance) -> float:
    """Score trials until the study has ``budget`` of them, or nothing is left to try.

    Other processes may work on the same study, and may die: their trials are then scored here.
    Trials that were not scored go back into the queue if this is interrupted.

    Args:
        study: proposes and keeps trials.
        workers: score them; closed at the end.
        budget: trials of the study, those of other processes included.
        advance: shows the progress.

    Returns:
        Processor seconds that asking for trials took.
    """
    try:
        with _older_objects_left_alone():
            return _Loop(study, workers, budget, advance).run()
    except BaseException:
        study.stop_waiting()
        for pending in workers.busy:
            with contextlib.suppress(*UNREACHABLE):
                study.give_back(pending)
        raise
    finally:
        workers.close()


@contextlib.contextmanager
def _older_objects_left_alone() -> Iterator[None]:
    """Inside, Python's collector looks for garbage among new objects only.

    Each trial makes enough of them for it to go through all that the libraries ever made: 3 % of
    the time of a trial of ResNet-20.
    """
    if gc.get_freeze_count():  # by the user
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Loop:
    def __init__(self, study: SearchStudy, workers: Workers, budget: int, advance: Advance) -> None:
        self._study, self._workers = study, workers
        self._budget, self._advance = budget, advance
        self._is_exhausted = False
        self._asking_seconds = 0.0

    def run(self) -> float:
        study, workers, shown = self._study, self._workers, 0
        while True:
            study.requeue_dead()
            # The trials of a process that died wait for any process, whichever has noticed it.
            self._is_exhausted = self._is_exhausted and not study.waiting
            self._hand_out()
            status = None
            for pending, outcome in workers.wait() if workers.busy else ():
                status = _status(study.tell(pending, outcome))
            done = min(study.complete, self._budget)
            self._advance(done - shown, status=status)
            shown = done
            if workers.busy:
                continue
            rests = self._is_exhausted and not (study.running or study.waiting)
            if done >= self._budget or rests:
                return self._asking_seconds
            if self._is_exhausted or study.open >= self._budget:
                time.sleep(WAIT_SECONDS)  # other processes have the last trials, and may die

    def _hand_out(self) -> None:
        """Ask for trials until every worker has one."""
        study, workers = self._study, self._workers
        while (
            not self._is_exhausted
            and len(workers.busy) < workers.size
            and study.open < self._budget
        ):
            started = time.process_time()
            try:
                pending = study.ask()
            except SpaceExhausted:
                self._is_exhausted = True
                return
            finally:
                self._asking_seconds += time.process_time() - started
            if study.open_before(pending) >= self._budget:
                study.give_back(pending)  # another process has asked for the last one just before
                return
            workers.submit(pending)


def _status(trial: Trial) -> str:
    return f"energy {trial.energy_rel:.3f}  {trial.validation.shown(1)}"
