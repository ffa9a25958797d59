"""luts.load recognises what it loads."""

import warnings

import numpy as np
import pytest

import luts
from tests.luts.loading.files import FIGURES, save_header, save_npy


def adapt_header_table() -> np.ndarray:
    """mul8s_1L2H as the converter of AdaPT and TransAxx tabulates it.

    Its loop over two negative operands calls the circuit with their magnitudes, where −128's is
    the pattern of 128.
    """
    circuit = luts.catalog["mul8s_1L2H"].truth_table
    table = circuit.copy()
    for a in range(128, 256):
        for b in range(128, 256):
            table[a, b] = circuit[(256 - a) % 256, (256 - b) % 256]
    return table


def test_the_header_that_adapt_ships_is_not_the_circuit_it_is_named_after(tmp_path):
    path = tmp_path / "mul8s_1L2H.h"
    save_header(path, adapt_header_table())
    with pytest.warns(luts.MismatchWarning) as caught:
        multiplier = luts.load(path, **FIGURES)
    (warning,) = caught
    assert "differs from mul8s_1L2H in 12,414 of 65,536 entries" in str(warning.message)
    assert warning.filename == __file__
    assert luts.catalog.recognise(multiplier) is None
    with pytest.raises(luts.InputError, match="already means a circuit with another table"):
        luts.catalog.add(multiplier)


def test_a_known_table_is_recognised_whatever_its_name(tmp_path):
    path = tmp_path / "mul8s_whatever.npy"
    np.save(path, luts.catalog["mul8s_1KR3"].truth_table.T)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        multiplier = luts.load(path, **FIGURES)
    found = luts.catalog.recognise(multiplier)
    assert (found.known.name, found.swapped) == ("mul8s_1KR3", True)
    save_npy(path, luts.catalog["mul8s_1L2H"].truth_table)
    assert str(luts.catalog.recognise(luts.load(path, **FIGURES))) == (
        "mul8s_1L2H (v2022 mul8s_1L2J)"
    )
