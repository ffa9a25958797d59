"""How much circuits switch at the sites of a network: the factor of the energy model ``activity``.

A circuit's energy goes into the nets that change: of the exact array at the power that it was
published with, leakage is less than 1 % (`luts.circuits`, 45 nm cells). So a product's energy at a
site is that of the figures times ::

    toggles per product of the site's own operand steps / toggles per pair of uniform operands

with the toggles that the estimate of power weighs, glitches included
(`luts.circuits.weighted_toggles`), of the circuit's own netlist. The steps are sampled
(`models.sample_operands`): weights are held, activations stream. With operands drawn uniformly and
independently for every product the factor is 1, and the figure the published or estimated one.
Rounded operands are rounded before they are counted.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

import luts
from energy._figures import OPERAND_BITS, Figures, MultiplierFigures
from energy._workload import Workload
from luts.circuits import Netlist, weighted_toggles
from luts.errors import InputError
from models import Choice, OperandSteps, SampledOperands, Site

Codes = npt.NDArray[np.uint8]
Patterns = npt.NDArray[np.int64]

ACTIVITY = "activity"
"""Name of the energy model that counts toggles."""

UNIFORM_STEPS = 16_384
BLOCK = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Switching:
    """Toggles of circuits at the sites of a network, relative to those of uniform operands.

    Attributes:
        operands: the steps that were sampled at its sites.
        figures: which circuit a name means.
        twins: for a site in an expert, its namesakes in all experts of the layer.
    """

    operands: SampledOperands
    figures: Figures
    twins: Mapping[str, tuple[str, ...]]
    _known: dict[Choice, dict[str, float]] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, workload: Workload, figures: Figures) -> "Switching":
        """That of a network whose operands were sampled.

        Raises:
            InputError: they were not, or not at every site.
        """
        if workload.operands is None:
            raise InputError(
                f"the energy model {ACTIVITY} takes the operands of the network's sites, sampled "
                f"on images: name a run that kept them, or give models.sample_operands(…) as "
                f"Workload.operands"
            )
        found = cls(workload.operands, figures, _twins(workload.sites))
        for site in (*workload.sites, *workload.reference):
            found._sampled(site)
        return found

    def factor(self, site: Site, choice: Choice) -> float:
        """Toggles of a product at a site, relative to one of uniform operands.

        The experts of a layer are taken together, by the steps that each of them saw, for the dense
        layer that they were made of; and in mean for an expert that no image reached.

        Raises:
            InputError: no netlist is known of the circuit.
        """
        names = self._sampled(site)
        if choice not in self._known:
            self._known[choice] = self._factors(choice)
        factors = self._known[choice]
        if len(names) == 1:
            return factors[names[0]]
        seen = [self.operands.sites[name].seen for name in names]
        return float(np.average([factors[name] for name in names], weights=seen))

    def mean(self, sites: Iterable[Site], choice: Choice) -> float:
        """The factor of a choice in mean over the MACs of sites.

        Raises:
            InputError: no netlist is known of the circuit.
        """
        factors, macs = zip(
            *((self.factor(site, choice), site.macs) for site in sites), strict=True
        )
        return float(np.average(factors, weights=macs))

    def _sampled(self, site: Site) -> tuple[str, ...]:
        """Names of the sampled sites whose steps stand for those of ``site``."""
        twins = self.twins.get(site.name, (site.name,))
        sampled = tuple(name for name in twins if name in self.operands.sites)
        if site.expert is not None and site.name in sampled:
            return (site.name,)
        if not sampled:
            raise InputError(
                f"no operands were sampled at {site.name} ({self.operands.source}), so that the "
                f"energy model {ACTIVITY} cannot price it; sample them on more images"
            )
        return sampled

    def _factors(self, choice: Choice) -> dict[str, float]:
        figures = self.figures.multiplier(choice.multiplier)
        netlist = circuit_of(choice.multiplier, figures)
        ignored = (0, 0)
        if choice.rounded:
            ignored = OPERAND_BITS - figures.first_bits, OPERAND_BITS - figures.second_bits
        ports = _Ports(choice.swapped, ignored, figures.signed)
        return _factors(self.operands, netlist, ports)


def circuit_of(name: str, figures: MultiplierFigures) -> Netlist:
    """The circuit that figures are of.

    Raises:
        InputError: it is not known, for of a mere table toggles cannot be counted; or no gate is in
            it.
    """
    if figures.netlist is None:
        raise InputError(
            f"no netlist is known of {name}, so that its toggles cannot be counted; load the "
            f"circuit from Verilog, or choose another --energy-model"
        )
    if not figures.netlist.cells:
        raise InputError(
            f"{name} is wires alone, of which no toggles are counted; choose another --energy-model"
        )
    return figures.netlist


def check_circuits(names: Iterable[str], figures: Figures) -> None:
    """Check that toggles can be counted of every circuit.

    Raises:
        InputError: no netlist is known of one.
    """
    for name in names:
        circuit_of(name, figures.multiplier(name))


@dataclasses.dataclass(frozen=True)
class _Ports:
    """How codes come to a circuit's ports.

    Attributes:
        swapped: the weight goes to the first port.
        ignored: low bits that the first and the second port get rounded away.
        signed: the circuit takes codes; else magnitudes.
    """

    swapped: bool
    ignored: tuple[int, int]
    signed: bool

    def patterns(self, activations: Codes, weights: Codes) -> tuple[Patterns, Patterns]:
        """Bit patterns at the first and at the second port."""
        codes = (weights, activations) if self.swapped else (activations, weights)
        fed = [luts.rounded_codes(t)[c] for t, c in zip(self.ignored, codes, strict=True)]
        first, second = (
            c.astype(np.int64) if self.signed else np.abs(c.view(np.int8).astype(np.int64))
            for c in fed
        )
        return first, second


@functools.lru_cache(maxsize=256)
def _factors(operands: SampledOperands, netlist: Netlist, ports: _Ports) -> dict[str, float]:
    """Relative toggles at every site, all of them simulated together."""
    blocks = [_blocks(steps) for steps in operands.sites.values()]
    before, after, held = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    toggles = weighted_toggles(netlist, ports.patterns(before, held), ports.patterns(after, held))
    per_site = toggles.reshape(len(blocks), -1).sum(axis=1) / len(blocks[0][0])
    relative = per_site / _uniform_toggles(netlist)
    return dict(zip(operands.sites, relative.tolist(), strict=True))


def _blocks(steps: OperandSteps) -> tuple[Codes, Codes, Codes]:
    """The steps, the first of them cut so that they fill whole words."""
    n = len(steps.before) // BLOCK * BLOCK
    if not n:
        raise InputError(f"toggles are counted in blocks of {BLOCK} steps; sample at least as many")
    return steps.before[:n], steps.after[:n], steps.held[:n]


@functools.lru_cache(maxsize=1024)
def _uniform_toggles(netlist: Netlist) -> float:
    """Toggles per product where every bit of both operands is a fresh coin toss."""
    random = np.random.default_rng(0)
    first, second = (random.integers(0, 1 << width, UNIFORM_STEPS + 1) for width in netlist.widths)
    before, after = (first[:-1], second[:-1]), (first[1:], second[1:])
    return float(weighted_toggles(netlist, before, after).sum()) / UNIFORM_STEPS


def _twins(sites: Iterable[Site]) -> dict[str, tuple[str, ...]]:
    """For each site in an expert, the sites at the same place in all experts of its layer."""
    experts: dict[str, dict[int, list[str]]] = {}
    for site in sites:
        if site.expert_layer is not None and site.expert is not None:
            layer = experts.setdefault(site.expert_layer, {})
            layer.setdefault(site.expert, []).append(site.name)
    twins: dict[str, tuple[str, ...]] = {}
    for layer in experts.values():
        places: Sequence[Sequence[str]] = list(layer.values())
        if len({len(names) for names in places}) == 1:
            for names in zip(*places, strict=True):
                twins |= dict.fromkeys(names, names)
    return twins
