"""Which backend computes what, and why."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from luts import Arithmetic, Geometry, Multiplier, Task, catalog, families, select
from luts._native import isa, max_depth
from luts._staircase import breaks_of, terms_of
from luts.backends import BACKENDS, LOOKUP, NATIVE, REFERENCE
from luts.backends._native import cheapest_terms
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")
FIGURES = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0, "source": "test"}
native_only = pytest.mark.skipif(
    isa() in ("none", "portable"), reason="needs the compiled vector kernels"
)
counting_only = pytest.mark.skipif(max_depth() == 0, reason="needs AVX-512 BITALG")


def _random() -> Arithmetic:
    table = np.random.default_rng(0).integers(-100, 100, (256, 256)).astype(np.int32)
    return Arithmetic(Multiplier("random", table, **FIGURES))


@native_only
@pytest.mark.parametrize("name", list(catalog))
def test_every_circuit_takes_the_fused_products(name: str) -> None:
    for task in (Task(CPU, 64, 64), Task(CPU, 64, 64, batched=True)):
        selection = select(Arithmetic(catalog[name]), task)
        assert selection.backend is NATIVE
        assert "product" in selection.reason


@native_only
def test_other_tables_are_looked_up_and_the_plan_says_why() -> None:
    selection = select(_random(), Task(CPU, 64, 64))
    assert selection.backend is LOOKUP
    assert "table look-ups" in selection.reason
    assert "no short factorisation" in selection.reason


@native_only
def test_depthwise_layers_are_looked_up() -> None:
    task = Task(CPU, 64, 64, Geometry((3, 3), groups=64))
    assert select(Arithmetic(catalog["mul8s_1KV8"]), task).backend is LOOKUP


def test_the_reference_refuses_nothing() -> None:
    assert REFERENCE.refusal(_random(), Task(torch.device("meta"), 1, 1)) is None
    assert select(_random(), Task(torch.device("meta"), 1, 1)).backend is REFERENCE


def test_backends_have_distinct_names() -> None:
    assert len({backend.name for backend in BACKENDS}) == len(BACKENDS)


@pytest.mark.parametrize("name", list(catalog))
@pytest.mark.parametrize("swapped", [False, True])
def test_terms_multiply_out_to_the_table(name: str, swapped: bool) -> None:
    arithmetic = Arithmetic(catalog[name], swapped)
    for depth in (0, 4):
        terms = terms_of(arithmetic, max_depth=depth)
        assert terms is not None
        table = terms.factors.table().astype(np.int64)
        bits = np.arange(256)[:, None] >> np.arange(8) & 1
        for p in range(terms.depth):
            for q in range(terms.depth - p):
                i, j = p + terms.first_plane, q + terms.second_plane
                table -= np.multiply.outer(bits[:, i], bits[:, j]) << (i + j)
        assert np.array_equal(table, arithmetic.table)
        assert depth == 0 or terms.count == 1


@pytest.mark.parametrize("breaks", [(0, 0, 0), (1, 0, 3), (2, 1, 6), (0, 3, 5)])
def test_breaks_are_read_from_a_table(breaks: tuple[int, int, int]) -> None:
    a, b, diagonal = breaks
    table = families.broken_array(break_a=a, break_b=b, break_diagonal=diagonal)
    assert breaks_of(table) == (a, b, max(diagonal, a + b))


def test_no_breaks_in_other_tables() -> None:
    assert breaks_of(_random().table) is None
    assert breaks_of(np.zeros((256, 256), dtype=np.int32)) is None


@counting_only
def test_bits_are_counted_only_where_it_pays() -> None:
    arithmetic = Arithmetic(catalog["mul8s_1KVA"])
    assert cheapest_terms(arithmetic, Task(CPU, 64, 64)).depth == 2
    assert cheapest_terms(arithmetic, Task(CPU, 3, 16, Geometry((3, 3)))).depth == 0
    odd_groups = Task(CPU, 24, 32, Geometry((3, 3), groups=2))
    assert cheapest_terms(arithmetic, odd_groups).depth == 0


@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA"])
def test_saturating_products_are_refused(variable: str) -> None:
    """Without VNNI, PyTorch's int8 product is silently wrong; its self-test must see that."""
    program = (
        "import torch, luts.backends._int8 as b\n"
        "x = torch.full((64, 64), 127).char()\n"
        "exact = bool((torch._int_mm(x, x) == 64 * 127 * 127).all())\n"
        "assert b.int8_products_are_exact() <= exact\n"
        "print(exact, b.int8_products_are_exact())"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, variable: "AVX2"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.split()[0] == run.stdout.split()[1]


def test_tasks_are_comparable() -> None:
    task = Task(CPU, 8, 4, Geometry((3, 3)))
    assert task.inner == 72
    assert task == dataclasses.replace(task)
    assert task != dataclasses.replace(task, channels=9)
