"""The compiled library: how it is found, built and missed; quantisation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luts import quantise
from luts._native import isa, kernels_or_none, scalar_loop
from tests.conftest import REPOSITORY

needs_kernels = pytest.mark.skipif(isa() == "none", reason="needs the compiled kernels")


@pytest.fixture
def bare_copy(tmp_path: Path) -> Path:
    """The sources without compiled kernels."""
    ignore = shutil.ignore_patterns("*.so", "__pycache__", "build")
    shutil.copytree(REPOSITORY / "luts", tmp_path / "luts", ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "README.md").touch()
    return tmp_path


def _python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_import_loads_and_builds_nothing() -> None:
    run = _python(
        REPOSITORY,
        "-W",
        "error",
        "-c",
        "import luts\nfrom luts._native import kernels_or_none as k\n"
        "assert k.cache_info().misses == 0",
    )
    assert run.returncode == 0, run.stderr
    assert not run.stdout + run.stderr


def test_without_kernels_products_are_exact_and_it_says_so_once(bare_copy: Path) -> None:
    program = """
import warnings, torch, luts
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for name in ("mul8s_1KV8", "mul8s_1KX2"):
        x = torch.randint(-128, 128, (5, 40)).char(); w = torch.randint(-128, 128, (40, 7)).char()
        m = luts.catalog[name]
        assert torch.equal(luts.matmul(x, w, m), luts.matmul_reference(x, w, m))
print(len(caught), caught[0].category.__name__, caught[0].message)
print(luts.select(luts.Arithmetic(m), luts.Task(torch.device("cpu"), 8, 8)).reason)
"""
    run = _python(bare_copy, "-c", program)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("1 MissingKernelsWarning luts was installed without")
    assert "not native: no compiled vector kernels" in run.stdout


def test_install_works_without_a_compiler(bare_copy: Path) -> None:
    run = _python(bare_copy, "setup.py", "-q", "build_ext", "--inplace", CC="/no/compiler")
    assert run.returncode == 0, run.stderr
    assert not list((bare_copy / "luts/_native").glob("*.so"))


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_sources_compile_without_warnings(tmp_path: Path) -> None:
    sources = sorted((REPOSITORY / "luts/_native/src").glob("*.c"))
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    subprocess.run(["cc", *flags, *map(str, sources), "-o", str(tmp_path / "k.so")], check=True)


@needs_kernels
def test_the_instruction_set_can_be_held_back() -> None:
    run = _python(
        REPOSITORY, "-c", "from luts._native import isa; print(isa())", AXDSE_MAX_ISA="portable"
    )
    assert run.stdout.strip() == "portable"


@needs_kernels
@given(
    scale=st.sampled_from([0.1, 1.0, 1 / 3, 0.007_812_5, 123.4, 1e-30, 1e-40, 3e38]),
    length=st.sampled_from([1, 15, 16, 17, 100]),
    seed=st.integers(0, 9_999),
)
def test_quantising_equals_pytorch(scale: float, length: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    step = torch.tensor(scale)
    halves = torch.randint(-300, 300, (length,), generator=generator) / 2
    for x in (
        torch.randn(length, generator=generator) * step * 60,
        halves * step,
        torch.nextafter(halves * step, torch.tensor(torch.inf)),
        torch.nextafter(halves * step, torch.tensor(-torch.inf)),
    ):
        expected = (x / step).round().clamp(-127, 127).nan_to_num(0.0).to(torch.int8)
        assert torch.equal(quantise(x, step), expected)


@needs_kernels
def test_quantising_special_values() -> None:
    x = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0, 1e38, -1e38] * 5)
    codes = quantise(x, torch.tensor(0.5))
    assert codes.tolist() == [127, -127, 0, 0, 127, -127] * 5


def test_quantising_keeps_shape_and_layout() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for view in (x, x[:, :, 1:, ::2], x.transpose(1, 2), x[:0], x[0, 0, 0, 0]):
        codes = quantise(view, torch.tensor(0.01))
        expected = (view / torch.tensor(0.01)).round().clamp(-127, 127).to(torch.int8)
        assert torch.equal(codes, expected)


@needs_kernels
def test_the_baseline_of_the_speed_study_is_right() -> None:
    from luts import Arithmetic, catalog
    from tests.luts import oracle

    arithmetic = Arithmetic(catalog["mul8s_1KR6"])
    x, w = torch.randint(-128, 128, (5, 21)).char(), torch.randint(-128, 128, (4, 21)).char()
    expected = oracle.matrix_product(arithmetic.table, x, w.t())
    assert torch.equal(scalar_loop(x, w, arithmetic).long(), expected)


def test_kernels_are_compiled_here() -> None:
    """The suite is meant to run on an installation with kernels; without, say so loudly."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler, so no kernels")
    assert kernels_or_none() is not None
