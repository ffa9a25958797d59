"""Codes of weights, and their packed form (src/pack_layer.c)."""

import ctypes

import torch

from luts._native._checks import need
from luts._native._library import kernels
from luts._native._structures import ProductJob

LANES = 16


def packed_weight(
    job: ProductJob, w: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A layer's weight as the kernels read it.

    Args:
        job: the circuit, its second operand's factors, the window, channels and columns.
        w: codes, int8 of shape ``(out, in / groups, kernel rows, kernel columns)``.

    Returns:
        Values, int8 of shape ``(groups, panels, dwords, 16, 4)``; bit planes, int32 of shape
        ``(groups, panels, words, depth, 16)``; and offsets, int32 of shape ``(groups, 16·panels)``.
    """
    dwords, words = ctypes.c_int64(), ctypes.c_int64()
    kernels().axdse_packed_size(ctypes.byref(job), ctypes.byref(dwords), ctypes.byref(words))
    groups, panels = job.groups, -(-job.columns // LANES)
    values = torch.zeros(groups, panels, dwords.value, LANES, 4, dtype=torch.int8)
    planes = torch.zeros(groups, panels, words.value, job.depth, LANES, dtype=torch.int32)
    offsets = torch.zeros(groups, panels * LANES, dtype=torch.int32)
    kernels().axdse_pack_layer(
        *(ctypes.byref(job), w.data_ptr(), (ctypes.c_int64 * 4)(*w.stride())),
        *(values.data_ptr(), planes.data_ptr(), offsets.data_ptr()),
    )
    return values, planes, offsets


def native_quantise_rows(x: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Codes of ``x``, float32 on the CPU, of which each ``x[i]`` has a scale of its own.

    Args:
        x: of any shape.
        scales: float32 of shape ``(len(x),)``.

    Returns:
        int8 of the shape of ``x``, and in its memory format.
    """
    x = _rows_in_memory(x)
    need(scales.shape == x.shape[:1], "scales", tuple(scales.shape), "one a row")
    codes = torch.empty_like(x, dtype=torch.int8)
    scales = scales.float().contiguous()
    kernels().axdse_quantise_rows(
        x.data_ptr(), len(x), x[0].numel(), scales.data_ptr(), codes.data_ptr()
    )
    return codes


def native_largest_of_rows(x: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each ``x[i]``, float32 of shape ``(len(x),)``; a NaN is larger.

    Args:
        x: float32 on the CPU, not empty.
    """
    x = _rows_in_memory(x)
    largest = torch.empty(len(x))
    kernels().axdse_largest_of_rows(x.data_ptr(), len(x), x[0].numel(), largest.data_ptr())
    return largest


def _rows_in_memory(x: torch.Tensor) -> torch.Tensor:
    """``x``, of which each ``x[i]`` fills one piece of memory, and these follow each other."""
    need(x.dtype == torch.float32, "rows", x.dtype, torch.float32)
    need(x.device.type == "cpu", "rows", x.device, "on the processor")
    need(x.numel() > 0, "rows", tuple(x.shape), "not empty")
    if x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)):
        return x
    return x.contiguous()
