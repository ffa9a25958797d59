"""What an assignment costs, row by row."""

import dataclasses
import math

import pandas as pd

from luts.errors import InputError
from models import Choice

UNCOVERED = "uncovered"
"""Kind of a row whose products are no site."""

COMPONENTS = ("multiplier", "adder", "router", "weight_traffic", "activation_traffic")
"""Parts of a row's energy."""


@dataclasses.dataclass(frozen=True)
class SiteCost:
    """What one site costs for one input, in expectation over the routing.

    Attributes:
        site: the site's name; for MACs outside sites, the expert layer's with ``.overhead``, or the
            module's with ``.uncovered``.
        kind: the site's kind, ``overhead`` or ``uncovered``.
        expert_layer: qualified name of the expert layer it belongs to, or None.
        expert: index of the expert in that layer, or None.
        multiplier: name of the multiplier, or ``float32``.
        swapped: the weight goes to the multiplier's first port.
        rounded: operands are rounded to the bits that the multiplier looks at, not cut.
        macs: multiply-accumulates for one input if every item came here.
        rate: part of the items that do come here.
        activation_bits: bits of an activation that the multiplier looks at.
        weight_bits: bits of a weight that it looks at; in attention of k or v.
        switching: toggles of a product, relative to one of uniform operands; 1 unless the energy
            model counts them.
        multiplier_pj: products, in picojoule; 0 for routers and overhead.
        adder_pj: accumulations, in picojoule; 0 for routers and overhead.
        router_pj: products and accumulations of routers and overhead, in picojoule.
        weight_traffic_pj: reading weights, in picojoule.
        activation_traffic_pj: reading inputs and writing outputs, in picojoule.
    """

    site: str
    kind: str
    expert_layer: str | None
    expert: int | None
    multiplier: str
    swapped: bool
    macs: int
    rate: float
    activation_bits: int = 8
    weight_bits: int = 8
    rounded: bool = False
    switching: float = 1.0
    multiplier_pj: float = 0.0
    adder_pj: float = 0.0
    router_pj: float = 0.0
    weight_traffic_pj: float = 0.0
    activation_traffic_pj: float = 0.0

    @property
    def choice(self) -> str:
        """The multiplier with its operand order and how its operands are made, for a person."""
        return str(Choice(self.multiplier, self.swapped, self.rounded))

    @property
    def macs_expected(self) -> float:
        """Multiply-accumulates expected for one input."""
        return self.macs * self.rate

    @property
    def energy_pj(self) -> float:
        """All components, in picojoule."""
        return math.fsum(getattr(self, f"{component}_pj") for component in COMPONENTS)


@dataclasses.dataclass(frozen=True)
class CostBreakdown:
    """What an assignment costs for one input.

    Sums are correctly rounded (`math.fsum`), so they do not depend on the order of the rows.

    Attributes:
        rows: one per site, then one per module with products that are none, then one per expert
            layer with overhead.
        dense_energy_pj: what the dense network with the exact multiplier costs under the same
            model, in picojoule: the denominator of ``energy_rel``.
        dense_macs: multiply-accumulates of the dense network.
        model: name of the energy model.
        convention: how power and delay became energy.
        routing_source: where the activation rates come from.

    Raises:
        InputError: two rows have the same name.
    """

    rows: tuple[SiteCost, ...]
    dense_energy_pj: float
    dense_macs: int
    model: str
    convention: str
    routing_source: str

    def __post_init__(self) -> None:
        names = [row.site for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"a breakdown has one row per site; {twice[0]!r} occurs twice")

    @property
    def energy_pj(self) -> float:
        """Energy of one input in picojoule."""
        return math.fsum(
            getattr(row, f"{component}_pj") for row in self.rows for component in COMPONENTS
        )

    @property
    def energy_rel(self) -> float:
        """Energy relative to the dense network with the exact multiplier: `energy._cost`.

        One where nothing switches in either, as with weights that are all zero.
        """
        if self.dense_energy_pj == 0 == self.energy_pj:
            return 1.0
        return self.energy_pj / self.dense_energy_pj

    @property
    def coverage(self) -> float:
        """Part of the expected multiply-accumulates that sites do, overhead left out."""
        counted = [row for row in self.rows if row.kind != "overhead"]
        total = math.fsum(row.macs_expected for row in counted)
        left = math.fsum(row.macs_expected for row in counted if row.kind == UNCOVERED)
        return 1 - left / total if total else 1.0

    @property
    def macs_total(self) -> int:
        """Multiply-accumulates of one input if every item went to every expert."""
        return sum(row.macs for row in self.rows)

    @property
    def macs_expected(self) -> float:
        """Multiply-accumulates expected for one input."""
        return math.fsum(row.macs_expected for row in self.rows)

    def components_pj(self) -> dict[str, float]:
        """Energy of each component in picojoule."""
        return {c: math.fsum(getattr(row, f"{c}_pj") for row in self.rows) for c in COMPONENTS}

    def shares(self) -> dict[str, float]:
        """Each component's part of the energy; they sum to 1."""
        total = self.energy_pj
        return {name: part / total if total else 0.0 for name, part in self.components_pj().items()}

    def to_frame(self) -> pd.DataFrame:
        """One line per row, with its energy in picojoule and relative to the dense network."""
        frame = pd.DataFrame([dataclasses.asdict(row) for row in self.rows])
        frame["macs_expected"] = [row.macs_expected for row in self.rows]
        frame["energy_pj"] = [row.energy_pj for row in self.rows]
        frame["energy_rel"] = frame["energy_pj"] / self.dense_energy_pj
        frame["expert"] = frame["expert"].astype("Int64")
        return frame

    def __add__(self, other: object) -> "CostBreakdown":
        """The two together: parts of one network, or networks that run one after the other.

        Raises:
            InputError: they were made under different models or conventions, or share a row.
        """
        if not isinstance(other, CostBreakdown):
            return NotImplemented
        for field in ("model", "convention"):
            mine, its = getattr(self, field), getattr(other, field)
            if mine != its:
                raise InputError(f"only costs of one {field} add up, not of {mine} and {its}")
        sources = dict.fromkeys((self.routing_source, other.routing_source))
        return CostBreakdown(
            rows=self.rows + other.rows,
            dense_energy_pj=self.dense_energy_pj + other.dense_energy_pj,
            dense_macs=self.dense_macs + other.dense_macs,
            model=self.model,
            convention=self.convention,
            routing_source="; ".join(sources),
        )
