"""Every C file of EvoApproxLib: an 8×8 multiplier is taken, and nothing else is."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import luts
from tests.luts.loading.files import FIGURES

SQUARE = ("8x8_signed", "8x8_unsigned")
"""Folders of what is one."""
PAST_16_BITS = ("mul8u_17C8", "mul8u_17QU", "mul8u_17A6")
"""Products at the magnitude 128 pass 32,767."""


@pytest.fixture(scope="module")
def library():
    """C files by name, as several folders have the same one; and whether each is 8×8."""
    named = os.environ.get("EVOAPPROXLIB")
    if named is None:
        pytest.skip(
            "EVOAPPROXLIB names no clone of https://github.com/ehw-fit/evoapproxlib: its files "
            "are not sorted here"
        )
    files = {}
    for path in sorted(Path(named).rglob("*.c")):
        kind = next((part for part in path.parts if part in SQUARE), None)
        files.setdefault(path.name, (path, kind))
    assert len(files) > 100
    return files


def test_all_files_are_sorted_right(library):
    wrong, taken = [], 0
    for name, (path, kind) in library.items():
        try:
            loaded = luts.load(path)
        except luts.InputError as error:
            assert "\n" not in str(error)
            if kind is not None and not _is_constant(path):
                wrong.append(f"{name} refused: {error}")
            continue
        taken += 1
        if kind is None or loaded.signed != (kind == "8x8_signed"):
            wrong.append(f"{name} taken, signed={loaded.signed}")
    assert not wrong, wrong
    assert taken > 40


def _is_constant(path):
    """Whether a circuit has the same product for all operands, as the library's cheapest has."""
    table = luts.load(path, layout=luts.Layout(trust=True), **FIGURES).truth_table
    return table.min() == table.max()


@pytest.mark.parametrize("name", PAST_16_BITS)
def test_unsigned_circuits_whose_products_pass_16_bits_with_sign(library, name):
    if f"{name}.c" not in library:
        pytest.skip(f"this branch of the library has no {name}.c")
    circuit = luts.load(library[f"{name}.c"][0])
    table = circuit.truth_table
    assert table[128, :129].max() > 32_767 or table[:129, 128].max() > 32_767
    assert circuit.max_products < 65_536
    codes = torch.arange(-128, 128, dtype=torch.int8)
    values = codes.numpy().astype(np.int64)
    sign, magnitude = np.where(values < 0, -1, 1), np.abs(values)
    expected = table[np.ix_(magnitude, magnitude)] * np.outer(sign, sign)
    found = luts.matmul(codes[:, None], codes[None, :], circuit)
    np.testing.assert_array_equal(found.numpy(), expected)
    many = torch.full((1, 1000), -128, dtype=torch.int8)
    assert luts.matmul(many, many.t(), circuit).item() == 1000 * int(table[128, 128])
