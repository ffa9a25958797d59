"""Scoring an assignment: emulate, recover, measure."""

import copy
import dataclasses
import time

from torch import nn

from luts import EXACT
from models import (
    Assignment,
    Data,
    EmulatedNetwork,
    Score,
    TrainingRecipe,
    channel_means,
    correct_bias_,
    emulate,
    evaluate,
    fit,
)

BATCH_SIZE = 256

FINETUNE_RECIPE = TrainingRecipe(
    epochs=1.0,
    batch_size=64,
    optimizer="adamw",
    lr=1e-4,
    weight_decay=0.0,
    schedule="one-cycle",
    shift_px=2,
)
"""Approximate-aware fine-tuning of a vision transformer on small images."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A score and what it took.

    Attributes:
        score: on the split that was asked for.
        seconds: wall-clock time.
    """

    score: Score
    seconds: float


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fine-tuned network and what became of it.

    Attributes:
        network: the better of before and after, by validation cross-entropy.
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
    training images. Each assignment is recovered by bias correction before it is scored. A
    repeated assignment is not computed again.

    Args:
        network: the trained float network.
        data: training images calibrate and fine-tune, validation images score.
        calibration_images: how many training images calibrate.
    """

    def __init__(self, network: nn.Module, data: Data, *, calibration_images: int) -> None:
        self.data = data
        calibration = data.train.take(calibration_images)
        self.inputs = calibration.images
        self.emulated = emulate(network, EXACT, calibration=calibration.batches(BATCH_SIZE))
        self.exact_means = channel_means(self.emulated, self.inputs)
        self.exact_validation = self._score(self.emulated)
        self._scored: dict[str, Measured] = {}

    def score(self, assignment: Assignment) -> Measured:
        """Score on the validation split after bias correction."""
        key = assignment.digest
        if key not in self._scored:
            started = time.perf_counter()
            self.recover_(self.emulated, assignment)
            score = self._score(self.emulated)
            self._scored[key] = Measured(score, time.perf_counter() - started)
        return self._scored[key]

    def recover_(self, emulated: EmulatedNetwork, assignment: Assignment) -> None:
        """Assign, then correct the bias of every layer."""
        emulated.assign_(assignment)
        correct_bias_(emulated, self.inputs, self.exact_means)

    def test(self, emulated: EmulatedNetwork) -> Score:
        """Score on the test split; only for what is reported."""
        return evaluate(emulated, self.data.test, batch_size=BATCH_SIZE)

    def test_exact(self) -> Score:
        """Score of the exact int8 network on the test split."""
        self.emulated.assign_(EXACT)
        return self.test(self.emulated)

    def recovered(self, assignment: Assignment) -> EmulatedNetwork:
        """A copy of the network under ``assignment``, bias-corrected."""
        emulated = copy.deepcopy(self.emulated)
        self.recover_(emulated, assignment)
        return emulated

    def fine_tune(self, assignment: Assignment, *, epochs: float, seed: int) -> Tuned:
        """Recover, fine-tune through the emulated circuits, and keep the better of both states."""
        started = time.perf_counter()
        emulated = self.recovered(assignment)
        before = self.score(assignment).score
        tuned = copy.deepcopy(emulated)
        recipe = dataclasses.replace(FINETUNE_RECIPE, epochs=epochs)
        fit(tuned, self.data, recipe, seed=seed)
        after = self._score(tuned)
        if after.cross_entropy < before.cross_entropy:
            return Tuned(tuned, after, "fine-tuned", time.perf_counter() - started)
        note = "fine-tuning did not help; state before it kept"
        return Tuned(emulated, before, note, time.perf_counter() - started)

    def _score(self, emulated: EmulatedNetwork) -> Score:
        return evaluate(emulated, self.data.validation, batch_size=BATCH_SIZE)
