"""A score's figure as tables and pictures have it."""

import numpy as np

from models import Score


def figure(score: Score) -> float:
    """Accuracy in percent, the figure of a metric in its own unit."""
    return 100 * score.accuracy if score.is_accuracy else score.value


def standard_error(score: Score) -> float | None:
    """Of `figure`: binomial of an accuracy, that which a metric knows of itself, or None."""
    if not score.is_accuracy:
        return score.error
    # Agresti–Coull's pseudo-counts keep it from vanishing at 100 %.
    rate = (score.accuracy * score.images + 2) / (score.images + 4)
    return float(100 * np.sqrt(rate * (1 - rate) / (score.images + 4)))


def label(score: Score) -> str:
    """What `figure` is, with its unit."""
    return "accuracy (%)" if score.is_accuracy else score.measure.name
