"""What the kernels take for granted, checked before they get an address."""

from typing import Any

import torch

from luts._geometry import Geometry
from luts._multiplier import MAX_K

BLOCK_BYTES = 192 * 1024
"""Codes of one unit of work; the same in src/product.c."""

OFFSETS = 2**31
"""Bytes that the kernels' 32-bit offsets into one unit reach."""


def need(holds: bool, name: str, value: Any, wanted: Any) -> None:
    """Refuse what does not hold.

    Raises:
        ValueError: it does not; with the rule and the value.
    """
    if not holds:
        raise ValueError(f"the kernels need {name} to be {wanted}, not {value}")


def check_operand(x: torch.Tensor, dims: int, *, codes_only: bool = False) -> None:
    """Refuse a tensor that cannot be read as float32 or codes.

    Args:
        x: the operand.
        dims: dimensions that it must have.
        codes_only: float32 is not taken.

    Raises:
        ValueError: another type, device, layout or number of dimensions.
    """
    need(x.dim() == dims, "an operand's dimensions", x.dim(), dims)
    is_typed = x.dtype == torch.int8 or (x.dtype == torch.float32 and not codes_only)
    need(is_typed, "an operand", x.dtype, "int8" if codes_only else "float32 or int8")
    need(x.device.type == "cpu", "an operand", x.device, "on the processor")
    need(x.layout == torch.strided, "an operand", x.layout, torch.strided)


def check_factors(values: torch.Tensor | None, count: int) -> None:
    """Refuse scales or biases that are not ``count`` float32.

    Raises:
        ValueError: they are not.
    """
    if values is not None:
        need(values.dtype == torch.float32, "scales and biases", values.dtype, torch.float32)
        need(values.device.type == "cpu", "scales and biases", values.device, "on the processor")
        need(values.numel() == count, "scales and biases", values.numel(), f"{count} numbers")


def check_inner(products: int) -> None:
    """Refuse sums of no products, and of more than 32 bits hold.

    Raises:
        ValueError: it is one.
    """
    need(0 < products <= MAX_K, "products of one sum", products, f"1 to {MAX_K:,}")


def check_unit(geometry: Geometry, width: int, channels: int, terms: int) -> None:
    """Refuse rows so long that offsets into one unit of work would not fit 32 bits.

    Args:
        geometry: the window.
        width: columns of the image.
        channels: as they lie in the kernels' codes.
        terms: of the circuit.

    Raises:
        ValueError: they are.
    """
    rows = (geometry.kernel[0] - 1) * geometry.dilation[0] + 1 + geometry.stride[0]
    row_bytes = (width + 2 * geometry.padding[1]) * channels
    unit_bytes = (rows * row_bytes + 2 * BLOCK_BYTES) * (terms + 1)
    need(unit_bytes < OFFSETS, "a row of the image", f"{row_bytes:,} bytes", "shorter")
