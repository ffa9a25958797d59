"""A score function of the user's own in the place of top-1 accuracy."""

import copy
import math
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from luts.errors import InputError
from models.training._data import IGNORED
from models.training._score import ACCURACY, Measure

Targets = Tensor
Values = Callable[[Tensor, Targets], Tensor | float]
"""Of a batch: a figure for each input, or for whatever counts; or their mean."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TAKEN = (ACCURACY.name, "accuracy_pct", "cross_entropy", "loss")
"""Names that tables have columns of already."""


@dataclass(frozen=True, eq=False)
class Metric:
    """What a search scores networks by, in the place of top-1 accuracy and cross-entropy.

    Args:
        score: called with the outputs of a batch (the tensor that the network returns, or its
            ``logits``, float32) and its targets, as the data have them. It returns one figure for
            each input, or for each of what counts in them, such as a token: a tensor of any shape.
            The score is the mean of all figures of the split. A single number is taken for the mean
            of the batch's inputs. Or an object with ``reset()``, ``update(outputs, targets)`` and
            ``compute()``, as torchmetrics' are, which sees the whole split.
        higher_is_better: or lower; by default as the object's attribute of this name says.
        name: as tables and files call it; by default that of the function or class.
        best: the score of a network without fault, which none surpasses: by default 1 where higher
            is better, else 0. Limits are counted in points, hundredths of it; where lower is
            better, in hundredths of what the exact network lacks to it.
        finish: of the mean: ``math.exp`` makes a perplexity of cross-entropies.
        loss: what fine-tuning minimises: called like ``score``, returns the mean over the batch as
            a tensor with a gradient. By default the cross-entropy of whole-numbered targets, and
            the mean squared error of others.

    Raises:
        InputError: the score is neither of these forms, has no name, or does not say which way is
            better.
    """

    score: Any
    higher_is_better: bool | None = None
    name: str = ""
    best: float | None = None
    finish: Callable[[float], float] | None = None
    loss: Callable[[Tensor, Targets], Tensor] | None = None

    def __post_init__(self) -> None:
        if not self._is_whole and not callable(self.score):
            raise InputError(
                f"a metric is a function of outputs and targets, or has reset, update and compute, "
                f"not {type(self.score).__name__}"
            )
        name = self.name or _name_of(self.score)
        if not NAME.fullmatch(name) or name in TAKEN:
            raise InputError(
                f"a metric's name is letters, digits and _, and none of {', '.join(TAKEN)}, not "
                f"{name!r}: give models.Metric(…, name=…)"
            )
        higher = self.higher_is_better
        higher = getattr(self.score, "higher_is_better", None) if higher is None else higher
        if not isinstance(higher, bool):
            raise InputError(
                f"the metric {name} does not say which way is better: give "
                f"models.Metric(…, higher_is_better=True or False)"
            )
        best = float(higher) if self.best is None else float(self.best)
        if not math.isfinite(best):
            raise InputError(f"the best {name} is a finite number, not {best}: leave best out")
        if self._is_whole and self.finish is not None:
            raise InputError(f"the metric {name} computes its score itself: leave finish out")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "higher_is_better", higher)
        object.__setattr__(self, "best", best)

    @property
    def _is_whole(self) -> bool:
        """Whether it sees the whole split, as torchmetrics' do."""
        return all(hasattr(self.score, part) for part in ("reset", "update", "compute"))

    @property
    def measure(self) -> Measure:
        """What its scores are."""
        assert self.higher_is_better is not None and self.best is not None
        return Measure(self.name, self.higher_is_better, self.best)

    def tally(self) -> "Tally":
        """A new account of one split."""
        return _Whole(self) if self._is_whole else _Mean(self)

    def loss_of(self, outputs: Tensor, targets: Targets) -> Tensor:
        """The loss of a batch, a mean.

        Raises:
            InputError: it is no finite-sized number, or outputs and targets do not fit together.
        """
        if self.loss is None:
            return default_loss(outputs, targets)
        found = self._asked(self.loss, outputs, targets, "the loss of")
        if not isinstance(found, Tensor) or found.numel() != 1:
            raise InputError(
                f"the loss of {self.name} is a tensor of one number, not {_say(found)}"
            )
        return found.reshape(())

    def _asked(self, what: Callable[..., Any], *batch: Any) -> Any:
        *tensors, words = batch
        try:
            return what(*tensors)
        except Exception as error:  # whatever a function of the user's raises
            reason = " ".join(str(error).split())
            shapes = " and ".join(str(tuple(t.shape)) for t in tensors)
            on = f" on outputs and targets of shape {shapes}" if tensors else ""
            raise InputError(
                f"{words} {self.name} fails{on}: {type(error).__name__}: {reason}"
            ) from error

    def checked(self, value: float) -> float:
        """A score, unless it surpasses the best.

        Raises:
            InputError: it does.
        """
        measure = self.measure
        beyond = value > measure.best if measure.higher_is_better else value < measure.best
        if beyond and abs(value - measure.best) > 1e-9 * max(1.0, abs(measure.best)):
            raise InputError(
                f"{self.name} is {value:g}, beyond the best value of {measure.best:g}: give "
                f"models.Metric(…, best=…) that none surpasses"
            )
        return min(value, measure.best) if measure.higher_is_better else max(value, measure.best)


