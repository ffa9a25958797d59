"""How often the outputs of a netlist's cells switch, glitches included.

One pair of operands follows another. Every cell answers its inputs one unit of time later, so that
an adder whose inputs come at different times may switch several times before it rests.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from luts.circuits._netlist import FIRST_INPUT, FUNCTIONS, Netlist, Words, pack

Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DEPTHS = {"FA": (3, 2), "HA": (2, 1), "XOR": (2,), "XNOR": (2,), "MUX": (2,)}
"""Gates on the way from a cell's inputs to its outputs (sum, carry); 1 where not named."""

OTHER_TOGGLES = 1 / 4
"""What a toggle of a half adder or a gate counts, where one of a full adder's sum is 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class Toggles:
    """Mean toggles of every net per new operand pair.

    Attributes:
        settled: whether the net rests elsewhere than before, float64 of shape ``(nets,)``.
        timed: every change on the way, glitches included, of the same shape.
    """

    settled: Floats
    timed: Floats


def toggles(netlist: Netlist, first: Int64, second: Int64) -> Toggles:
    """Toggles while a circuit is fed one operand pair after the other.

    Args:
        netlist: the circuit.
        first: bit patterns of the first operand in the order of time, shape ``(pairs,)``.
        second: those of the second operand.
    """
    n_steps = len(first) - 1
    valid = pack(np.ones(n_steps, dtype=np.int64))
    before, after = netlist.values(first[:-1], second[:-1]), netlist.values(first[1:], second[1:])
    timed = np.zeros(netlist.n_nets)
    for changed in _changes(netlist, before, after, valid):
        timed += _ones(changed).sum(axis=-1)
    settled = _ones((before ^ after) & valid).sum(axis=-1)
    return Toggles(settled / n_steps, timed / n_steps)


def weighted_toggles(
    netlist: Netlist, before: tuple[Int64, Int64], after: tuple[Int64, Int64]
) -> Floats:
    """Toggles as the estimate of power weighs them, glitches included, of steps in blocks of 64.

    A full adder's sum counts whole, a half adder's and a gate's output a quarter
    (`luts.circuits.estimate`).

    Args:
        netlist: the circuit.
        before: bit patterns of both operands before each step, shape ``(steps,)``, a multiple of
            64.
        after: those after it.

    Returns:
        Sums over each 64 steps that follow one another, float64 of shape ``(steps / 64,)``.
    """
    valid = pack(np.ones(len(before[0]), dtype=np.int64))
    adders, others = (
        np.array([c.outputs[0] for c in netlist.cells if (c.kind == "FA") == is_adder], dtype=int)
        for is_adder in (True, False)
    )
    total = np.zeros(len(valid))
    for changed in _changes(netlist, netlist.values(*before), netlist.values(*after), valid):
        total += _ones(changed[adders]).sum(axis=0)
        total += OTHER_TOGGLES * _ones(changed[others]).sum(axis=0)
    return total


def _changes(netlist: Netlist, before: Words, after: Words, valid: Words) -> Iterator[Words]:
    """Which nets change, one unit of time after the other, until the circuit rests.

    Args:
        netlist: the circuit.
        before: every net at rest before the step (`Netlist.values`).
        after: every net at rest after it.
        valid: bits that stand for a step.
    """
    groups = _groups(netlist)
    now = before.copy()
    now[FIRST_INPUT : netlist.first_free] = after[FIRST_INPUT : netlist.first_free]
    past = before
    # No signal passes more cells than there are.
    for _ in range(len(netlist.cells) + 1):
        changed = (now ^ past) & valid
        if not changed.any():
            break
        yield changed
        past = now
        now = past.copy()
        for group in groups:
            now[group.outputs] = group.function(*(past[nets] for nets in group.inputs))


def depth(netlist: Netlist) -> int:
    """Gates on the longest way through the circuit (`DEPTHS`)."""
    arrival = np.zeros(netlist.n_nets, dtype=np.int64)
    for cell in netlist.cells:
        latest = max(arrival[net] for net in cell.inputs)
        for net, gates in zip(cell.outputs, DEPTHS.get(cell.kind, (1,)), strict=True):
            arrival[net] = latest + gates
    return int(arrival.max())


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """Outputs of cells of one kind, computed together."""

    function: Callable[..., Words]
    inputs: tuple[Int64, ...]
    outputs: Int64


def _groups(netlist: Netlist) -> list[_Group]:
    groups = []
    for kind in netlist.counts:
        cells = [cell for cell in netlist.cells if cell.kind == kind]
        inputs = tuple(np.array(nets) for nets in zip(*(c.inputs for c in cells), strict=True))
        for at, function in enumerate(FUNCTIONS[kind]):
            groups.append(_Group(function, inputs, np.array([cell.outputs[at] for cell in cells])))
    return groups


def _ones(words: Words) -> Floats:
    """Number of bits that are set in each of ``words``, of their shape."""
    if hasattr(np, "bitwise_count"):
        counts: Floats = np.bitwise_count(words).astype(np.float64)
        return counts
    parts = _popcounts()[words.view(np.uint16)].astype(np.float64)
    sums: Floats = parts.reshape(*words.shape, 4).sum(axis=-1)
    return sums


@functools.cache
def _popcounts() -> npt.NDArray[np.uint8]:
    """For NumPy before 2.0."""
    values = np.arange(65_536, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    counts: npt.NDArray[np.uint8] = np.unpackbits(values, axis=1).sum(axis=1, dtype=np.uint8)
    return counts
