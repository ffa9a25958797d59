"""What codes stand for, for gradients."""

import torch

from luts._native._checks import need
from luts._native._library import kernels

_LISTED_SHARE = 16
"""Where more than one value in so many is clipped, a mask is quicker than a list."""


def native_dequantised(
    x: torch.Tensor, scale: float, bound: float, dtype: torch.dtype, *, lists: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What the codes of ``x`` stand for, and where ``x`` is beyond ``bound``.

    Args:
        x: float32 on the CPU.
        scale: value of one code.
        bound: largest magnitude that is not clipped.
        dtype: of the result, float32 or bfloat16.
        lists: whether the places are wanted.

    Returns:
        Codes times ``scale``, in the shape and memory format of ``x`` and dense; and the offsets of
        clipped values from the first in that memory, int64 in any order, or None if they are many
        or not wanted.
    """
    need(x.dtype == torch.float32, "what is quantised", x.dtype, torch.float32)
    need(x.device.type == "cpu", "what is quantised", x.device, "on the processor")
    need(dtype in (torch.float32, torch.bfloat16), "the result", dtype, "float32 or bfloat16")
    values = torch.empty_like(x, dtype=dtype)
    if values.stride() != x.stride():
        x = torch.empty_like(values, dtype=torch.float32).copy_(x)
    room = x.numel() // _LISTED_SHARE + 1
    places = torch.empty(room, dtype=torch.int64) if lists else None
    found = kernels().axdse_dequantise(
        *(x.data_ptr(), x.numel(), scale, values.data_ptr(), dtype == torch.bfloat16, bound),
        *(None if places is None else places.data_ptr(), room, torch.get_num_threads()),
    )
    return values, places[:found] if places is not None and found <= room else None
