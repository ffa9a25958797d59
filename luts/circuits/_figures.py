"""Power, area and delay of a netlist, estimated from its cells and their switching.

============  ====================================================================================
power, mW     ``p1·(S + O/4) + p2·(F + (H + X)/10 + G/20)``, S: toggles per operand pair of full
              adders' sums, O: those of half adders' sums and of gates, with glitches
              (`luts.circuits.toggles`); F full adders, H half adders, X exclusive ors and
              multiplexers, G other gates
area, µm²     ``r1·(F + H + X/2) + r2·G + r3·D``, D: gates on the longest way: the cells on it are
              drawn larger
delay, ns     ``d1·D + d2``
============  ====================================================================================

The weights, none negative, are those of least relative error over 64 signed and unsigned
multipliers of 8, 12 and 16 bits that EvoApproxLib publishes as netlists with figures in their
headers (45 nm PDK): all whose files are flat netlists of adders and gates; three more that leave
the last adder to the synthesiser (``+``) are not among them. `data/netlist_calibration.csv` has
what was measured and published of each, `data/figures_model.csv` the weights and the errors of
circuits left out of the fit (`luts.calibrate` makes both).

The fractions 1/4, 1/10 and 1/20 are choices: a fit of them is undetermined, for an array has about
as many of each kind, and would price half adders and gates at nothing. Other choices (0…1/2,
0…1/5, 0…1/20) leave the median error of power between 0.8 and 1.4 %, and nine in ten circuits
below 2.6 to 3.6 %.

Source: EvoApproxLib, https://github.com/ehw-fit/evoapproxlib (MIT), master branch; V. Mrazek et
al., IEEE TVLSI 26(11), 2018, doi:10.1109/TVLSI.2018.2856362.
"""

import csv
import dataclasses
import functools
from importlib import resources

import numpy as np

from luts._multiplier import FIGURES, FiguresError
from luts.circuits._netlist import Netlist, check_8x8
from luts.circuits._switching import OTHER_TOGGLES, Int64, depth, toggles
from luts.errors import InputError

MODEL_CSV = "data/figures_model.csv"
N_PAIRS = 16_385
"""Random operand pairs for switching; power moves by about 0.2 % with the seed."""

EXCLUSIVE = ("XOR", "XNOR", "MUX")
FEWEST_ADDERS = 8
"""Full adders of the smallest circuit that the estimate was calibrated on."""


@dataclasses.dataclass(frozen=True)
class NetlistFeatures:
    """What the estimate knows of a circuit.

    Attributes:
        full_adders: how many.
        half_adders: how many.
        exclusive: exclusive ors and multiplexers.
        gates: other gates.
        adder_toggles: toggles of full adders' sums per operand pair.
        other_toggles: toggles of half adders' sums and of all gates per operand pair.
        depth: gates on the longest way.
    """

    full_adders: int
    half_adders: int
    exclusive: int
    gates: int
    adder_toggles: float
    other_toggles: float
    depth: int

    @property
    def terms(self) -> dict[str, tuple[float, ...]]:
        """What the weights of each figure multiply."""
        small = (self.half_adders + self.exclusive) / 10 + self.gates / 20
        adders = self.full_adders + self.half_adders + self.exclusive / 2
        return {
            "power_mw": (
                self.adder_toggles + OTHER_TOGGLES * self.other_toggles,
                self.full_adders + small,
            ),
            "area_um2": (adders, self.gates, self.depth),
            "delay_ns": (self.depth, 1),
        }


@dataclasses.dataclass(frozen=True)
class FigureEstimate:
    """Estimated figures of a circuit.

    Attributes:
        power_mw: power in milliwatt.
        area_um2: area in square micrometre.
        delay_ns: delay in nanosecond.
        error: what each is uncertain by, in percent.
    """

    power_mw: float
    area_um2: float
    delay_ns: float
    error: FiguresError


