"""What means over seeds say against a limit: yes, no, or neither within their error."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from studies._spread import half_width
from studies.fixed_multiplier._sampling import NORMAL_95

HOLDS, FAILS, OPEN = "holds", "does not hold", "open within the spread"
MISSING = "not measured here"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % confidence interval (Student's t).

    Attributes:
        mean: in percentage points, as everything here.
        half_width: of the interval; of a single seed, of that from the sample of test images.
    """

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half_width

    def at_most(self, limit: float) -> str:
        """Whether it is at or below a limit, with all of its interval: a verdict."""
        if self.high <= limit:
            return HOLDS
        return FAILS if self.low > limit else OPEN

    def above(self, limit: float) -> str:
        """Whether it is above a limit, with all of its interval: the opposite of `at_most`."""
        return {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}[self.at_most(limit)]

    def text(self, sign: str = "") -> str:
        """The mean, ± half its interval; ``sign="+"`` shows a plus."""
        return f"{self.mean:{sign}.2f} ± {self.half_width:.2f}"


def estimate(values: np.ndarray, errors: np.ndarray) -> Estimate:
    """Of one value per seed.

    Args:
        values: shape ``(seeds,)``.
        errors: standard error of each from the sample of test images. The spread over seeds has
            it in it already, so that it counts only where there is one seed.
    """
    width = half_width(values) if len(values) > 1 else NORMAL_95 * float(errors[0])
    return Estimate(float(values.mean()), width)


Point = tuple[tuple[int, ...], Estimate]
"""An index along all axes but the last, which is that of seeds, and what is there."""


def largest(values: np.ndarray, errors: np.ndarray) -> Point:
    """Of several points, ``[..., seed]``, the one with the largest mean."""
    return max(_points(values, errors), key=lambda point: point[1].mean)


def deciding(values: np.ndarray, errors: np.ndarray, limit: float) -> Point:
    """The point that decides whether all are at most ``limit``, and whether any is above it.

    It is the one that is most clearly above, or else the one that may reach highest; so its own
    verdict is that of all points together. Each point has its own interval: all are at or below
    the limit only if every interval is.

    Args:
        values: ``[..., seed]``.
        errors: of the test images, same shape.
        limit: in the values' unit.
    """
    points = _points(values, errors)
    surest = max(points, key=lambda point: point[1].low)
    return surest if surest[1].low > limit else max(points, key=lambda point: point[1].high)


def _points(values: np.ndarray, errors: np.ndarray) -> list[Point]:
    indices = np.ndindex(values.shape[:-1])
    return [(index, estimate(values[index], errors[index])) for index in indices]


def all_of(verdicts: Iterable[str]) -> str:
    """Of parts that must all hold: one that does not is enough against it."""
    given = set(verdicts)
    return next((verdict for verdict in (FAILS, OPEN) if verdict in given), HOLDS)
