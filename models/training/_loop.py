"""Training and scoring."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from luts.console import SILENT, Reporter
from luts.errors import InputError
from models.networks import Inputs, auxiliary_loss, called, logits_of
from models.training._batches import epoch_batches
from models.training._data import IGNORED, Data, Split
from models.training._distributed import process_group_for
from models.training._metric import Metric, counted_in
from models.training._quick import quick_products
from models.training._recipe import TrainingRecipe
from models.training._score import Score
from models.training._state import TrainingState


@dataclass(frozen=True)
class Epoch:
    """One pass: training loss and accuracy as it went, and the validation score if asked for."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    validation: Score | None = None


@dataclass(frozen=True)
class TrainingHistory:
    """What a training run went through, epoch by epoch."""

    epochs: tuple[Epoch, ...]

    def as_dicts(self) -> list[dict[str, Any]]:
        """Plain values for JSON and checkpoints."""
        return [
            vars(epoch)
            | {"validation": None if epoch.validation is None else epoch.validation.to_dict()}
            for epoch in self.epochs
        ]

    @classmethod
    def from_dicts(cls, rows: list[dict[str, Any]]) -> "TrainingHistory":
        """The inverse of `as_dicts`."""
        epochs = []
        for row in rows:
            score = row["validation"]
            score = None if score is None else Score.from_dict(score)
            epochs.append(Epoch(**{**row, "validation": score}))
        return cls(tuple(epochs))


def fit(
    net: nn.Module,
    data: Data,
    recipe: TrainingRecipe,
    *,
    seed: int,
    reporter: Reporter = SILENT,
    validate: bool = False,
    on_checkpoint: Callable[[dict[str, Any]], None] | None = None,
    resume: Mapping[str, Any] | None = None,
) -> TrainingHistory:
    """Train ``net`` in place, on its own device; it ends in evaluation mode.

    The same seed, network and number of threads give the same weights on a CPU; the global random
    state is left as it was found.

    Args:
        net: any classifier of the data's images.
        data: the training split is learnt from, the validation split at most looked at.
        recipe: how.
        seed: of the order of the images, of augmentation and of dropout.
        reporter: shows a bar with loss, accuracy and the time left.
        validate: score the validation split after every epoch.
        on_checkpoint: called after each whole epoch with a state that ``resume`` accepts.
        resume: such a state; training goes on to the same result as if it had never stopped.

    Raises:
        InputError: the loss is not a finite number, or ``resume`` is of another run.
    """
    steps_per_epoch = recipe.steps_per_epoch(len(data.train))
    total = recipe.steps(len(data.train))
    if total == 0:
        net.eval()
        return TrainingHistory(())
    device = next(net.parameters()).device
    group = process_group_for(net)
    state = TrainingState(net, recipe, total_steps=total, seed=seed, group=group)
    epochs = list(TrainingHistory.from_dicts(state.restore(resume)).epochs) if resume else []
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), reporter.bar("train", total) as advance:
        advance(min(state.step, total))
        while state.step < total:
            epoch = _one_epoch(state, data, advance)
            validation = evaluate(state.averaged, data.validation) if validate else None
            epochs.append(Epoch(len(epochs) + 1, *epoch, validation))
            whole = state.step % steps_per_epoch == 0
            if on_checkpoint is not None and whole and group.rank == 0:
                on_checkpoint(state.snapshot(TrainingHistory(tuple(epochs)).as_dicts()))
    state.finish()
    return TrainingHistory(tuple(epochs))


def _one_epoch(
    state: TrainingState, data: Data, advance: Callable[..., None]
) -> tuple[float, float, float]:
    """Train for one pass or what is left of the last; mean loss, accuracy, seconds."""
    started = time.perf_counter()
    state.forward.train()
    loss_sum, correct, seen = 0.0, 0.0, 0
    for images, labels in epoch_batches(state, data.train):
        with quick_products():
            loss, logits = _step(state, images, labels)
        seen += len(labels)
        loss_sum += loss * len(labels)
        correct += float(share_right(logits, labels).sum())
        advance(status=f"loss {loss_sum / seen:.3f}  accuracy {100 * correct / seen:.1f} %")
    state.epoch += 1
    return loss_sum / seen, correct / seen, time.perf_counter() - started


