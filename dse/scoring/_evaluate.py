"""Scoring an assignment: emulate, recover, measure."""

import contextlib
import copy
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from dse.problem import Outcome, Problem, SearchSpace
from dse.scoring._pruning import WHOLE, Pruning, filled, prune, whole
from dse.scoring._recovery import Tuned, default_recovery
from dse.scoring._score_cache import ScoreCache, digest_of_splits
from dse.scoring._screening import Screening, decided_by_of, screen
from luts import EXACT
from luts.console import SILENT, Reporter
from luts.errors import InputError
from models import (
    Assignment,
    Data,
    EmulatedNetwork,
    Metric,
    Recovery,
    Routing,
    Score,
    Site,
    emulate,
    evaluate,
    recover,
)
from models.emulation import OF_ACTIVATIONS, WeightScales, code_histograms, expected_errors
from models.training import (
    Reference,
    expert_images,
    fine_tune_,
    has_batchnorm,
    state_digest,
    tensors_of,
)

BATCH_SIZE = 256

ITEMS_PER_EXPERT = 100
"""Images or tokens that an expert's recovery should rest on."""

CACHE_FORMAT = 4
"""To be raised when scoring changes in a way that `Evaluator._conditions` does not show."""


class Evaluator:
    """Scores assignments of one network on one data set.

    The activation ranges and the channel means of the exact int8 network are taken once, on
    training images. Each assignment is recovered by the recipe's steps before it is scored. A
    repeated assignment is not computed again. Between calls `emulated` is the exact int8 network
    as it was calibrated; `under` is the only way to have it otherwise.

    Args:
        network: the trained float network.
        data: training images calibrate and fine-tune, validation images score.
        calibration_images: how many training images calibrate, and how many recover, which are
            chosen to reach every expert (`models.training.expert_images`); the recipe's own number
            is not used.
        recovery: what is done to every candidate; its fine-tuning only to those of `fine_tune`. By
            default `default_recovery`.
        images: how many validation images score, from the first; all of them by default.
        weight_scales: what has a scale of its own: see `models.emulate`.
        cached: take results from the cache folder where they are known, and keep new ones there;
            not those by a metric, as nothing tells what another function of its name did.
        metric: scores, and is fine-tuned by its loss, in the place of accuracy and cross-entropy.

    Attributes:
        emulated: the exact int8 network.
        inputs: the first training images, which ranges and routing are taken on.
        weight_scales: what has a scale of its own.
        starved: by expert layer, experts that recover on fewer than `ITEMS_PER_EXPERT` items.

    Raises:
        InputError: the recipe would choose the operand order, which the search does; or the exact
            network's score by the metric is not a number.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Data,
        *,
        calibration_images: int,
        recovery: Recovery | None = None,
        images: int | None = None,
        weight_scales: WeightScales = "channel",
        cached: bool = False,
        metric: Metric | None = None,
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
        self.weight_scales = weight_scales
        self.metric = metric
        total = len(data.validation)
        self.images = total if images is None else min(images, total)
        self.recovery = dataclasses.replace(recovery, fine_tuning=None)
        self.tuning = tuning
        calibration = data.train.take(calibration_images)
        self.inputs = calibration.images
        batches = calibration.batches(BATCH_SIZE)
        self.emulated = emulate(network, EXACT, calibration=batches, weight_scales=weight_scales)
        recovery_images = expert_images(self.emulated, data.train, calibration_images)
        self.starved = recovery_images.starved(ITEMS_PER_EXPERT)
        self.reference = Reference.of(
            self.emulated,
            recovery_images.images.images,
            with_histograms=recovery.needs_histograms,
            with_teacher=tuning.needs_teacher,
        )
        self.exact_validation = _finite(self._score(self.emulated, total))
        self.exact_searched = self.exact_validation
        if self.is_partial:
            self.exact_searched = self._score(self.emulated, self.images)
        self._scored: dict[tuple[str, int], Outcome] = {}
        is_cached = cached and metric is None
        self._cache = ScoreCache(self._conditions(network)) if is_cached else None

    def _conditions(self, network: nn.Module) -> dict[str, Any]:
        exact = self.exact_validation
        return {
            "weights": state_digest(network.state_dict()),
            # Weights do not tell what is between the layers, such as an activation function.
            "exact": [round(exact.accuracy, 6), round(exact.cross_entropy, 6)],
            "images": state_digest(
                {
                    **tensors_of("calibration", self.inputs),
                    **tensors_of("recovery", self.reference.images),
                    **tensors_of("scored", self.data.validation.pixels),
                    "labels": self.data.validation.labels,
                }
            ),
            "recovery": self.recovery.to_dict(),
            "torch": torch.__version__,
            "format": CACHE_FORMAT,
            # Scores from before there was a choice keep their place.
            **({} if self.weight_scales == "channel" else {"weight_scales": self.weight_scales}),
        }

    @functools.cached_property
    def splits_sha256(self) -> str:
        """Of all images and labels, those that train and test included."""
        return digest_of_splits(self.data)

    @property
    def is_partial(self) -> bool:
        """Whether candidates are scored on fewer than all validation images."""
        return self.images < len(self.data.validation)

    @property
    def fidelity(self) -> str:
        """How candidates are recovered before they are scored, in a few words."""
        return self._fidelity(self.images)

    def _fidelity(self, images: int) -> str:
        recalibrated = self.recovery.recalibrate and has_batchnorm(self.emulated)
        words = {
            "recalibrated": recalibrated,
            "bias-corrected": self.recovery.correct_bias and not recalibrated,
            "rescaled": self.recovery.rescale != "none",
            "code-tuned": self.recovery.criterion is not None,
        }
        done = [word for word, is_so in words.items() if is_so]
        recovered = " and ".join(filter(None, [", ".join(done[:-1]), *done[-1:]]))
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

    def _known(self, assignment: Assignment, images: int) -> Outcome | None:
        return self._scored.get((assignment.digest, images)) or self._kept(assignment, images)

    def _measured(self, assignment: Assignment, images: int) -> Outcome:
        started = time.perf_counter()
        with self.under(assignment) as emulated:
            score = self._score(emulated, images)
        outcome = Outcome(score, self._fidelity(images), time.perf_counter() - started)
        if self._cache is not None:
            record = {"score": score.to_dict(), "seconds": outcome.seconds}
            self._cache.put(_score_key(assignment, images), record)
        return outcome

    def _kept(self, assignment: Assignment, images: int) -> Outcome | None:
        key = _score_key(assignment, images)
        record = None if self._cache is None else self._cache.get(key)
        if record is None:
            return None
        score = Score.from_dict(record["score"])
        return Outcome(score, self._fidelity(images), record["seconds"])

    @contextlib.contextmanager
    def under(
        self, assignment: Assignment | str, *, recovered: bool = True
    ) -> Iterator[EmulatedNetwork]:
        """The network under an assignment; afterwards it is exact again, as it was calibrated.

        Args:
            assignment: to emulate, or the name of one multiplier for all sites but the routers.
            recovered: by the recipe's steps but fine-tuning.
        """
        try:
            self._assign_(self.emulated, assignment)
            if recovered:
                self._recover_(self.emulated)
            yield self.emulated
        finally:
            self._assign_(self.emulated, EXACT)

    def _assign_(self, emulated: EmulatedNetwork, assignment: Assignment | str) -> None:
        """Assign with the float network's statistics: nothing of an earlier recovery is left."""
        emulated.assign_(assignment)
        self.reference.restore_(emulated)

    def _recover_(self, emulated: EmulatedNetwork) -> None:
        # No step but fine-tuning draws anything.
        recover(emulated, self.recovery, self.data, seed=0, reference=self.reference)

    def _prepare_(self, emulated: EmulatedNetwork, site: Site) -> None:
        self.reference.prepare_(emulated, site, self.recovery)

    def prune(self, problem: Problem, *, most_fixed: int) -> Pruning:
        """What a sampler need not see of a long list of choices; see `dse.scoring._pruning`.

        Args:
            problem: choices and their energy.
            most_fixed: see `prune`.
        """
        if problem.choices <= WHOLE:
            return whole(problem)
        histograms = self.reference.histograms
        if not self.recovery.needs_histograms:
            histograms = code_histograms(self.emulated, self.inputs)
        table = expected_errors(
            self.emulated,
            histograms,
            [choice.arithmetic(problem.space.catalog) for choice in problem.space.choices],
            corrected=self.reference.without_mean(self.recovery),
            tune=self.recovery.criterion,
            rescale=self.recovery.rescale,
        )
        products = {s.name for s in self.emulated.sites if s.kind in OF_ACTIVATIONS}
        return prune(problem, table, products=products, most_fixed=most_fixed)

    def screen(
        self,
        space: SearchSpace,
        *,
        seed: int,
        routing: Routing | None = None,
        pruning: Pruning | None = None,
        reporter: Reporter = SILENT,
    ) -> Screening:
        """What every choice at every free site would do after recovery; see `screen`.

        Args:
            space: sites and choices.
            seed: of the random projection.
            routing: see `screen`.
            pruning: choices that a site is not offered are not screened but estimated.
            reporter: shows progress.
        """
        offer = None if pruning is None else pruning.offer

        def compute() -> dict[str, Any]:
            found = screen(
                self.emulated,
                self.inputs,
                space,
                seed=seed,
                routing=routing,
                prepare_=self._prepare_,
                offer=offer,
                reporter=reporter,
            )
            return {"distortion": found.distortion.tolist()}

        def decided_by() -> dict[str, Any]:
            return decided_by_of(space, seed=seed, routing=routing, offer=offer)

        record = self.remember("screening", decided_by, compute)
        distortion = np.array(record["distortion"], dtype=np.float64)
        return Screening(distortion if pruning is None else filled(distortion, space.free, pruning))

    def remember(
        self,
        what: str,
        decided_by: Callable[[], Mapping[str, Any]],
        compute: Callable[[], dict[str, Any]],
    ) -> dict[str, Any]:
        """``compute()``, or what an earlier evaluator of the same making has kept of it.

        Args:
            what: kind of the result.
            decided_by: says what decides it beside network, recipe and the images that are
                calibrated and scored on; asked only where there is a cache.
            compute: makes it, of values that JSON can hold.
        """
        if self._cache is None:
            return compute()
        return self._cache.remember(what, decided_by(), compute)

    def test(self, emulated: EmulatedNetwork) -> Score:
        """Score on the test split; only for what is reported."""
        return evaluate(emulated, self.data.test, batch_size=BATCH_SIZE, metric=self.metric)

    def test_exact(self) -> Score:
        """Score of the exact int8 network on the test split."""
        return self.test(self.emulated)

    def recovered(self, assignment: Assignment) -> EmulatedNetwork:
        """A copy of the network under ``assignment``, recovered but not fine-tuned."""
        emulated = copy.deepcopy(self.emulated)
        self._assign_(emulated, assignment)
        self._recover_(emulated)
        return emulated

    def fine_tune(
        self,
        assignment: Assignment,
        *,
        epochs: float,
        seed: int,
        reporter: Reporter = SILENT,
    ) -> Tuned:
        """Recover, fine-tune through the emulated circuits, and keep the better of both states.

        A fine-tuning that diverges is stopped, and the note says so.

        Args:
            assignment: to emulate.
            epochs: of training.
            seed: of training.
            reporter: shows the progress.
        """
        started = time.perf_counter()
        emulated = self.recovered(assignment)
        known = self._known(assignment, len(self.data.validation))
        training = dataclasses.replace(self.tuning.training, epochs=epochs)
        tuned = fine_tune_(
            emulated,
            dataclasses.replace(self.tuning, training=training),
            self.data,
            seed=seed,
            reporter=reporter,
            teacher=self.reference.teacher,
            before=None if known is None else known.validation,
            metric=self.metric,
        )
        return Tuned(emulated, tuned.after, tuned.note, time.perf_counter() - started)

    def _score(self, emulated: EmulatedNetwork, images: int) -> Score:
        split = self.data.validation.take(images)
        return evaluate(emulated, split, batch_size=BATCH_SIZE, metric=self.metric)


def _finite(exact: Score) -> Score:
    if not math.isfinite(exact.value):
        raise InputError(
            f"{exact.measure.name} of the exact int8 network is {exact.value}, which nothing "
            f"compares with: look at the metric and its targets"
        )
    return exact


def _score_key(assignment: Assignment, images: int) -> str:
    return f"{images}-{assignment.digest}"
