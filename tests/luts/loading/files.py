"""Files that the tests write and load."""

from pathlib import Path

import numpy as np
import pytest

import luts

FIGURES = {"power_mw": 0.3, "area_um2": 500.0, "delay_ns": 1.3}

HEADER = """/***
* Comments of a block that EvoApproxLib's files begin with
***/
// MAE% = 0.081 %
// EP% = 74.61 %
// PDK45_PWR = 0.301 mW
// PDK45_AREA = 558.9 um2
// PDK45_DELAY = 1.36 ns
#include <stdint.h>
#include <stdlib.h>
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, message: str, **options) -> None:
    """`luts.load` raises one clear line."""
    with pytest.raises(luts.InputError, match=message) as caught:
        luts.load(path, **{**FIGURES, "signed": True, **options})
    assert "\n" not in str(caught.value)


def save_npy(path: Path, table: np.ndarray) -> None:
    np.save(path, table.astype(np.int16))


def save_npz(path: Path, table: np.ndarray) -> None:
    np.savez_compressed(path, lut=table)


def save_header(path: Path, table: np.ndarray) -> None:
    rows = ",\n".join("{" + ", ".join(map(str, row)) + "}" for row in table.tolist())
    path.write_text(f"#include <stdint.h>\n\nconst int16_t lut [256][256] = {{{rows}}};\n")


def save_flat_cuda(path: Path, table: np.ndarray) -> None:
    numbers = ", ".join(map(str, table.flatten().tolist()))
    path.write_text(f"/* a [1] */ const __device__ short lut[65536] = {{ {numbers}, }}; // end")


def save_matrix(path: Path, table: np.ndarray) -> None:
    np.savetxt(path, table, fmt="%d", delimiter=",")


def save_blanks(path: Path, table: np.ndarray) -> None:
    np.savetxt(path, table, fmt="%5d", header="a table")


def save_int16(path: Path, table: np.ndarray) -> None:
    path.write_bytes(table.astype("<i2").tobytes())


def save_int32(path: Path, table: np.ndarray) -> None:
    path.write_bytes(table.astype("<i4").tobytes())


FORMATS = {
    "npy": save_npy,
    "npz": save_npz,
    "h": save_header,
    "cuh": save_flat_cuda,
    "csv": save_matrix,
    "txt": save_blanks,
    "bin": save_int16,
    "raw": save_int32,
}
