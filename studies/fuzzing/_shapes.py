"""Random shapes, valid and not, through emulated products beside PyTorch's own."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from luts import Arithmetic, Geometry, InputError, Multiplier, Scaling, Task, catalog, select

CPU = torch.device("cpu")
SIZES = (0, 1, 1, 2, 3, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)
"""What a dimension is drawn from; one in a few hundred is a thousand times as large."""
HUGE = 20_000
PER_LAYER = 8
"""Inputs that one layer gets."""


@dataclasses.dataclass(frozen=True)
class Call:
    """The same call twice.

    Attributes:
        theirs: PyTorch's.
        ours: under emulated arithmetic.
        shown: what is called, with shapes.
    """

    theirs: Callable[[], torch.Tensor]
    ours: Callable[[], torch.Tensor]
    shown: str


def try_shapes(
    operation: str, arithmetic: Arithmetic, count: int, *, seed: int
) -> tuple[Counter[str], list[str]]:
    """Compare so many calls: their shapes, or what they are refused with.

    Args:
        operation: of `OPERATIONS`.
        arithmetic: at work.
        count: of calls.
        seed: of shapes.

    Returns:
        How many were ``valid`` and ``refused``; and what differed, a line each.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    differing: list[str] = []
    while counts.total() < count:
        for call in OPERATIONS[operation](arithmetic, rng)[: count - counts.total()]:
            expected, found = _outcome(call.theirs), _outcome(call.ours)
            counts["refused" if isinstance(expected, str) else "valid"] += 1
            if expected != found:
                differing.append(f"{call.shown}: {found} and not {expected}"[:300])
    return counts, differing


def arithmetics() -> dict[str, Arithmetic]:
    """One per kind of kernel: a single product, several products, a table that is looked up."""
    table = np.random.default_rng(0).integers(-99, 99, (256, 256)).astype(np.int32)
    return {
        "one product": Arithmetic(catalog["mul8s_1L2H"]),
        "several products": Arithmetic(catalog["mul8s_1KX2"]),
        "look-ups": Arithmetic(Multiplier("random", table, 1.0, 1.0, 1.0, "made up")),
    }


def _outcome(compute: Callable[[], torch.Tensor]) -> Any:
    """Shape of the result, or the message of the refusal."""
    try:
        return tuple(compute().shape)
    except (RuntimeError, InputError) as error:
        return str(error)


def _size(rng: np.random.Generator) -> int:
    return HUGE if rng.random() < 0.002 else int(rng.choice(SIZES))


def _near(size: int, rng: np.random.Generator) -> int:
    """The size that fits, or another."""
    return size if rng.random() < 0.6 else _size(rng)


def _scaling(out: int | None) -> Scaling:
    one = torch.ones(1)
    return Scaling(one, one if out is None else torch.ones(out), y=one if out is None else None)


def _linear(arithmetic: Arithmetic, rng: np.random.Generator) -> list[Call]:
    depth, out = int(rng.integers(1, 70)), int(rng.integers(1, 40))
    selection = select(arithmetic, Task(CPU, depth, out))
    w = torch.ones(out, depth)
    prepared, scaling = selection.prepare(w.char()), _scaling(out)
    calls = []
    for _ in range(PER_LAYER):
        leading = [min(_size(rng), 40) for _ in range(rng.integers(0, 4))]
        x = torch.ones(*leading, _near(depth, rng))
        calls.append(
            Call(
                lambda x=x: F.linear(x, w),  # type: ignore[misc]
                lambda x=x: selection.linear(x, prepared, scaling),  # type: ignore[misc]
                f"linear {tuple(x.shape)} by {tuple(w.shape)}",
            )
        )
    return calls


def _convolution(arithmetic: Arithmetic, rng: np.random.Generator) -> list[Call]:
    groups = int(rng.choice((1, 1, 2, 3)))
    channels, out = groups * int(rng.integers(1, 9)), groups * int(rng.integers(1, 6))

    def pair(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high)), int(rng.integers(low, high))

    kernel, stride, padding, dilation = pair(1, 6), pair(1, 4), pair(0, 3), pair(1, 4)
    geometry = Geometry(kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    selection = select(arithmetic, Task(CPU, channels, out, geometry))
    w = torch.ones(out, channels // groups, *kernel)
    prepared, scaling, zeros = selection.prepare(w.char()), _scaling(out), torch.zeros(out)
    calls = []
    for _ in range(PER_LAYER):
        batch = int(rng.integers(0, 4))
        x = torch.ones(batch, _near(channels, rng) % 500, _size(rng) % 40, _size(rng) % 40)
        calls.append(
            Call(
                lambda x=x: F.conv2d(x, w, zeros, stride, padding, dilation, groups),  # type: ignore[misc]
                lambda x=x: selection.convolve(x, prepared, scaling),  # type: ignore[misc]
                f"convolution {tuple(x.shape)} by {tuple(w.shape)}, {geometry}",
            )
        )
    return calls


def _products(arithmetic: Arithmetic, rng: np.random.Generator) -> list[Call]:
    selection, scaling = select(arithmetic, Task(CPU, 64, 64, batched=True)), _scaling(None)
    calls = []
    for _ in range(PER_LAYER):
        depth = _size(rng)
        batch = [min(_size(rng), 5) for _ in range(rng.integers(0, 3))]
        other = [1 if rng.random() < 0.2 else min(_near(size, rng), 5) for size in batch]
        x = torch.ones(*batch, _size(rng) % 50, depth)
        y = torch.ones(*other[int(rng.random() < 0.2) :], _near(depth, rng), _size(rng) % 50)
        calls.append(
            Call(
                lambda x=x, y=y: x @ y,  # type: ignore[misc]
                lambda x=x, y=y: selection.batched(x, y, scaling),  # type: ignore[misc]
                f"product {tuple(x.shape)} by {tuple(y.shape)}",
            )
        )
    return calls


OPERATIONS: dict[str, Callable[[Arithmetic, np.random.Generator], list[Call]]] = {
    "linear": _linear,
    "convolution": _convolution,
    "products": _products,
}
