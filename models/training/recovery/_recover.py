"""The steps of a recovery, one after the other, each of them measured."""

import time
from collections.abc import Callable

from luts.console import SILENT, Reporter
from luts.errors import InputError
from models.emulation import (
    EmulatedNetwork,
    choose_operand_order,
    set_operand_order_,
)
from models.training._data import Data
from models.training._loop import evaluate
from models.training._metric import Metric
from models.training.recovery._batchnorm import has_batchnorm
from models.training.recovery._fine_tune import fine_tune_
from models.training.recovery._recipe import Recovery
from models.training.recovery._record import Recovered, Step
from models.training.recovery._reference import Reference
from models.training.recovery._state import RecoveredState

StepReport = tuple[str, bool]
"""A note, and whether the step was skipped."""


def recover(
    emulated: EmulatedNetwork,
    recipe: Recovery,
    data: Data,
    *,
    seed: int,
    reporter: Reporter = SILENT,
    score_steps: bool = False,
    reference: Reference | None = None,
    metric: Metric | None = None,
) -> Recovered:
    """Recover an approximated network in place, from free steps to costly ones.

    Steps come in the recipe's order: what changes products first, as it follows from tables and
    histograms of the exact network alone, then the statistics and biases that depend on it. A step
    that the network has no place for is skipped with a note.

    Args:
        emulated: the network under its assignment, with the float network's weights and statistics.
            Corrections of an earlier recovery are forgotten.
        recipe: what to do.
        data: training images are learnt from, validation images choose between states.
        seed: of fine-tuning.
        reporter: told what was skipped and how training goes.
        score_steps: score the validation split before and after every step.
        reference: what the exact network looks like, if it is known already; its images are then
            used in place of the recipe's number of them. What it knows of this assignment from an
            earlier recovery by the same recipe is put back, not taken anew: where weights have
            changed since it was taken, take another.
        metric: scores, and is fine-tuned by its loss, in the place of accuracy and cross-entropy.

    Raises:
        InputError: the recipe fits no training of this network, or needs what ``reference`` was
            made without.
    """
    if reference is not None:
        _check(reference, recipe)
    key = (emulated.assignment.digest, recipe)
    known = None if reference is None else reference.recovered.get(key)
    run = _RecoveryRun(emulated, recipe, data, seed, reporter, metric, known)
    score = evaluate(emulated, data.validation, metric=metric) if score_steps else None
    steps: list[Step] = []

    def take(name: str, action: Callable[[], StepReport]) -> None:
        nonlocal score
        before, started = score, time.perf_counter()
        note, skipped = action()
        seconds = time.perf_counter() - started
        if note:
            reporter.note(f"{name}: {note}")
        if score_steps and not skipped:
            score = evaluate(emulated, data.validation, metric=metric)
        steps.append(Step(name, seconds, note, skipped, before, score))

    if reference is None:
        take("reference", run.take_reference)
    else:
        run.reference = reference
    for name, is_wanted, action in (
        ("operand order", recipe.operand_order == "choose", run.choose_order),
        ("rescale", recipe.rescale != "none", run.rescale),
        ("tune weights", recipe.criterion is not None, run.tune_weights),
        ("recalibrate", recipe.recalibrate, run.recalibrate),
        ("correct bias", recipe.correct_bias, run.correct_bias),
        ("fine-tune", recipe.fine_tuning is not None, run.fine_tune),
    ):
        if is_wanted:
            take(name, action)
    emulated.eval()
    if reference is not None and recipe.fine_tuning is None:
        reference.recovered.put(key, RecoveredState.of(emulated))
    return Recovered(emulated, emulated.assignment, tuple(steps))


def _needs_teacher(recipe: Recovery) -> bool:
    return recipe.fine_tuning is not None and recipe.fine_tuning.needs_teacher


def _check(reference: Reference, recipe: Recovery) -> None:
    for is_needed, is_there, what, argument in (
        (recipe.needs_histograms, bool(reference.histograms), "histograms", "with_histograms"),
        (_needs_teacher(recipe), reference.teacher is not None, "float network", "with_teacher"),
    ):
        if is_needed and not is_there:
            raise InputError(
                f"the recipe needs the {what} that the reference was made without: make it by "
                f"Reference.of(…, {argument}=True)"
            )


class _RecoveryRun:
    """One recovery under way."""

    reference: Reference

    def __init__(
        self,
        emulated: EmulatedNetwork,
        recipe: Recovery,
        data: Data,
        seed: int,
        reporter: Reporter,
        metric: Metric | None,
        known: RecoveredState | None,
    ) -> None:
        self.emulated = emulated
        self.recipe = recipe
        self.data = data
        self.seed = seed
        self.reporter = reporter
        self.metric = metric
        self.known = known

    def take_reference(self) -> StepReport:
        images = self.data.train.take(self.recipe.images).images
        images = images.to(next(self.emulated.parameters()).device)
        self.reference = Reference.of(
            self.emulated,
            images,
            with_histograms=self.recipe.needs_histograms,
            with_teacher=_needs_teacher(self.recipe),
        )
        return "", False

    def recalibrate(self) -> StepReport:
        if not has_batchnorm(self.emulated):
            return "skipped, the network has no BatchNorm", True
        if self.known is not None:
            self.known.put_statistics_(self.emulated)
            return "known", False
        self.reference.recalibrate_(self.emulated)
        return "", False

    def correct_bias(self) -> StepReport:
        if not self.reference.corrected(self.recipe):
            return "skipped, BatchNorm follows every layer", True
        if self.known is not None:
            self.known.put_corrections_(self.emulated)
            return "known", False
        self.reference.correct_bias_(self.emulated, self.recipe)
        return "", False

    def rescale(self) -> StepReport:
        changed = sum(
            self.reference.rescale_(self.emulated, site, self.recipe)
            for site in self.emulated.sites
        )
        return f"other scales at {changed} sites" if changed else "all scales suit", False

    def tune_weights(self) -> StepReport:
        for site in self.emulated.sites:
            self.reference.tune_(self.emulated, site, self.recipe)
        changed = sum(
            self.reference.replaces_codes(self.emulated, site) for site in self.emulated.sites
        )
        if not changed:
            return "no weight code has a better one", False
        return f"codes replaced in {changed} layers", False

    def choose_order(self) -> StepReport:
        given = self.emulated.assignment
        chosen = choose_operand_order(
            self.emulated,
            self.reference.histograms,
            operands=self.reference.operands,
            corrected=self.reference.without_mean(self.recipe),
            tune=self.recipe.criterion,
            rescale=self.recipe.rescale,
        )
        turned = sum(chosen.choices[site] != choice for site, choice in given.choices.items())
        if not turned:
            layers = [self.emulated.layer(site.name) for site in self.emulated.sites]
            if all(layer.arithmetic.multiplier.is_commutative for layer in layers):
                return "skipped, no table changes with the operand order", True
            return "kept at every site", False
        set_operand_order_(self.emulated, chosen)
        return f"changed at {turned} sites", False

    def fine_tune(self) -> StepReport:
        assert self.recipe.fine_tuning is not None
        tuned = fine_tune_(
            self.emulated,
            self.recipe.fine_tuning,
            self.data,
            seed=self.seed,
            reporter=self.reporter,
            teacher=self.reference.teacher,
            metric=self.metric,
        )
        return tuned.note, False
