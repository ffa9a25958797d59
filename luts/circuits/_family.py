"""The broken-array family as multipliers: 204 circuits, made when they are asked for."""

import csv
import dataclasses
import functools
from importlib import resources

from luts import families
from luts._multiplier import FiguresError, Multiplier
from luts.circuits._array import Cuts, array_netlist, cuts_of
from luts.circuits._netlist import Netlist

ARRAYS_CSV = "data/arrays.csv"
SOURCE = "broken-array family (Mahdiani et al., IEEE TCAS-I 57(4) 2010), figures estimated"


@dataclasses.dataclass(frozen=True)
class Member:
    """What is known of a member before its table is made.

    Attributes:
        name: its name, ``array:a3b5d0``.
        sha256: that of its table, as `Multiplier.sha256`.
        power_mw: estimated power, no more than a published array that contains it was published
            to draw, and no less than one that it contains (`luts.calibrate`).
        area_um2: estimated area.
        delay_ns: estimated delay.
        error: what the estimates are uncertain by.
        undominated: whether it is in the set ``arrays``.
        known_as: name of the published circuit that it is, or empty.
    """

    name: str
    sha256: str
    power_mw: float
    area_um2: float
    delay_ns: float
    error: FiguresError
    undominated: bool
    known_as: str

    @property
    def source(self) -> str:
        """Where table and figures come from."""
        return SOURCE

    @property
    def ignored_bits(self) -> tuple[int, int]:
        """Low bits of each port that no product depends on, as `luts.ignored_bits` of its table.

        Bit i of the first operand is in a partial product with bit j of the second if i ≥ break_a,
        j ≥ break_b and i + j ≥ break_diagonal, and j is at most 7.
        """
        cuts = cuts_of(self.name)
        assert cuts is not None
        diagonal = cuts.break_diagonal - 7
        return max(cuts.break_a, diagonal, 0), max(cuts.break_b, diagonal, 0)


@functools.cache
def members() -> dict[str, Member]:
    """Every member by name (`luts.calibrate` computes them)."""
    text = resources.files("luts").joinpath(ARRAYS_CSV).read_text(encoding="utf-8")
    return {row["name"]: _member(row) for row in csv.DictReader(text.splitlines())}


def _member(row: dict[str, str]) -> Member:
    return Member(
        name=row["name"],
        sha256=row["sha256"],
        power_mw=float(row["power_mw"]),
        area_um2=float(row["area_um2"]),
        delay_ns=float(row["delay_ns"]),
        error=FiguresError(
            float(row["power_error_pct"]),
            float(row["area_error_pct"]),
            float(row["delay_error_pct"]),
        ),
        undominated=row["in_arrays"] == "1",
        known_as=row["known_as"],
    )


@functools.cache
def _by_sha256() -> dict[str, str]:
    return {member.sha256: name for name, member in members().items()}


def name_of_table(sha256: str) -> str | None:
    """Name of the member whose table has this SHA-256."""
    return _by_sha256().get(sha256)


def cuts_of_table(sha256: str) -> Cuts | None:
    """Cuts of the member whose table has this SHA-256."""
    return cuts_of(name_of_table(sha256) or "")


@functools.cache
def array_multiplier(cuts: Cuts) -> Multiplier:
    """The multiplier with these cuts, under its one name, with estimated figures."""
    member = members()[cuts.name]
    return Multiplier(
        name=member.name,
        truth_table=families.broken_array(
            break_a=cuts.break_a, break_b=cuts.break_b, break_diagonal=cuts.break_diagonal
        ),
        power_mw=member.power_mw,
        area_um2=member.area_um2,
        delay_ns=member.delay_ns,
        source=SOURCE,
        figures_from="estimated",
        figures_error_pct=member.error,
    )


def netlist_of(multiplier: Multiplier | Member) -> Netlist | None:
    """The circuit of a multiplier: the one it was read from, or an array's.

    None for a mere table that is no array's.
    """
    if isinstance(multiplier, Member):
        return _array_of(multiplier.name)
    return multiplier.netlist or _array_of(name_of_table(multiplier.sha256) or "")


@functools.cache
def _array_of(name: str) -> Netlist | None:
    """The netlist of the array of this name, or None for another name."""
    cuts = cuts_of(name)
    return None if cuts is None else array_netlist(cuts)
