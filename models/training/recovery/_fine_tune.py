"""Training through the emulated circuits, which never leaves a network worse than it was."""

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from luts.console import SILENT, Reporter
from luts.errors import InputError
from models.emulation import EmulatedNetwork, EmulatedWeightSite, Gradient
from models.networks import Inputs, auxiliary_loss, called, frozen_routers, logits_of
from models.training._batches import epoch_batches
from models.training._data import Data
from models.training._distributed import process_group_for
from models.training._loop import cross_entropy, evaluate
from models.training._metric import Metric
from models.training._quick import quick_products
from models.training._score import FEW_IMAGES, Score
from models.training._state import TrainingState
from models.training.recovery._recipe import FineTuning

ALLOWED_RISE = 1.1
STANDARD_ERRORS = 4.0
"""A window of the loss may lie above the first by this factor and so many standard errors.

Factors are of a loss's size, as a metric's may be negative: 1.1 allows a rise of a tenth of it.
"""

GROSS_FACTOR, GROSS_RISE = 2.0, 1.0
"""More than twice the very first loss plus one nat is a divergence, even in the first window."""


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """What became of a fine-tuning.

    Attributes:
        before: validation score before it.
        after: validation score of the state that was kept.
        note: which state that is, and whether training was stopped.
        is_kept: a state after training was kept.
        steps: optimiser steps taken.
    """

    before: Score
    after: Score
    note: str
    is_kept: bool
    steps: int


def fine_tune_(
    emulated: EmulatedNetwork,
    tuning: FineTuning,
    data: Data,
    *,
    seed: int,
    reporter: Reporter = SILENT,
    teacher: nn.Module | None = None,
    before: Score | None = None,
    metric: Metric | None = None,
) -> FineTuned:
    """Train in place; the best state by validation is kept, that before training included.

    Training stops early where the loss is not a number or clearly above its start.

    Args:
        emulated: the network; it ends in evaluation mode.
        tuning: how.
        data: the training split is learnt from, the validation split scores states.
        seed: of the order of the images, of augmentation and of dropout.
        reporter: shows the progress.
        teacher: the float network, for distillation.
        before: the network's score on the validation split, where it is known already.
        metric: scores states, and has the loss, in the place of accuracy and cross-entropy.

    Raises:
        InputError: the outputs of a network whose targets are no classes are to be distilled.
    """
    _check_distillation(tuning, data)
    if before is None:
        before = evaluate(emulated, data.validation, metric=metric)
    recipe = tuning.training
    total = recipe.steps(len(data.train))
    if total == 0:
        return FineTuned(before, before, f"{recipe.epochs:g} epochs make no step", False, 0)
    best = _Best(before, _state_of(emulated))
    emulated.use_gradient_(tuning.slopes)
    emulated.learn_scales_(tuning.learn_scales)
    group = process_group_for(emulated)
    state = TrainingState(emulated, recipe, total_steps=total, seed=seed, group=group)
    device = next(emulated.parameters()).device
    problem = None
    try:
        with (
            torch.enable_grad(),
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            contextlib.nullcontext() if tuning.train_routers else frozen_routers(emulated),
            _Objective(emulated, tuning, teacher, metric).listening() as objective,
            reporter.bar("fine-tune", total) as advance,
        ):
            watch = _Watch(total)
            while state.step < total and problem is None:
                problem = _one_epoch(state, data, objective, watch, advance)
                if problem is None:
                    score = evaluate(state.averaged, data.validation, metric=metric)
                    problem = best.offer(score, state)
    finally:
        state.finish()
        emulated.learn_scales_(False)
        emulated.use_gradient_(Gradient())
        emulated.load_state_dict(best.state)
    return FineTuned(before, best.score, _note(best, problem), best.is_tuned, state.step)


def is_better(score: Score, than: Score) -> bool:
    """Whether one state of a network beats another: accuracy, or the metric, must not fall.

    On few images the cross-entropy must fall as well; on many, or by a metric, the figure decides,
    and only between equals the loss. A state whose loss is not a number is never better.
    """
    if not score.quality >= than.quality or not math.isfinite(score.loss):
        return False
    decides = score.images >= FEW_IMAGES or not score.is_accuracy
    return score.loss < than.loss or (decides and score.quality > than.quality)


class _Best:
    """The best state so far."""

    def __init__(self, score: Score, state: dict[str, Tensor]) -> None:
        self.score = score
        self.state = state
        self.is_tuned = False

    def offer(self, score: Score, state: TrainingState) -> str | None:
        """Keep a state if it is better; what is wrong with it, or None."""
        if is_better(score, self.score):
            self.score, self.state, self.is_tuned = score, _state_of(state.averaged), True
        if math.isfinite(score.loss):
            return None
        return f"the validation loss became {score.loss} at step {state.step}"


