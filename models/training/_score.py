"""What a network scores, and in which measure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luts.errors import InputError

FEW_IMAGES = 2_000
"""Below this many images cross-entropy tells networks apart that accuracy cannot."""


@dataclass(frozen=True)
class Measure:
    """What the figure of a score is.

    Attributes:
        name: as tables and files call it.
        higher_is_better: or lower.
        best: the figure of a network without fault, which none surpasses.
    """

    name: str
    higher_is_better: bool
    best: float

    def hundred_points(self, value: float) -> float:
        """What a hundred points are, in the measure's own unit.

        The best value, as of accuracy; where lower is better, or the best value is 0, what
        ``value`` lacks to the best one, or 1 if it is the best one.

        Args:
            value: of the network that others are compared with.
        """
        if self.higher_is_better and self.best:
            return abs(self.best)
        return abs(value - self.best) or 1.0


ACCURACY = Measure("accuracy", higher_is_better=True, best=1.0)


@dataclass(frozen=True)
class Score:
    """How well a network does on a split.

    Attributes:
        value: top-1 accuracy from 0 to 1, or the figure of a `Metric` in its own unit.
        loss: mean cross-entropy in nats, or the mean of that metric's loss.
        images: how many inputs were scored.
        measure: what ``value`` is.
        error: standard error of ``value``, where a metric gives one figure for each input.
    """

    value: float
    loss: float
    images: int
    measure: Measure = ACCURACY
    error: float | None = None

    @property
    def is_accuracy(self) -> bool:
        """Whether this is top-1 accuracy and cross-entropy, not the user's own."""
        return self.measure == ACCURACY

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy from 0 to 1.

        Raises:
            InputError: the score is in another measure.
        """
        return self._of_classes(self.value)

    @property
    def cross_entropy(self) -> float:
        """Mean cross-entropy in nats.

        Raises:
            InputError: the score is in another measure.
        """
        return self._of_classes(self.loss)

    def _of_classes(self, figure: float) -> float:
        if not self.is_accuracy:
            raise InputError(
                f"this score is of {self.measure.name}, neither accuracy nor cross-entropy: read "
                f"its value and its loss"
            )
        return figure

    @property
    def quality(self) -> float:
        """The figure as more is better: ``value``, or its negative where lower is better."""
        return self.value if self.measure.higher_is_better else -self.value

    @property
    def shortfall(self) -> float:
        """What the figure lacks to the best one; never negative, less is better."""
        best = self.measure.best
        return best - self.value if self.measure.higher_is_better else self.value - best

    def quality_less(self, points: float) -> float:
        """The `quality` of a network that many points worse; see `Measure.hundred_points`."""
        return self.quality - points * self.measure.hundred_points(self.value) / 100

    def points_above(self, other: "Score", exact: "Score") -> float:
        """How many points better than another, of the size that they have for ``exact``."""
        gained = self.quality - other.quality
        return 100 * gained / self.measure.hundred_points(exact.value)

    def shown(self, digits: int) -> str:
        """The figure to be read: accuracy in percent, others in their own unit."""
        if self.is_accuracy:
            return f"{100 * self.value:.{digits}f} %"
        return f"{self.measure.name} {self.value:.{digits + 3}g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        if self.is_accuracy:
            return {"accuracy": self.value, "cross_entropy": self.loss, "images": self.images}
        return {
            "value": self.value,
            "loss": self.loss,
            "images": self.images,
            "measure": vars(self.measure).copy(),
            "error": self.error,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Score":
        """The inverse of `to_dict`."""
        if "measure" not in values:
            accuracy, loss = float(values["accuracy"]), float(values["cross_entropy"])
            return cls(accuracy, loss, int(values["images"]))
        return cls(
            float(values["value"]),
            float(values["loss"]),
            int(values["images"]),
            Measure(**values["measure"]),
            values["error"],
        )
