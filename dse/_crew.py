"""Who scores assignments: this process, or several others on this machine."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from dse._evaluate import Evaluator
from dse._study import Pending
from models import Assignment, Score

MOST_DEATHS = 3
"""Workers that may die over one trial before the search gives up."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is asked of a scorer.

    Attributes:
        assignment: to be scored after recovery.
        epochs: of fine-tuning, or 0 for none.
        seed: of fine-tuning.
    """

    assignment: Assignment
    epochs: float
    seed: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a scorer found.

    Attributes:
        validation: score after recovery without fine-tuning.
        fidelity: what that recovery was, in a word.
        tuned: score after fine-tuning, if asked for.
        note: which state fine-tuning kept.
        seconds: wall-clock time.
    """

    validation: Score
    fidelity: str
    tuned: Score | None
    note: str
    seconds: float


def score(evaluator: Evaluator, job: Job) -> Outcome:
    """Do one job."""
    measured = evaluator.score(job.assignment)
    if not job.epochs:
        return Outcome(measured.score, evaluator.fidelity, None, "", measured.seconds)
    tuned = evaluator.fine_tune(job.assignment, epochs=job.epochs, seed=job.seed)
    seconds = measured.seconds + tuned.seconds
    return Outcome(measured.score, evaluator.fidelity, tuned.validation, tuned.note, seconds)


class Crew(Protocol):
    """Takes jobs, gives outcomes."""

    size: int

    def submit(self, pending: Pending, job: Job) -> None:
        """Start a job; at most ``size`` at a time."""

    def wait(self) -> list[tuple[Pending, Outcome]]:
        """Outcomes of the jobs that are done, at least one."""

    @property
    def busy(self) -> list[Pending]:
        """Trials whose jobs are not done."""

    def close(self) -> None:
        """Let the workers go."""


class Alone:
    """This process scores, one trial at a time."""

    size = 1

    def __init__(self, scorer: Callable[[Job], Outcome]) -> None:
        self._scorer = scorer
        self._jobs: list[tuple[Pending, Job]] = []

    def submit(self, pending: Pending, job: Job) -> None:
        """Note the job."""
        self._jobs.append((pending, job))

    def wait(self) -> list[tuple[Pending, Outcome]]:
        """Do the job."""
        pending, job = self._jobs[0]
        outcome = self._scorer(job)
        self._jobs.pop(0)
        return [(pending, outcome)]

    @property
    def busy(self) -> list[Pending]:
        """The trial whose job is not done."""
        return [pending for pending, _ in self._jobs]

    def close(self) -> None:
        """Nothing to let go."""


_scorer: Callable[[Job], Outcome] | None = None


def _start(make: Callable[[], Callable[[Job], Outcome]], threads: int) -> None:
    global _scorer
    import torch

    torch.set_num_threads(threads)
    _scorer = make()


def _work(job: Job) -> Outcome:
    assert _scorer is not None
    return _scorer(job)


class Pool:
    """Several processes score; the study stays with this one, so that it has a single writer.

    When a worker dies, the others are replaced with it and all open jobs start again.

    Args:
        make: called once in every worker, makes the function that scores; must be picklable.
        size: processes.
    """

    def __init__(self, make: Callable[[], Callable[[Job], Outcome]], size: int) -> None:
        self.size = size
        self._make = make
        self._open: dict[int, tuple[Pending, Job, int]] = {}
        self._futures: dict[concurrent.futures.Future[Outcome], int] = {}
        # A server that has imported everything makes a new worker in a moment.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dse._evaluate", "dse._study"])
        self._executor = self._executed()

    def _executed(self) -> concurrent.futures.ProcessPoolExecutor:
        threads = max(1, len(os.sched_getaffinity(0)) // self.size)
        return concurrent.futures.ProcessPoolExecutor(
            self.size,
            mp_context=self._context,
            initializer=_start,
            initargs=(self._make, threads),
        )

    def submit(self, pending: Pending, job: Job) -> None:
        """Hand the job to a worker."""
        self._open[pending.number] = (pending, job, 0)
        self._hand_out(pending.number)

    def _hand_out(self, number: int) -> None:
        try:
            self._futures[self._executor.submit(_work, self._open[number][1])] = number
        except BrokenProcessPool:
            self._replace()

    def wait(self) -> list[tuple[Pending, Outcome]]:
        """Outcomes of the jobs that are done, at least one."""
        found: list[tuple[Pending, Outcome]] = []
        while not found:
            done, _ = concurrent.futures.wait(
                self._futures, return_when=concurrent.futures.FIRST_COMPLETED
            )
            try:
                for future in sorted(done, key=self._futures.__getitem__):
                    outcome = future.result()
                    number = self._futures.pop(future)
                    found.append((self._open.pop(number)[0], outcome))
            except BrokenProcessPool:
                self._replace()
        return found

    def _replace(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._futures.clear()
        self._executor = self._executed()
        for number, (pending, job, deaths) in list(self._open.items()):
            if deaths + 1 > MOST_DEATHS:
                raise RuntimeError(
                    f"workers died {MOST_DEATHS} times while scoring trial {number}; a lack of "
                    f"memory is the usual cause: use fewer --workers"
                )
            self._open[number] = (pending, job, deaths + 1)
            self._futures[self._executor.submit(_work, job)] = number

    @property
    def busy(self) -> list[Pending]:
        """Trials whose jobs are not done."""
        return [pending for pending, _, _ in self._open.values()]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return list(self._executor._processes or {})

    def close(self) -> None:
        """End the workers."""
        self._executor.shutdown(wait=False, cancel_futures=True)
