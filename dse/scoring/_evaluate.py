"""Scoring an assignment: emulate, recover, measure."""

import copy
import dataclasses
import time
from typing import Any

import torch
from torch import nn

from dse.problem import Outcome
from dse.scoring._score_cache import ScoreCache
from luts import EXACT
from luts.errors import InputError
from models import (
    Assignment,
    Data,
    EmulatedNetwork,
    FineTuning,
    Recovery,
    Score,
    emulate,
    evaluate,
    recover,
)
from models.training import (
    Reference,
    fine_tune_,
    finetuning_recipe,
    has_batchnorm,
    state_digest,
)

BATCH_SIZE = 256

CACHE_FORMAT = 2
"""To be raised when scoring changes in a way that `Evaluator._conditions` does not show."""


def default_recovery(network: nn.Module, dataset: str, *, is_images: bool = True) -> Recovery:
    """What every candidate gets: statistics of BatchNorm, or corrected biases where there is none.

    Args:
        network: the float network.
        dataset: name of what it classifies.
        is_images: whether its inputs can be shifted and mirrored in fine-tuning.
    """
    normalised = has_batchnorm(network)
    training = finetuning_recipe(dataset, is_convolutional=normalised)
    if not is_images:
        training = dataclasses.replace(training, shift_px=0, flip=False)
    return Recovery(
        recalibrate=normalised,
        correct_bias=not normalised,
        fine_tuning=FineTuning(training),
    )


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fine-tuned network and what became of it.

    Attributes:
        network: the better of before and after, by the validation score.
        validation: its score.
        note: which of the two it is.
        seconds: wall-clock time.
    """

    network: EmulatedNetwork
    validation: Score
    note: str
    seconds: float


class Evaluator:
    """Scores assignments of one network on one data set.

    The activation ranges and the channel means of the exact int8 network are taken once, on
    training images. Each assignment is recovered by the recipe's steps before it is scored. A
    repeated assignment is not computed again.

    Args:
        network: the trained float network.
        data: training images calibrate and fine-tune, validation images score.
        calibration_images: how many training images calibrate and recover; the recipe's own number
            is not used.
        recovery: what is done to every candidate; its fine-tuning only to those of `fine_tune`. By
            default BatchNorm's statistics, or biases where there is none (`default_recovery`).
        images: how many validation images score, from the first; all of them by default.
        cached: take scores from the cache folder where they are known, and keep new ones there.

    Raises:
        InputError: the recipe would choose the operand order, which the search does.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Data,
        *,
        calibration_images: int,
        recovery: Recovery | None = None,
        images: int | None = None,
        cached: bool = False,
    ) -> None:
        default = default_recovery(network, data.name, is_images=data.train.is_images)
        recovery = default if recovery is None else recovery
        if recovery.operand_order != "given":
            raise InputError(
                f"a search chooses the operand order itself: its recovery takes the order as "
                f"given, not {recovery.operand_order!r}"
            )
        tuning = recovery.fine_tuning or default.fine_tuning
        assert tuning is not None
        self.data = data
        total = len(data.validation)
        self.images = total if images is None else min(images, total)
        self.recovery = dataclasses.replace(recovery, fine_tuning=None)
        self.tuning = tuning
        calibration = data.train.take(calibration_images)
        self.inputs = calibration.images
        self.emulated = emulate(network, EXACT, calibration=calibration.batches(BATCH_SIZE))
        self.reference = Reference.of(
            self.emulated,
            self.inputs,
            with_histograms=recovery.criterion is not None,
            with_teacher=tuning.needs_teacher,
        )
        self.exact_validation = self._score(self.emulated, total)
        self.exact_searched = self.exact_validation
        if self.is_partial:
            self.exact_searched = self._score(self.emulated, self.images)
        self._scored: dict[tuple[str, int], Outcome] = {}
        self._cache = ScoreCache(self._conditions(network)) if cached else None

    def _conditions(self, network: nn.Module) -> dict[str, Any]:
        exact = self.exact_validation
        return {
            "weights": state_digest(network.state_dict()),
            # Weights do not tell what is between the layers, such as an activation function.
            "exact": [round(exact.accuracy, 6), round(exact.cross_entropy, 6)],
            "images": state_digest(
                {
                    "calibration": self.inputs,
                    "scored": self.data.validation.pixels,
                    "labels": self.data.validation.labels,
                }
            ),
            "recovery": self.recovery.to_dict(),
            "torch": torch.__version__,
            "format": CACHE_FORMAT,
        }

    @property
    def is_partial(self) -> bool:
        """Whether candidates are scored on fewer than all validation images."""
        return self.images < len(self.data.validation)

    @property
    def fidelity(self) -> str:
        """How candidates are recovered before they are scored, in a few words."""
        return self._fidelity(self.images)

    def _fidelity(self, images: int) -> str:
        words = {
            "recalibrated": self.recovery.recalibrate and has_batchnorm(self.emulated),
            "bias-corrected": self.recovery.correct_bias,
            "weight-tuned": self.recovery.criterion is not None,
        }
        recovered = " and ".join(word for word, is_so in words.items() if is_so)
        part = f", {images} images" if images < len(self.data.validation) else ""
        return (recovered or "as approximated") + part

    def score(self, assignment: Assignment, *, images: int | None = None) -> Outcome:
        """Score on validation images after all steps of the recipe but fine-tuning.

        Args:
            assignment: to emulate.
            images: how many validation images score; the evaluator's own number by default.
        """
        images = self.images if images is None else images
        key = (assignment.digest, images)
        if key not in self._scored:
            self._scored[key] = self._kept(assignment, images) or self._measured(assignment, images)
        return self._scored[key]

    def _measured(self, assignment: Assignment, images: int) -> Outcome:
        started = time.perf_counter()
        self.recover_(self.emulated, assignment)
        score = self._score(self.emulated, images)
        outcome = Outcome(score, self._fidelity(images), time.perf_counter() - started)
        if self._cache is not None:
            record = {"score": score.to_dict(), "seconds": outcome.seconds}
            self._cache.put(assignment, images, record)
        return outcome

    def _kept(self, assignment: Assignment, images: int) -> Outcome | None:
        record = None if self._cache is None else self._cache.get(assignment, images)
        if record is None:
            return None
        score = Score.from_dict(record["score"])
        return Outcome(score, self._fidelity(images), record["seconds"])

    def recover_(self, emulated: EmulatedNetwork, assignment: Assignment) -> None:
        """Assign, then recover by all steps of the recipe but fine-tuning."""
        emulated.assign_(assignment)
        self.reference.restore_(emulated)
        # No step but fine-tuning draws random numbers.
        recover(emulated, self.recovery, self.data, seed=0, reference=self.reference)

    def test(self, emulated: EmulatedNetwork) -> Score:
        """Score on the test split; only for what is reported."""
        return evaluate(emulated, self.data.test, batch_size=BATCH_SIZE)

    def test_exact(self) -> Score:
        """Score of the exact int8 network on the test split."""
        self.emulated.assign_(EXACT)
        self.reference.restore_(self.emulated)
        return self.test(self.emulated)

    def recovered(self, assignment: Assignment) -> EmulatedNetwork:
        """A copy of the network under ``assignment``, recovered but not fine-tuned."""
        emulated = copy.deepcopy(self.emulated)
        self.recover_(emulated, assignment)
        return emulated

    def fine_tune(self, assignment: Assignment, *, epochs: float, seed: int) -> Tuned:
        """Recover, fine-tune through the emulated circuits, and keep the better of both states.

        A fine-tuning that diverges is stopped, and the note says so.
        """
        started = time.perf_counter()
        emulated = self.recovered(assignment)
        training = dataclasses.replace(self.tuning.training, epochs=epochs)
        tuned = fine_tune_(
            emulated,
            dataclasses.replace(self.tuning, training=training),
            self.data,
            seed=seed,
            teacher=self.reference.teacher,
        )
        return Tuned(emulated, tuned.after, tuned.note, time.perf_counter() - started)

    def _score(self, emulated: EmulatedNetwork, images: int) -> Score:
        return evaluate(emulated, self.data.validation.take(images), batch_size=BATCH_SIZE)