def _state_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, without those of scales that are being learnt."""
    return {
        key: value.detach().clone()
        for key, value in network.state_dict().items()
        if not key.endswith("log_scale")
    }


def _note(best: _Best, problem: str | None) -> str:
    kept = "fine-tuned" if best.is_tuned else "fine-tuning did not help; state before it kept"
    if problem is None:
        return kept
    state = "the best state after an epoch" if best.is_tuned else "the state before it"
    return f"fine-tuning stopped, {problem}; {state} restored"


def _one_epoch(
    state: TrainingState,
    data: Data,
    objective: "_Objective",
    watch: "_Watch",
    advance: Callable[..., None],
) -> str | None:
    """One pass, or what is left of the last; what went wrong, or None."""
    state.forward.train()
    for images, labels in epoch_batches(state, data.train):
        with quick_products():
            loss = objective(state, images, labels)
            value = float(loss.detach())
            if not math.isfinite(value):
                return f"the loss became {value} at step {state.step + 1}"
            state.descend(loss)
        advance(status=f"loss {value:.3f}")
        problem = watch.look(value)
        if problem is not None:
            return problem
    state.epoch += 1
    return None


class _Objective:
    """The loss of a batch.

    Args:
        emulated: what is trained.
        tuning: how.
        teacher: the float network, or None.
        metric: whose loss it is, or None for cross-entropy.
    """

    def __init__(
        self,
        emulated: EmulatedNetwork,
        tuning: FineTuning,
        teacher: nn.Module | None,
        metric: Metric | None,
    ) -> None:
        assert teacher is not None or not tuning.needs_teacher
        self.tuning = tuning
        self.teacher = teacher if tuning.needs_teacher else None
        self.emulated = emulated
        self.metric = metric
        self._features: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def listening(self) -> Iterator["_Objective"]:
        """Inside, notes what the last layers of both networks read, if that is compared."""
        handles = []
        if self.tuning.feature_distillation and self.teacher is not None:
            name = _last_layer(self.emulated)
            for who, network in (("student", self.emulated), ("teacher", self.teacher)):
                layer = network.get_submodule(f"network.{name}")
                handles.append(layer.register_forward_pre_hook(self._note(who)))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, who: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._features[who] = inputs[0]

        return note

    def __call__(self, state: TrainingState, images: Tensor | Inputs, labels: Tensor) -> Tensor:
        """Labels, the float network and the load balance together."""
        recipe, tuning = state.recipe, self.tuning
        low = recipe.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
            logits = logits_of(called(state.forward, images))
        logits = logits.float()
        if self.metric is None:
            loss = cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        else:
            loss = self.metric.loss_of(logits, labels)
        if self.teacher is not None:
            with torch.no_grad():
                wanted = logits_of(self.teacher(images))
            loss = (1 - tuning.distillation) * loss + tuning.distillation * _divergence(
                logits, wanted, tuning.temperature
            )
            if tuning.feature_distillation:
                student, teacher = self._features["student"], self._features["teacher"]
                difference = functional.mse_loss(student, teacher) / teacher.var().clamp(min=1e-12)
                loss = loss + tuning.feature_distillation * difference
        balance = auxiliary_loss(state.net) if recipe.balance else None
        return loss if balance is None else loss + recipe.balance * balance.float()


def _check_distillation(tuning: FineTuning, data: Data) -> None:
    if tuning.distillation and data.train.labels.dtype.is_floating_point:
        raise InputError(
            f"distillation compares classes, and the targets are real numbers: leave out "
            f"distillation={tuning.distillation:g}"
        )


def _divergence(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from ``wanted``, times T² (Hinton et al., section 2)."""
    return temperature**2 * functional.kl_div(
        (logits / temperature).flatten(0, -2).log_softmax(dim=1),
        (wanted / temperature).flatten(0, -2).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


def _last_layer(emulated: EmulatedNetwork) -> str:
    """The layer that makes the logits."""
    names = [
        site.name
        for site in emulated.sites
        if isinstance(emulated.layer(site.name), EmulatedWeightSite) and site.kind != "router"
    ]
    return names[-1]


class _Watch:
    """Notices a loss above its start: far above the first one, or clearly above the first ones.

    Windows of steps are compared with the first, so that chance and a little rise are not enough.

    Args:
        total: steps of the whole training.
    """

    def __init__(self, total: int) -> None:
        self.length = max(4, min(50, total // 8))
        self.losses: list[float] = []

    def look(self, loss: float) -> str | None:
        """One step's loss; what is wrong, or None."""
        self.losses.append(loss)
        if len(self.losses) % self.length:
            return None
        first, window = self.losses[: self.length], self.losses[-self.length :]
        start, now = statistics.fmean(first), statistics.fmean(window)
        spread = math.hypot(statistics.stdev(first), statistics.stdev(window))
        limit = _risen(start, ALLOWED_RISE) + STANDARD_ERRORS * spread / math.sqrt(self.length)
        if now <= min(limit, _risen(first[0], GROSS_FACTOR) + GROSS_RISE):
            return None
        return f"the loss rose from {first[0]:.3g} to {now:.3g} by step {len(self.losses)}"


def _risen(loss: float, factor: float) -> float:
    """A loss, higher by ``factor - 1`` of its size."""
    return factor * loss if loss >= 0 else (2 - factor) * loss
