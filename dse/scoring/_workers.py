"""Who scores assignments: this process, or several others on this machine."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from dse.problem import Outcome, Pending
from dse.scoring._evaluate import Evaluator
from luts.console import keep_freed_memory
from luts.errors import InputError

MOST_DEATHS = 3
"""Workers that may die over one trial before the search gives up."""


DEAD = (BrokenProcessPool, OSError, EOFError)
"""What handing out a trial raises where a worker, or the server that makes them, is dead."""

Scorer = Callable[[Pending], Outcome]
"""Scores what a trial proposes."""


def score(evaluator: Evaluator, epochs: float, seed: int, pending: Pending) -> Outcome:
    """Score a trial's assignment.

    Args:
        evaluator: recovers and scores.
        epochs: of fine-tuning before the score that counts, or 0 for none.
        seed: of fine-tuning; the trial's number is added to it.
        pending: the trial.
    """
    outcome = evaluator.score(pending.assignment)
    if not epochs:
        return outcome
    tuned = evaluator.fine_tune(pending.assignment, epochs=epochs, seed=seed + pending.number)
    seconds = outcome.seconds + tuned.seconds
    return dataclasses.replace(outcome, tuned=tuned.validation, note=tuned.note, seconds=seconds)


class Workers(Protocol):
    """Take trials, give outcomes."""

    size: int

    def submit(self, pending: Pending) -> None:
        """Start to score a trial; at most ``size`` at a time."""

    def wait(self) -> list[tuple[Pending, Outcome]]:
        """Outcomes of the trials that are scored, at least one."""

    @property
    def busy(self) -> list[Pending]:
        """Trials that are being scored."""

    def close(self) -> None:
        """Let the workers go."""


class ThisProcess:
    """This process scores, one trial at a time."""

    size = 1

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._submitted: list[Pending] = []

    def submit(self, pending: Pending) -> None:
        """Note the trial."""
        self._submitted.append(pending)

    def wait(self) -> list[tuple[Pending, Outcome]]:
        """Score the trial."""
        pending = self._submitted[0]
        outcome = self._scorer(pending)
        self._submitted.pop(0)
        return [(pending, outcome)]

    @property
    def busy(self) -> list[Pending]:
        """The trial that is being scored."""
        return list(self._submitted)

    def close(self) -> None:
        """Nothing to let go."""


_scorer: Scorer | None = None


def _start(make: Callable[[], Scorer], threads: int) -> None:
    global _scorer
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    keep_freed_memory()
    # What there is to warn of, the process that hands out trials has said.
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    _scorer = make()


def _end_with_parent() -> None:
    """End this worker once the process that handed out trials is gone, whatever ended it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(pending: Pending) -> Outcome:
    assert _scorer is not None
    return _scorer(pending)


class WorkerPool:
    """Several processes score; the study stays with this one, so that it has a single writer.

    When a worker dies, the others are replaced with it and all open trials start again. When this
    process dies, the workers end.

    Args:
        make: called once in every worker, makes the function that scores; must be picklable.
        size: processes.

    Raises:
        InputError: from `submit` and `wait`: workers died again and again over one trial.
    """

    def __init__(self, make: Callable[[], Scorer], size: int) -> None:
        self.size = size
        self._make = make
        self._open: dict[int, tuple[Pending, int]] = {}
        self._futures: dict[concurrent.futures.Future[Outcome], int] = {}
        # A server that has imported everything makes a new worker in a moment.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dse.scoring", "dse.study"])
        self._executor = self._executed()

    def _executed(self) -> concurrent.futures.ProcessPoolExecutor:
        threads = max(1, len(os.sched_getaffinity(0)) // self.size)
        return concurrent.futures.ProcessPoolExecutor(
            self.size,
            mp_context=self._context,
            initializer=_start,
            initargs=(self._make, threads),
        )

    def submit(self, pending: Pending) -> None:
        """Hand the trial to a worker."""
        self._open[pending.number] = (pending, 0)
        self._hand_out(pending.number)

    def _hand_out(self, number: int) -> None:
        try:
            self._futures[self._executor.submit(_work, self._open[number][0])] = number
        except DEAD:
            self._replace()

    def wait(self) -> list[tuple[Pending, Outcome]]:
        """Outcomes of the trials that are scored, at least one."""
        outcomes: list[tuple[Pending, Outcome]] = []
        while not outcomes:
            done, _ = concurrent.futures.wait(
                self._futures, return_when=concurrent.futures.FIRST_COMPLETED
            )
            try:
                for future in sorted(done, key=self._futures.__getitem__):
                    outcome = future.result()
                    number = self._futures.pop(future)
                    outcomes.append((self._open.pop(number)[0], outcome))
            except BrokenProcessPool:
                self._replace()
        return outcomes

    def _replace(self) -> None:
        is_whole = False
        while not is_whole:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._futures.clear()
            self._executor = self._executed()
            for number, (pending, deaths) in self._open.items():
                if deaths == MOST_DEATHS:
                    raise InputError(
                        f"workers died {MOST_DEATHS} times while scoring trial {number}; a lack of "
                        f"memory is the usual cause: use fewer --workers"
                    )
                self._open[number] = (pending, deaths + 1)
            with contextlib.suppress(*DEAD):  # new ones can die as well
                for number, (pending, _) in self._open.items():
                    self._futures[self._executor.submit(_work, pending)] = number
                is_whole = True

    @property
    def busy(self) -> list[Pending]:
        """Trials that are being scored."""
        return [pending for pending, _ in self._open.values()]

    def close(self) -> None:
        """End the workers."""
        self._executor.shutdown(wait=False, cancel_futures=True)