class Tally(Protocol):
    """Takes batches, gives a score."""

    def add(self, outputs: Tensor, targets: Targets) -> None:
        """Count a batch."""

    def result(self) -> tuple[float, float | None]:
        """The score and its standard error, or None where that is not known."""


class _Mean:
    """The mean of figures."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._sum, self._squares, self._count, self._has_each = 0.0, 0.0, 0, True

    def add(self, outputs: Tensor, targets: Targets) -> None:
        found = self._metric._asked(self._metric.score, outputs, targets, "the metric")
        try:
            values = torch.as_tensor(found).detach().to(torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"the metric {self._metric.name} returns numbers, not {_say(found)}"
            ) from error
        if not values.ndim:
            values, self._has_each = values.expand(len(targets)), False
        self._sum += float(values.sum())
        self._squares += float((values**2).sum())
        self._count += values.numel()

    def result(self) -> tuple[float, float | None]:
        if not self._count:
            raise InputError(f"{self._metric.name} of this split counts nothing: look at targets")
        mean = self._sum / self._count
        variance = max(0.0, self._squares / self._count - mean**2)
        error = math.sqrt(variance / self._count) if self._has_each else None
        finish = self._metric.finish
        if finish is None:
            return self._metric.checked(mean), error
        if error is not None:
            error = abs(_finished(finish, mean + error) - _finished(finish, mean - error)) / 2
        return self._metric.checked(_finished(finish, mean)), error


def _finished(finish: Callable[[float], float], mean: float) -> float:
    try:
        return float(finish(mean))
    except OverflowError:
        return math.inf
    except ValueError:  # outside what the function is defined on
        return math.nan


class _Whole:
    """What an object computes of a split."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._own = metric, copy.deepcopy(metric.score)
        self._own.reset()

    def add(self, outputs: Tensor, targets: Targets) -> None:
        self._metric._asked(self._own.update, outputs.cpu(), targets.cpu(), "the metric")

    def result(self) -> tuple[float, float | None]:
        found = self._metric._asked(self._own.compute, "the metric")
        try:
            return self._metric.checked(float(found)), None
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"the metric {self._metric.name} computes one number, not {_say(found)}"
            ) from error


def metric_of(given: Any) -> Metric:
    """A metric, made of a function or an object that says which way is better."""
    return given if isinstance(given, Metric) else Metric(given)


def check_pickles(metric: Metric) -> None:
    """Refuse what other processes cannot be given.

    Raises:
        InputError: a function that no module has under its name.
    """
    reason = ""
    try:
        pickle.dumps(metric)
    except Exception as error:  # pickle's errors have no common class
        reason = " ".join(str(error).split())
    main = sys.modules.get("__main__")
    parts = (metric.score, metric.finish, metric.loss)
    if not hasattr(main, "__file__") and any(
        getattr(part, "__module__", "") == "__main__" for part in parts
    ):
        reason = "it was defined at a prompt or in a notebook"
    if reason:
        raise InputError(
            f"the metric {metric.name} cannot be given to other processes ({reason}): define it at "
            f"the top level of a module, or search with workers=1"
        )


def default_loss(outputs: Tensor, targets: Targets) -> Tensor:
    """Cross-entropy of whole-numbered targets, mean squared error of others; a mean.

    Raises:
        InputError: outputs and targets do not fit together.
    """
    if not targets.dtype.is_floating_point:
        _check_classes(outputs, targets)
        return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())
    if outputs.shape != targets.shape:
        raise InputError(
            f"outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)} "
            f"have no squared error: give targets of the outputs' shape, or a loss"
        )
    return functional.mse_loss(outputs, targets)


def _check_classes(outputs: Tensor, targets: Targets) -> None:
    classes = outputs.shape[-1] if outputs.ndim else 0
    if outputs.shape[:-1] == targets.shape and int(targets.max()) < classes:
        return
    raise InputError(
        f"outputs of shape {tuple(outputs.shape)} and whole-numbered targets of shape "
        f"{tuple(targets.shape)}, up to {int(targets.max())}, have no cross-entropy: give the "
        f"metric a loss, or targets that are real numbers"
    )


def counted_in(targets: Targets) -> int:
    """How much a batch's `default_loss` is the mean of."""
    if targets.dtype.is_floating_point:
        return targets.numel()
    return int((targets != IGNORED).sum())


def _name_of(score: Any) -> str:
    return str(getattr(score, "__name__", type(score).__name__))


def _say(found: Any) -> str:
    return f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
