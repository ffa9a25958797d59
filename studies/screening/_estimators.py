"""Estimates of what each choice does at each site, to be added up over an assignment."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dse import Evaluator, SearchSpace
from dse.scoring import SAMPLED_IMAGES, one_gradient_pass
from luts.console import Reporter
from models import EmulatedNetwork
from studies.screening._closed_form import closed_form
from studies.search_efficiency import Estimator, screened

Matrix = npt.NDArray[np.float64]


def combined(evaluator: Evaluator, space: SearchSpace, seed: int, reporter: Reporter) -> Matrix:
    """The geometric mean of the Jacobian and ``K·var``."""
    moved = screened(evaluator, space, seed, reporter)
    erring = moments(corrected=True, weighted=False)(evaluator, space, seed, reporter)
    return geometric_mean(moved, erring)


def geometric_mean(moved: Matrix, erring: Matrix) -> Matrix:
    """Of two estimates in different units, in the units of the first one."""
    both = (moved > 0) & (erring > 0)
    if not both.any():
        return moved
    # A sample may miss errors that are there: harmless is only what both call so, to rounding.
    least, erring_least = (1e-9 * float(np.median(part[both])) for part in (moved, erring))
    harmless = (moved <= least) & (erring <= erring_least)
    moved, erring = np.maximum(moved, least), np.maximum(erring, erring_least)
    ratio = float(np.exp(np.log(moved[both] / erring[both]).mean()))
    return np.where(harmless, 0.0, np.sqrt(moved * erring * ratio))


def moments(*, corrected: bool, weighted: bool) -> Estimator:
    """Closed forms from the truth table and the operands' histograms.

    Args:
        corrected: ``K·var``, as after bias correction, and not ``K·var + K²·bias²``.
        weighted: times the mean squared gradient of the logits there.
    """

    def estimate(evaluator: Evaluator, space: SearchSpace, seed: int, reporter: Reporter) -> Matrix:
        emulated, batch = evaluator.emulated, evaluator.inputs[:SAMPLED_IMAGES]
        assert isinstance(batch, torch.Tensor)
        errors = closed_form(emulated, batch, space, corrected=corrected, reporter=reporter)
        if not weighted:
            return errors
        by_site = _squared_gradients(emulated, batch, space, seed)
        weights: Matrix = np.array([by_site.get(name, 0.0) for name in space.free])
        return errors * weights[:, None]

    return estimate


def one_forward(images: int) -> Estimator:
    """Rise of the cross-entropy with one site approximate at a time."""

    @torch.no_grad()
    def estimate(evaluator: Evaluator, space: SearchSpace, seed: int, reporter: Reporter) -> Matrix:
        emulated = evaluator.emulated
        data = evaluator.data.train.take(images)
        inputs, labels = data.images, data.labels
        exact = float(F.cross_entropy(emulated(inputs), labels))
        rows = []
        for name in reporter.track(space.free, "one forward per site and choice"):
            layer, row = emulated.layer(name), []
            with emulated.restored():
                for choice in space.choices:
                    layer.assign_(choice.arithmetic(space.catalog))
                    row.append(float(F.cross_entropy(emulated(inputs), labels)) - exact)
            rows.append(row)
        return np.array(rows)

    return estimate


def _squared_gradients(
    emulated: EmulatedNetwork, batch: torch.Tensor, space: SearchSpace, seed: int
) -> dict[str, float]:
    """Sum over an image's outputs of the squared gradient of the projected logits."""
    gradients = one_gradient_pass(emulated, batch, space.free, seed=seed)
    return {
        name: sum(float((gradient.double() ** 2).sum()) for _, gradient in calls) / len(batch)
        for name, calls in gradients.items()
    }


def estimators(forward_images: int) -> dict[str, Estimator]:
    """All, by the name that the table gives them."""
    return {
        "K var + K2 bias2": moments(corrected=False, weighted=False),
        "K var": moments(corrected=True, weighted=False),
        "(K var + K2 bias2) * gradient2": moments(corrected=False, weighted=True),
        "K var * gradient2": moments(corrected=True, weighted=True),
        "jacobian": screened,
        "K var and jacobian": combined,
        "one forward a site": one_forward(forward_images),
    }
