"""Proof that every backend computes what its table says on this machine.

Each case is one product of random codes at the sizes where kernels change their way: whole and
broken tiles, runs and look-up blocks, padding, strides, groups, sums at the edge of 32 bits. What
is expected is summed here, product by product, with no code of any backend.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from luts import families
from luts._arithmetic import Arithmetic
from luts._catalog import catalog
from luts._geometry import POINT, Geometry
from luts._multiplier import Multiplier, Table
from luts._native import isa
from luts._task import Scaling, Task
from luts.backends import BACKENDS, NATIVE, REFERENCE, Backend
from luts.errors import InputError

Int64 = npt.NDArray[np.int64]

REFERENCE_MAX_K = 300
"""The slow backend sums one product at a time."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One product of a network, in sizes.

    Attributes:
        title: what it is, for a person.
        batch: images, or the batch dimension of a product of activations.
        shape: rows and columns of the image; of a product of activations, rows of the first operand
            and 1.
        channels: into it.
        out_channels: out of it.
        geometry: its window.
        batched: both operands are activations.
        is_float: operands are float32, to be quantised, and results are scaled.
        lowest: smallest code of the second operand; look-ups go other ways without −128, and
            without negative ones.
    """

    title: str
    batch: int
    shape: tuple[int, int]
    channels: int
    out_channels: int
    geometry: Geometry = POINT
    batched: bool = False
    is_float: bool = False
    lowest: int = -128


THREE = Geometry((3, 3), padding=(1, 1))
STRIDED = Geometry((3, 2), stride=(2, 3), padding=(2, 1), dilation=(1, 2))
GROUPED = Geometry((3, 3), padding=(1, 1), groups=2)
NARROW = Geometry((3, 3), padding=(1, 1), groups=6)

CASES = (
    Case("linear layer", 33, (1, 1), 257, 65),
    Case("scaled linear layer", 13, (1, 1), 100, 70, is_float=True),
    Case("convolution", 2, (7, 9), 5, 19, THREE),
    Case("scaled convolution", 2, (7, 9), 16, 20, THREE, is_float=True),
    Case("strided convolution", 3, (9, 11), 6, 17, STRIDED),
    Case("grouped convolution", 2, (6, 7), 16, 24, GROUPED),
    Case("depthwise convolution", 2, (6, 7), 6, 6, NARROW),
    Case("product of activations", 3, (13, 1), 65, 33, batched=True),
    Case("scaled product of activations", 3, (12, 1), 64, 17, batched=True, is_float=True),
    Case("one output", 1, (1, 1), 3, 1),
    Case("codes from −127", 20, (1, 1), 300, 64, lowest=-127),
    Case("codes from 0", 20, (1, 1), 300, 64, lowest=0),
)
BRIEF = CASES[:5] + CASES[7:8]


@dataclasses.dataclass(frozen=True)
class Failure:
    """A backend that computed something else than the table says.

    Attributes:
        backend: its name, and where it computed.
        circuit: the multiplier.
        case: what was computed.
        wrong: outputs that differ, of how many.
    """

    backend: str
    circuit: str
    case: str
    wrong: tuple[int, int]

    def __str__(self) -> str:
        return (
            f"{self.backend} is wrong in {self.wrong[0]:,} of {self.wrong[1]:,} outputs of a "
            f"{self.case} with {self.circuit}"
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """What was tested.

    Attributes:
        counts: products tested by backend, and where it computed.
        failures: the wrong ones.
    """

    counts: dict[str, int]
    failures: tuple[Failure, ...]


def selftest(
    *,
    brief: bool = False,
    stop: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> Report:
    """Compare every backend that can compute here with sums that are looked up one by one.

    Args:
        brief: a share of the cases and circuits, in about a second.
        stop: at the first failure.
        advance: called after each circuit.
    """
    counts: dict[str, int] = {}
    failures: list[Failure] = []
    for arithmetic in arithmetics(brief=brief):
        for where, case, wrong in _each(arithmetic, BRIEF if brief else CASES, brief):
            counts[where] = counts.get(where, 0) + 1
            if wrong[0]:
                circuit = arithmetic.multiplier.name + ", swapped" * arithmetic.swapped
                failures.append(Failure(where, circuit, case.title, wrong))
                if stop:
                    return Report(counts, tuple(failures))
        advance()
    return Report(counts, tuple(failures))


@functools.cache
def check_machine(stamps: Path) -> None:
    """The brief self-test, once for this machine and these versions.

    Args:
        stamps: folder that remembers what has passed; where it cannot be written to, the test is
            made again in the next process.

    Raises:
        InputError: a backend is wrong here.
    """
    stamp = stamps / hashlib.sha256(json.dumps(_machine()).encode()).hexdigest()[:32]
    if stamp.exists():
        return
    failures = selftest(brief=True, stop=True).failures
    if failures:
        raise InputError(
            f"this machine computes wrongly: {failures[0]}; python -m luts.selftest says what "
            f"else, and AXDSE_MAX_ISA=avx512, avx2 or portable leaves vector kernels out"
        )
    with contextlib.suppress(OSError):
        stamps.mkdir(parents=True, exist_ok=True)
        stamp.touch()


def _machine() -> list[str]:
    """What decides how products are computed."""
    package = Path(__file__).parent
    files = [*package.rglob("*.py"), *(package / "_native").glob("_kernels*")]
    newest = max(path.stat().st_mtime_ns for path in files)
    variables = ("AXDSE_MAX_ISA", "ONEDNN_MAX_CPU_ISA")
    return [
        platform.node(),
        torch.backends.cpu.get_cpu_capability(),
        isa(),
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        f"{newest}",
        *(metadata.version(name) for name in ("numpy", "torch")),
        *(f"{name}={os.environ.get(name)}" for name in variables),
    ]


@functools.cache
def arithmetics(*, brief: bool) -> tuple[Arithmetic, ...]:
    """The circuits that are tested: one of each form that backends treat in a way of its own."""
    figures = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0, "source": "self-test"}
    generator = np.random.default_rng(0)

    def of(name: str, table: npt.NDArray[Any], *, signed: bool = True) -> Multiplier:
        return Multiplier(name, table.astype(np.int32), **figures, signed=signed)  # type: ignore[arg-type]

    any_table = of("a table without structure", generator.integers(-32_767, 32_768, (256, 256)))
    unsigned = of("an unsigned table", generator.integers(0, 32_768, (256, 256)), signed=False)
    short = (catalog["mul8s_1L2H"], catalog["mul8s_1KX2"], any_table, unsigned)
    if brief:
        return tuple(Arithmetic(each) for each in short)
    wide = of("a table of 17 bits", generator.integers(-65_535, 65_536, (256, 256)))
    deep = of("a deep staircase", families.broken_array(break_diagonal=6))
    drum = of("other factors", families.drum(k=4))
    circuits = [*short, wide, deep, drum, *(catalog[n] for n in ("mul8s_1KV8", "mul8s_1KR3"))]
    turned = [Arithmetic(each, swapped=True) for each in circuits if not each.is_commutative]
    rounded = Arithmetic(catalog["mul8s_1L1G"], rounded=True)
    return (*(Arithmetic(each) for each in circuits), *turned, rounded)


def _each(
    arithmetic: Arithmetic, cases: tuple[Case, ...], brief: bool
) -> Iterator[tuple[str, Case, tuple[int, int]]]:
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
    for case in cases:
        operands = _Operands.of(case, arithmetic)
        for device in devices:
            for backend in BACKENDS:
                if _can(backend, arithmetic, case, device, brief=brief):
                    where = f"{backend.name} on {device.type}"
                    yield where, case, operands.wrong(backend, arithmetic, device)
    if brief:
        return
    for device in devices:
        for backend in BACKENDS:
            long = Case("sum of the longest kind", 2, (1, 1), arithmetic.multiplier.max_products, 3)
            if backend is not REFERENCE and _can(backend, arithmetic, long, device, brief=False):
                wrong = _extremes(backend, arithmetic, long, device)
                yield f"{backend.name} on {device.type}", long, wrong


def _can(
    backend: Backend, arithmetic: Arithmetic, case: Case, device: torch.device, *, brief: bool
) -> bool:
    if brief:  # what a search would use
        refused = backend.refusal(arithmetic, _task(case, device))
        return backend is not REFERENCE and refused is None
    if backend is NATIVE and device.type == "cpu":
        # Tested also where it is merely slow, or has failed before.
        return arithmetic.factorisation is not None and isa() != "none"
    if backend is REFERENCE and case.channels > REFERENCE_MAX_K:
        return False
    return backend.refusal(arithmetic, _task(case, device)) is None


def _task(case: Case, device: torch.device) -> Task:
    return Task(device, case.channels, case.out_channels, case.geometry, case.batched)


@dataclasses.dataclass(frozen=True)
class _Operands:
    """Operands of a case, and what is expected of them."""

    case: Case
    x: torch.Tensor
    w: torch.Tensor
    scaling: Scaling | None
    expected: torch.Tensor

    @classmethod
    def of(cls, case: Case, arithmetic: Arithmetic) -> "_Operands":
        generator = torch.Generator().manual_seed(case.channels)
        per_group = case.channels // case.geometry.groups
        x_shape = (case.batch, case.channels, *case.shape)
        w_shape = (case.out_channels, per_group, *case.geometry.kernel)
        if case.batched:
            x_shape = (case.batch, case.shape[0], case.channels)  # type: ignore[assignment]
            w_shape = (case.batch, case.channels, case.out_channels)  # type: ignore[assignment]
        x, w = (torch.randint(-128, 128, s, generator=generator).char() for s in (x_shape, w_shape))
        w = w.clamp(min=case.lowest)
        if not case.is_float:
            sums = torch.from_numpy(_sums(arithmetic.table, x, w, case))
            return cls(case, x, w, None, sums)
        # Codes and halves between them, which round to even; and some out of range.
        step = torch.tensor([0.0625])
        values = torch.randint(-270, 271, x_shape, generator=generator) / 2 * step
        codes = (values / step).round().clamp(-127, 127).char()
        factor = torch.rand(case.out_channels, generator=generator) + 0.5
        offset = torch.randn(case.out_channels, generator=generator)
        if not case.batched:
            sums = torch.from_numpy(_sums(arithmetic.table, codes, w, case)).float()
            expected = sums * factor.view(-1, 1, 1) + offset.view(-1, 1, 1)
            return cls(case, values, w, Scaling(step, factor, offset), expected)
        w = w.clamp(min=-127)
        sums = torch.from_numpy(_sums(arithmetic.table, codes, w, case)).float()
        scaling = Scaling(step, step * step, y=step)
        return cls(case, values, w * step, scaling, sums * scaling.factor)

    def wrong(
        self, backend: Backend, arithmetic: Arithmetic, device: torch.device
    ) -> tuple[int, int]:
        """How many outputs are not bit for bit as expected, of how many."""
        x, w = self.x.to(device), self.w.to(device)
        scaling = None if self.scaling is None else _moved(self.scaling, device)
        if self.case.batched:
            y = backend.batched(x, w, arithmetic, scaling)
        else:
            task = _task(self.case, device)
            y = backend.layer(x, backend.prepare(w, arithmetic, task), arithmetic, task, scaling)
        different = y.cpu().to(self.expected.dtype) != self.expected
        return int(different.sum()), different.numel()


def _moved(scaling: Scaling, device: torch.device) -> Scaling:
    parts = (scaling.x, scaling.factor, scaling.offset, scaling.y)
    x, factor, offset, y = (None if part is None else part.to(device) for part in parts)
    assert x is not None and factor is not None
    return Scaling(x, factor, offset, y)


def _sums(table: Table, x: torch.Tensor, w: torch.Tensor, case: Case) -> Int64:
    """Every product looked up in the table, and added."""
    if case.batched:
        first, second = _codes(x)[..., None], _codes(w)[:, None]
        sums: Int64 = table[first, second].sum(axis=2, dtype=np.int64)
        return sums
    geometry = case.geometry
    (ph, pw), (sh, sw), (dh, dw) = geometry.padding, geometry.stride, geometry.dilation
    rows, columns = geometry.out_size(*x.shape[2:])
    padded = np.pad(_codes(x), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    total = np.zeros((len(x), case.out_channels, rows, columns), np.int64)
    w_codes, per_group = _codes(w), case.channels // geometry.groups
    outputs = case.out_channels // geometry.groups
    for i in range(geometry.kernel[0]):
        for j in range(geometry.kernel[1]):
            taps = padded[:, :, i * dh :, j * dw :]
            taps = taps[:, :, : (rows - 1) * sh + 1 : sh, : (columns - 1) * sw + 1 : sw]
            for c in range(case.channels):
                group, at = divmod(c, per_group)
                out = slice(group * outputs, (group + 1) * outputs)
                column = w_codes[out, at, i, j][:, None, None]
                total[:, out] += table[taps[:, c : c + 1], column]
    return total


def _codes(x: torch.Tensor) -> npt.NDArray[np.intp]:
    return x.contiguous().numpy().view(np.uint8).astype(np.intp)


def _extremes(
    backend: Backend, arithmetic: Arithmetic, case: Case, device: torch.device
) -> tuple[int, int]:
    """As many products as 32 bits may sum, all of the largest size."""
    table = arithmetic.table
    x_code, w_code = np.unravel_index(int(np.abs(table).argmax()), table.shape)
    task = _task(case, device)
    values = np.array([x_code, w_code], np.uint8).view(np.int8)
    x = torch.full((case.batch, case.channels, 1, 1), int(values[0]), dtype=torch.int8)
    w = torch.full((case.out_channels, case.channels, 1, 1), int(values[1]), dtype=torch.int8)
    prepared = backend.prepare(w.to(device), arithmetic, task)
    y = backend.layer(x.to(device), prepared, arithmetic, task, None)
    different = y.cpu().long() != case.channels * int(table[x_code, w_code])
    return int(different.sum()), different.numel()
