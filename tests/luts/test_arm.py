"""The kernels on ARM: compiled for it, and run by an emulator of the processor."""

import ctypes
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from luts import Arithmetic, Geometry, Scaling, Task, catalog
from luts._native._structures import ProductJob
from luts.backends import NATIVE
from tests.conftest import REPOSITORY
from tests.luts import oracle

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
CPU = torch.device("cpu")
PIECE_BYTES = 1 << 18
POINTERS = "x u u_masks w w_planes w_offsets second v v_masks scale bias".split()

pytestmark = pytest.mark.skipif(
    not (shutil.which(COMPILER) and shutil.which(EMULATOR)),
    reason=f"needs {COMPILER} and {EMULATOR} (Debian: gcc-aarch64-linux-gnu, qemu-user)",
)


class Machine:
    """Stands for the compiled library: each product is made by another processor."""

    def __init__(self, folder: Path, isa: str) -> None:
        self.folder, self.isa = folder, isa
        self.program = folder / "replay"
        sources = [REPOSITORY / "tests/luts/replay.c"]
        sources += sorted((REPOSITORY / "luts/_native/src").glob("*.c"))
        flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
        command = [COMPILER, *flags, *map(str, sources), "-o", str(self.program), "-lm"]
        subprocess.run(command, check=True)

    def axdse_product(self, reference: Any) -> None:
        """What the library's function of this name does."""
        job: ProductJob = reference._obj
        count = job.outer * job.inner * job.out_h * job.out_w * job.groups * job.columns
        content = bytes(job) + struct.pack("q", 4 * count)
        addresses = sorted({getattr(job, name) for name in POINTERS} - {None})
        content += struct.pack("q", len(addresses))
        for address in addresses:
            size = min(PIECE_BYTES, _end_of_mapping(address) - address)
            content += struct.pack("qq", address, size) + ctypes.string_at(address, size)
        (self.folder / "job").write_bytes(content)
        limit = "portable" if self.isa == "portable" else ""
        run = subprocess.run(
            [EMULATOR, "-L", "/usr/aarch64-linux-gnu", self.program, "job", "out"],
            cwd=self.folder,
            env={**os.environ, "AXDSE_MAX_ISA": limit},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert run.stdout.strip() == self.isa
        ctypes.memmove(job.out, (self.folder / "out").read_bytes(), 4 * count)


def _end_of_mapping(address: int) -> int:
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return last
    raise AssertionError(f"no memory at {address}")


@pytest.fixture(scope="module", params=["neon", "portable"])
def isa(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def machine(isa: str, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp(isa), isa)


@pytest.fixture(autouse=True)
def on_arm(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("luts._native._product.kernels", lambda: machine)
    monkeypatch.setattr("luts.backends._native.max_depth", lambda: 0)
    yield


def _codes(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-128, 128, shape, generator=generator).to(torch.int8)
    codes.view(-1)[:4] = torch.tensor([-128, 127, -128, 0])
    return codes


@pytest.mark.parametrize("name", ["mul8s_1KV8", "mul8s_1L2H", "mul8s_1KX2"])
@pytest.mark.parametrize("sizes", [(1, 4, 1), (7, 33, 17), (13, 130, 70)], ids=str)
def test_linear(name: str, sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    arithmetic, task = Arithmetic(catalog[name]), Task(CPU, k, n)
    x, w = _codes(0, m, k), _codes(1, n, k)
    operand = NATIVE.prepare(w[:, :, None, None], arithmetic, task)
    y = NATIVE.layer(x[:, :, None, None], operand, arithmetic, task, None)[:, :, 0, 0]
    assert torch.equal(y.long(), oracle.matrix_product(arithmetic.table, x, w.t()))


@pytest.mark.parametrize(
    "geometry",
    [Geometry((3, 3), (1, 1), (1, 1)), Geometry((3, 2), (2, 1), (0, 2), (2, 1), 2)],
    ids=["same", "odd"],
)
def test_convolution(geometry: Geometry) -> None:
    arithmetic = Arithmetic(catalog["mul8s_1KR6"], swapped=True)
    x, w = _codes(2, 3, 6, 7, 9), _codes(3, 20, 6 // geometry.groups, *geometry.kernel)
    task = Task(CPU, 6, 20, geometry)
    operand = NATIVE.prepare(w, arithmetic, task)
    y = NATIVE.layer(x, operand, arithmetic, task, None)
    assert torch.equal(y.long(), oracle.convolution(arithmetic.table, x, w, geometry))


@pytest.mark.parametrize("along_k", [True, False])
def test_batched(along_k: bool) -> None:
    arithmetic = Arithmetic(catalog["mul8s_1KVL"])
    x, y = _codes(4, 2, 5, 9, 34), _codes(5, 2, 5, 34, 18)
    if along_k:
        y = y.transpose(-2, -1).contiguous().transpose(-2, -1)
    sums = NATIVE.batched(x, y, arithmetic, None)
    assert torch.equal(sums.long(), oracle.matrix_product(arithmetic.table, x, y))


@pytest.mark.parametrize("scale", [0.037, 1e-42, 2.0**-126])
def test_float_layer_equals_its_parts(scale: float) -> None:
    arithmetic, task = Arithmetic(catalog["mul8s_1L2D"]), Task(CPU, 24, 21)
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(19, 24, generator=generator) * scale * 60
    x.view(-1)[:40] = (torch.arange(40) - 19.5) * scale  # halves
    x[3, 5:9] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])
    w, x_scale = _codes(7, 21, 24), torch.tensor([scale])
    factor, offset = torch.rand(21, generator=generator), torch.randn(21, generator=generator)
    codes = (x / x_scale).round().clamp(-127, 127).nan_to_num(0).to(torch.int8)
    sums = oracle.matrix_product(arithmetic.table, codes, w.t())
    operand = NATIVE.prepare(w[:, :, None, None], arithmetic, task)
    scaling = Scaling(x_scale, factor, offset)
    y = NATIVE.layer(x[:, :, None, None], operand, arithmetic, task, scaling)[:, :, 0, 0]
    assert torch.equal(y, sums.float() * factor + offset)
