"""What it takes to have several circuits on one chip."""

import dataclasses
import math

from energy._figures import Figures, published_figures
from models import Assignment


@dataclasses.dataclass(frozen=True)
class DistinctArea:
    """Area of one of each circuit that an assignment uses.

    It bounds from below what a processing element takes that can do every site: at least one
    multiplier of each, beside which it needs multiplexers.

    Attributes:
        count: number of circuits.
        area_um2: their areas together, in square micrometre.
        area_rel: that, relative to one exact multiplier.
    """

    count: int
    area_um2: float
    area_rel: float


def distinct_area(assignment: Assignment, figures: Figures | None = None) -> DistinctArea:
    """Area of the distinct circuits of ``assignment``, those of routers included.

    A circuit counts once, however many sites use it and in whichever operand order.

    Args:
        assignment: a choice for every site.
        figures: areas; by default the published ones.

    Raises:
        InputError: no figures for a multiplier.
    """
    figures = published_figures() if figures is None else figures
    names = {choice.multiplier for choice in assignment.choices.values()}
    area_um2 = math.fsum(figures.multiplier(name).area_um2 for name in names)
    return DistinctArea(
        count=len(names),
        area_um2=area_um2,
        area_rel=area_um2 / figures.multiplier(figures.exact).area_um2,
    )
