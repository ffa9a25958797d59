"""How often an assignment's own network uses each expert, beside the frozen frequencies.

A search charges energy with frequencies of the exact int8 network, so that energy stays additive
over sites. Approximation and fine-tuning move tokens to other experts; how far is measured at the
close, for the networks that are at hand then.
"""

from collections.abc import Mapping

from dse.problem import Trial
from dse.scoring import BATCH_SIZE, Evaluator
from dse.study import SearchConfig
from energy import Workload, cost, run_files
from models import EmulatedNetwork, Routing, measure_routing
from models.networks import in_batches

OWN_ENERGY = run_files.OWN_ENERGY
"""Column of the energies under an assignment's own frequencies."""


def measure_own(evaluator: Evaluator, emulated: EmulatedNetwork, what: str) -> Routing | None:
    """Frequencies of an assigned network, on the images of the frozen ones; None without experts.

    Args:
        evaluator: whose calibration images are used.
        emulated: the network as it was scored.
        what: what the routing's source calls the network.
    """
    if not any(site.expert_layer for site in emulated.sites):
        return None
    images = evaluator.inputs
    source = f"{what}, {len(images)} training images"
    return measure_routing(emulated.network, in_batches(images, BATCH_SIZE), source=source)


def own_energies(
    routings: Mapping[int, Routing],
    trials: Mapping[int, Trial],
    workload: Workload,
    config: SearchConfig,
) -> dict[int, float]:
    """Relative energy of each trial under its own frequencies, by number."""
    return {
        number: cost(
            workload.under(routing), trials[number].assignment, model=config.energy_model
        ).energy_rel
        for number, routing in routings.items()
    }