@dataclasses.dataclass(frozen=True)
class FigureModel:
    """How one figure is estimated, and how well.

    Attributes:
        weights: one per term of `NetlistFeatures.terms`.
        left_out_median_pct: median error of circuits left out of the fit, in percent.
        left_out_p90_pct: what nine in ten of them stay below.
        left_out_max_pct: the largest.
        smaller_p90_pct: what nine in ten circuits of less than 50 full adders stay below when only
            circuits with at least twice their full adders are fitted.
        left_out_spearman: rank correlation of estimated and published figures.
    """

    weights: tuple[float, ...]
    left_out_median_pct: float
    left_out_p90_pct: float
    left_out_max_pct: float
    smaller_p90_pct: float
    left_out_spearman: float

    def value(self, terms: tuple[float, ...]) -> float:
        """The figure of a circuit with these terms."""
        return sum(weight * term for weight, term in zip(self.weights, terms, strict=True))

    def error_pct(self, *, is_array: bool, is_small: bool) -> float:
        """What the figure of a circuit is uncertain by (`estimate` says what the two mean)."""
        if not is_array:
            return self.left_out_max_pct
        return max(self.left_out_p90_pct, self.smaller_p90_pct if is_small else 0)


def features(
    netlist: Netlist, first: Int64 | None = None, second: Int64 | None = None
) -> NetlistFeatures:
    """What the estimate knows of ``netlist``.

    Args:
        netlist: the circuit.
        first: bit patterns of the first operand in the order of time, shape ``(pairs,)``; uniform
            random ones where not given.
        second: those of the second operand.
    """
    if first is None or second is None:
        random = np.random.default_rng(0)
        first, second = (random.integers(0, 1 << width, N_PAIRS) for width in netlist.widths)
    timed = toggles(netlist, first, second).timed
    kinds = netlist.counts
    exclusive = sum(kinds.get(kind, 0) for kind in EXCLUSIVE)
    full, half = kinds.get("FA", 0), kinds.get("HA", 0)
    return NetlistFeatures(
        full_adders=full,
        half_adders=half,
        exclusive=exclusive,
        gates=len(netlist.cells) - full - half - exclusive,
        adder_toggles=float(sum(timed[c.outputs[0]] for c in netlist.cells if c.kind == "FA")),
        other_toggles=float(sum(timed[c.outputs[0]] for c in netlist.cells if c.kind != "FA")),
        depth=depth(netlist),
    )


def estimate(netlist: Netlist, *, is_array: bool = False) -> FigureEstimate:
    """Power, area and delay of an 8×8 multiplier, at uniform random operands.

    Args:
        netlist: the circuit.
        is_array: whether it is built as those that were calibrated on. Its error is then what nine
            in ten of them stayed below when they were left out of the fit (where it has fewer full
            adders than all of them, when only larger ones were fitted). Of any other circuit, and
            of one with less than half as many, it is the error of the worst.

    Raises:
        InputError: an operand has not 8 bits, or nothing is left to price.
    """
    check_8x8(netlist)
    if not netlist.cells:
        raise InputError(f"{netlist.name} has no cells: its product is constant or an operand's")
    known, models = features(netlist), figure_models()
    power, area, delay = (models[figure].value(known.terms[figure]) for figure in FIGURES)
    is_small = known.full_adders < FEWEST_ADDERS
    is_alike = is_array and 2 * known.full_adders >= FEWEST_ADDERS
    errors = [models[figure].error_pct(is_array=is_alike, is_small=is_small) for figure in FIGURES]
    return FigureEstimate(power, area, delay, FiguresError(*errors))


@functools.cache
def figure_models() -> dict[str, FigureModel]:
    """The model of each figure, as calibrated."""
    text = resources.files("luts").joinpath(MODEL_CSV).read_text(encoding="utf-8")
    return {
        row.pop("figure"): FigureModel(
            weights=tuple(float(weight) for weight in row.pop("weights").split()),
            **{key: float(value) for key, value in row.items()},
        )
        for row in csv.DictReader(text.splitlines())
    }
