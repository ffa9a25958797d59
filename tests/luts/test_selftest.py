"""The self-test passes here, and finds faults that are planted into the kernels' sources."""

import ctypes
import shutil
import subprocess
import sys

import pytest
import torch

import luts
from luts import selftest as command
from luts._native import _library, _lookup
from luts._selftest import check_machine, selftest
from tests.conftest import REPOSITORY

LOOKED_UP = "columns->codes[k * LOOKUP_COLUMNS + c]"
FAULTS = {
    "halves away from zero": (
        "portable.c",
        "rintf(x[i] / scale)",
        "(FAULT ? roundf(x[i] / scale) : rintf(x[i] / scale))",
    ),
    "the code -128": (
        "portable.c",
        "q < -127.0f ? -127.0f",
        "q < (FAULT ? -128.0f : -127.0f) ? (FAULT ? -128.0f : -127.0f)",
    ),
    "a first operand with a sign": (
        "portable.c",
        "+= x[i] * w[4 * lane]",
        "+= (FAULT ? (int8_t)x[i] : x[i]) * w[4 * lane]",
    ),
    "a lost tail": ("portable.c", "i < 4 * tile->dwords;", "i < 4 * (tile->dwords - FAULT);"),
    "one rounding in place of two": (
        "portable.c",
        "bias ? y + bias[i] : y",
        "bias ? (FAULT ? fmaf((float)sums[i], scale[i], bias[i]) : y + bias[i]) : y",
    ),
    "exchanged operands": (
        "portable.c",
        f"row[{LOOKED_UP}]",
        f"(FAULT ? job->table[256 * {LOOKED_UP} + row_codes[k]] : row[{LOOKED_UP}])",
    ),
    "padding of ones": (
        "product.c",
        "memset(to, 0, (size_t)(job->padding_w",
        "memset(to, FAULT, (size_t)(job->padding_w",
    ),
    "a stride of one": ("product.c", "j * job->stride_w)", "j * (FAULT ? 1 : job->stride_w))"),
    "the first group only": ("product.c", "x = x + g * (job", "x = x + (FAULT ? 0 : g) * (job"),
    "a window not dilated": (
        "lookup.c",
        "j * job->dilation_w;",
        "j * (FAULT ? 1 : job->dilation_w);",
    ),
    "a bias left out": ("lookup.c", "+= job->bias[r];", "+= FAULT ? 0 : job->bias[r];"),
    "an offset too small": (
        "pack.c",
        "offsets[lane] = -128 * ",
        "offsets[lane] = -(128 - FAULT) * ",
    ),
}
"""A file of luts/_native/src, what stands there, and what may go wrong there."""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """The portable kernels with every fault in them, of which the variable ``fault`` wakes one."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("kernels")
    for path in (REPOSITORY / "luts" / "_native" / "src").iterdir():
        if not path.name.startswith("avx"):
            shutil.copy(path, folder)
    header = folder / "native.h"
    text = header.read_text().replace("#define AXDSE_X86 1", "")
    header.write_text(text.replace("#include <stdint.h>", "#include <stdint.h>\nextern int fault;"))
    for number, (name, right, wrong) in enumerate(FAULTS.values(), start=1):
        source = (folder / name).read_text()
        assert right in source, f"{name} has {right!r} no more"
        source = source.replace(right, wrong.replace("FAULT", f"(fault == {number})"))
        (folder / name).write_text(source)
    with (folder / "dispatch.c").open("a") as file:
        file.write("\nint fault;\n")
    flags = ["-O1", "-std=gnu11", "-ffp-contract=off", "-shared", "-fPIC", "-lm", "-lpthread"]
    sources = sorted(str(path) for path in folder.glob("*.c"))
    built = folder / "kernels.so"
    subprocess.run([compiler, *sources, *flags, "-o", str(built)], check=True)
    return _library._declared(ctypes.CDLL(str(built)))


def test_every_planted_fault_is_found_and_nothing_else(faulty, monkeypatch):
    monkeypatch.setattr(_library, "kernels_or_none", lambda: faulty)
    chosen = ctypes.c_int.in_dll(faulty, "fault")
    assert luts.isa() == "portable"
    assert not selftest().failures
    missed = []
    for number, name in enumerate(FAULTS, start=1):
        chosen.value = number
        if not selftest(stop=True).failures:
            missed.append(name)
    chosen.value = 0
    assert not missed


def test_a_fault_of_another_backend_is_found(monkeypatch):
    exact = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda x, w: exact(x, w).clamp(-(2**15), 2**15 - 1))
    monkeypatch.setattr("luts.backends._int8.int8_products_are_exact", lambda device: True)
    failures = selftest(brief=True).failures
    assert {failure.backend for failure in failures} == {"torch int8 on cpu"}


def test_a_machine_is_tested_once_and_a_faulty_one_is_refused(monkeypatch, tmp_path):
    runs = []

    def counted(**options):
        runs.append(options)
        return selftest(**options)

    monkeypatch.setattr("luts._selftest.selftest", counted)
    check = check_machine.__wrapped__
    with monkeypatch.context() as patch:
        patch.setattr("luts._native._lookup._tables", _one_too_many)
        with pytest.raises(luts.InputError, match="this machine computes wrongly: table on cpu"):
            check(tmp_path / "stamps")
    assert len(runs) == 1 and not (tmp_path / "stamps").exists()
    check(tmp_path / "stamps")
    check(tmp_path / "stamps")
    assert len(runs) == 2
    monkeypatch.setenv("AXDSE_MAX_ISA", "portable")
    check(tmp_path / "stamps")
    assert len(runs) == 3


def test_the_command_says_what_it_tested(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["luts.selftest", "--brief", "--quiet"])
    command.main()
    said = capsys.readouterr().out
    assert "reference" not in said and "table on cpu" in said
    assert luts.isa() in said and " wrong" not in said
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="1"):
        patch.setattr("luts._native._lookup._tables", _one_too_many)
        command.main()
    assert "wrong: table on cpu is wrong in" in capsys.readouterr().out


def _one_too_many(arithmetic, transposed, _right=_lookup._tables):
    tables = _right(arithmetic, transposed)
    return (*tables, _lookup._Tables.of(tables[0].table * 0 + 1))
