"""The same cost as `energy.cost`, for thousands of assignments at once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from energy._activity import activities
from energy._cost import (
    EnergyModel,
    check_model,
    constant_costs,
    dense_energy_pj,
    site_cost,
    switching_of,
)
from energy._figures import Figures, published_figures
from energy._workload import Workload
from luts.errors import InputError
from models import Choice

Floats = npt.NDArray[np.float64]


class CostModel:
    """Energy of assignments given as one choice index per site.

    Energy is additive over sites, so a table of site × choice holds everything.

    Args:
        workload: the network.
        choices: what index c means, the same at every site.
        figures: power and energies; by default the published ones.
        model: what is counted, one of `energy.MODELS`.

    Attributes:
        contributions: part of ``energy_rel`` that each choice causes at each site, float64 of
            shape ``(sites, choices)``.
        constant: part of ``energy_rel`` that no choice changes (overhead, and what is no site).
        dense_energy_pj: energy of the exact dense network for one input, in picojoule.

    Raises:
        InputError: sites, choices, routing and figures do not fit together.
    """

    def __init__(
        self,
        workload: Workload,
        choices: Sequence[Choice],
        figures: Figures | None = None,
        *,
        model: EnergyModel = "multipliers",
    ) -> None:
        check_model(model)
        figures = published_figures() if figures is None else figures
        if not choices:
            raise InputError("a cost model takes at least one choice, not 0")
        self.sites = workload.sites
        self.choices = tuple(choices)
        active = activities(workload, batch_size=figures.batch_size)
        switching = switching_of(workload, figures, model)
        dense_pj = dense_energy_pj(workload, figures, model, switching)
        table = [
            [site_cost(a, c, figures, model, switching).energy_pj for c in choices] for a in active
        ]
        constant_pj = sum(
            row.energy_pj for row in constant_costs(workload, figures, model, switching)
        )
        self.contributions: Floats = np.array(table, dtype=np.float64) / dense_pj
        self.contributions.setflags(write=False)
        self.constant = constant_pj / dense_pj
        self.dense_energy_pj = dense_pj

    def energy_rel(self, codes: npt.ArrayLike) -> Floats:
        """Relative energy of assignments.

        Args:
            codes: index of the choice at each site, integers of shape ``(n, sites)`` or
                ``(sites,)``.

        Returns:
            float64 of shape ``(n,)``, or a scalar array for one assignment.

        Raises:
            InputError: the wrong number of sites, or an index without a choice.
        """
        array = np.asarray(codes)
        if array.dtype.kind not in "iu" or array.shape[-1:] != (len(self.sites),):
            raise InputError(
                f"assignments are integers of shape (n, {len(self.sites)}), "
                f"not {array.dtype} of shape {array.shape}"
            )
        if array.size and not (0 <= array.min() and array.max() < len(self.choices)):
            raise InputError(
                f"choices are numbered 0…{len(self.choices) - 1}, not {array.min()}…{array.max()}"
            )
        chosen = self.contributions[np.arange(len(self.sites)), array]
        total: Floats = chosen.sum(axis=-1) + self.constant
        return total
