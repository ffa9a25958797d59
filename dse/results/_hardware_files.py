"""The files of an export: parameters, vectors, text for ``$readmemh``, and what is what."""

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from luts import Arithmetic, ignored_bits
from models.emulation import SiteParameters, Tile

MANIFEST = "manifest.json"
ASSIGNMENT = "assignment.json"
REFERENCE = "reference.onnx"
README = "README.md"
PARAMETERS, VECTORS, RTL = "parameters", "vectors", "rtl"

BENCH = "iverilog -g2012 -s testbench -o testbench.vvp rtl/*.v && vvp -n testbench.vvp"
VERILATOR = "verilator --binary -Wno-fatal --top-module testbench rtl/*.v && obj_dir/Vtestbench"

_README = """\
# {title}, trial {trial}

What hardware needs to compute this network with this assignment of multipliers, and to check it.
`{manifest}` lists every site with its circuit and files, and the SHA-256 of every file.

- `{assignment}`: which circuit works at which site.
- `{parameters}/`: of each site the weight codes, scales and offsets (NumPy's npz; with `--hex` also
  one file an array, two digits a code, eight an IEEE 754 single).
- `{vectors}/`: of chosen sites the input codes, exact 32-bit accumulators, outputs, and outputs as
  8-bit codes; arrays that begin with `tile_` are the matrix products of the test bench.
- `{rtl}/`: each circuit in Verilog, a weight-stationary array, and its test bench.
{reference}
All codes are two's complement bytes as a circuit is fed: where a port ignores low bits and operands
are rounded, they are rounded already. The circuit's first port takes the activation, or the weight
where the operand order is `swapped`. Sums are exact in 32 bits. Then

    output = float32(sum) * factor + offset          (float32, a rounding after each)
    code   = clamp(round_half_even(x / scale), -127, 127)

`factor` and `offset` hold scales, bias, correction and, where the manifest says so, the BatchNorm
that follows. `input_scale` is the value of one input code. `output_scale` belongs to the vectors at
hand: their largest output is code 127. A zero of a convolution's padding is an operand of code 0.
{bench}
"""

_BENCH = """
## The test bench

    {iverilog}
    {verilator}

in this folder streams the tiles of {sites} through the array and compares every accumulator; it
prints PASSED or FAILED. `-Ptestbench.ROWS=16` (`-GROWS=16` for Verilator) changes the array's size,
COLUMNS likewise.
"""

_REFERENCE = """\
- `{name}`: the int8 network with the exact multiplier everywhere, from which this one was made, as
  ONNX with QuantizeLinear and DequantizeLinear. Its scales and weights are those before recovery.
  On x86 processors without VNNI, onnxruntime sums exactly only with the session's entry
  `session.x64quantprecision` at `"1"`.
"""


def readme(*, title: str, trial: int, sites: int, has_reference: bool) -> str:
    """The page that says what is what.

    Args:
        title: of the search.
        trial: its number.
        sites: how many the test bench checks; 0 without one.
        has_reference: whether there is a network in ONNX.
    """
    count = f"{sites} site{'s' * (sites != 1)}"
    bench = _BENCH.format(iverilog=BENCH, verilator=VERILATOR, sites=count) if sites else ""
    return _README.format(
        title=title,
        trial=trial,
        manifest=MANIFEST,
        assignment=ASSIGNMENT,
        parameters=PARAMETERS,
        vectors=VECTORS,
        rtl=RTL,
        reference=_REFERENCE.format(name=REFERENCE) if has_reference else "",
        bench=bench,
    )


def label_of(index: int, name: str) -> str:
    """A site's name as a part of file names: unique, and plain letters whatever the name is."""
    return f"{index:03d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}"


def hex_lines(array: npt.NDArray[Any]) -> str:
    """An array's elements, row by row, a line each, as bit patterns for ``$readmemh``.

    Args:
        array: int8, int32 or float32.
    """
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").ravel()
    digits = 2 * array.dtype.itemsize
    return "".join(f"{value:0{digits}x}\n" for value in bits.tolist())


@dataclasses.dataclass(frozen=True)
class Folder:
    """Where an export writes.

    Attributes:
        path: the folder.
        with_hex: also write every array as text.
    """

    path: Path
    with_hex: bool

    def text(self, name: str, text: str) -> str:
        """Write a text file; its name."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="\n")
        return name

    def arrays(self, stem: str, arrays: dict[str, npt.NDArray[Any]]) -> str:
        """Write arrays as ``stem.npz``, and as text if that is wanted; the archive's name."""
        file = self.path / f"{stem}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        if self.with_hex:
            for name, array in arrays.items():
                if array.dtype != np.int64:
                    self.text(f"{stem}.{name}.hex", hex_lines(array))
        return f"{stem}.npz"

    def tile(self, stem: str, tile: Tile) -> tuple[str, str, str]:
        """Write a tile as the test bench reads it."""
        return (
            self.text(f"{stem}.activations.hex", hex_lines(tile.activations)),
            self.text(f"{stem}.weights.hex", hex_lines(tile.weights)),
            self.text(f"{stem}.sums.hex", hex_lines(tile.sums)),
        )

    def digests(self) -> dict[str, dict[str, Any]]:
        """SHA-256 and size of every file, by name."""
        files = sorted(path for path in self.path.rglob("*") if path.is_file())
        return {
            path.relative_to(self.path).as_posix(): {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bytes": path.stat().st_size,
            }
            for path in files
        }


def site_record(parameters: SiteParameters, file: str) -> dict[str, Any]:
    """A site's entry in the manifest, without its vectors.

    Args:
        parameters: its constants.
        file: where they are.
    """
    site, geometry = parameters.site, parameters.geometry
    record: dict[str, Any] = {
        "name": site.name,
        "kind": site.kind,
        "expert_layer": site.expert_layer,
        "expert": site.expert,
        "products_per_output": site.fan_in,
        **_choice(parameters.arithmetic),
        "folds_batchnorm": parameters.folds_batchnorm,
        "parameters": file,
    }
    if geometry is not None:
        record["geometry"] = dataclasses.asdict(geometry)
    return record


def _choice(arithmetic: Arithmetic) -> dict[str, Any]:
    ignored = ignored_bits(arithmetic.multiplier)
    first, second = reversed(ignored) if arithmetic.swapped else ignored
    return {
        "circuit": arithmetic.multiplier.name,
        "operand_order": "swapped" if arithmetic.swapped else "normal",
        "operands": "rounded" if arithmetic.rounded else "cut",
        "ignored_low_bits": {"activation": first, "weight": second},
    }