def _step(state: TrainingState, images: Tensor | Inputs, labels: Tensor) -> tuple[float, Tensor]:
    recipe = state.recipe
    low = recipe.precision == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
        logits = logits_of(called(state.forward, images))
    logits = logits.float()
    _check_outputs(logits, labels)
    smoothing = recipe.label_smoothing
    loss = cross_entropy(logits, labels, label_smoothing=smoothing)
    balance = auxiliary_loss(state.net) if recipe.balance else None
    total = loss if balance is None else loss + recipe.balance * balance.float()
    value = float(total.detach())
    if not torch.isfinite(total.detach()):
        raise InputError(
            f"the loss became {value} at step {state.step + 1} of training, learning rate "
            f"{state.learning_rate:.3g}: lower it, or limit the gradient (clip_norm)"
        )
    state.descend(total)
    return float(loss.detach()), logits.detach()


def evaluate(
    net: nn.Module,
    split: Split,
    *,
    batch_size: int = 256,
    reporter: Reporter = SILENT,
    metric: Metric | None = None,
) -> Score:
    """Top-1 accuracy and mean cross-entropy of ``net`` over ``split``, in evaluation mode.

    The network's device is used, and its training mode is put back.

    Args:
        net: takes the split's inputs.
        split: scored in order.
        batch_size: inputs in a batch.
        reporter: shows the progress.
        metric: score by this and its loss instead.

    Raises:
        InputError: the split is empty, the network has fewer outputs than there are classes, or the
            metric fails on its outputs.
    """
    if metric is None:
        return evaluate_images(net, split, batch_size=batch_size, reporter=reporter)[0]
    tally, loss, counted = metric.tally(), 0.0, 0
    for outputs, labels in _outputs(net, split, batch_size, reporter):
        tally.add(outputs, labels)
        # The default loss is a mean of what counts, the user's own of inputs.
        count = counted_in(labels) if metric.loss is None else len(labels)
        if count:
            loss += count * float(metric.loss_of(outputs, labels))
            counted += count
    if not counted:
        raise InputError(f"there is no target to score: all are {IGNORED}, which does not count")
    value, error = tally.result()
    return Score(value, loss / counted, len(split), metric.measure, error)


def evaluate_images(
    net: nn.Module, split: Split, *, batch_size: int = 256, reporter: Reporter = SILENT
) -> tuple[Score, Tensor]:
    """`evaluate`, and of which images the class was right: bool, shape ``(images,)``, on the CPU.

    Where an input has several labels, as a sequence has, the share of them that was right instead;
    accuracy and cross-entropy are then means over all labels that count.

    Two networks are told apart more surely by the images on which they differ than by two
    accuracies.
    """
    correct, loss, counted, right_labels = list[Tensor](), 0.0, 0, 0.0
    for logits, labels in _outputs(net, split, batch_size, reporter):
        _check_outputs(logits, labels)
        loss += float(cross_entropy(logits, labels, reduction="sum"))
        counted += int((labels != IGNORED).sum())
        right_labels += int((logits.argmax(-1) == labels).sum())
        correct.append(share_right(logits, labels).cpu())
    if not counted:
        raise InputError(f"there is no label to score: all are {IGNORED}, which does not count")
    return Score(right_labels / counted, loss / counted, len(split)), torch.cat(correct)


def _outputs(
    net: nn.Module, split: Split, batch_size: int, reporter: Reporter
) -> Iterator[tuple[Tensor, Tensor]]:
    """What ``net`` returns, float32, and the labels, batch by batch and on its device."""
    if len(split) == 0:
        raise InputError("there is no image to score: the split is empty")
    parameter = next(net.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad(), reporter.bar("score", len(split)) as advance:
            for images, labels in split.batches(batch_size):
                outputs = logits_of(called(net, images.to(device))).float()
                yield outputs, labels.to(device)
                advance(len(labels))
    finally:
        net.train(was_training)


def cross_entropy(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """`torch.nn.functional.cross_entropy` of ``(N, …, classes)`` and ``(N, …)``."""
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), **options)


def share_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether each class is right, bool ``(N,)``; of several labels, the share of them that is."""
    right = logits.argmax(-1) == labels
    if labels.ndim == 1:
        return right
    counted = (labels != IGNORED).flatten(1).sum(1)
    return right.flatten(1).sum(1) / counted.clamp(min=1)


def _check_outputs(logits: Tensor, labels: Tensor) -> None:
    if labels.dtype.is_floating_point:
        raise InputError(
            "these targets are real numbers, which are no classes: score them by a models.Metric"
        )
    if logits.shape[:-1] != labels.shape:
        raise InputError(
            f"labels of shape {tuple(labels.shape)} take outputs of shape "
            f"{(*labels.shape, 'classes')}, but the network gives {tuple(logits.shape)}"
        )
    if int(labels.max()) >= logits.shape[-1]:
        raise InputError(
            f"the network has {logits.shape[-1]} outputs but the data has a class number "
            f"{int(labels.max())}: build it with as many classes as the data"
        )
