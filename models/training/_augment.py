"""Random shifts and flips of a whole batch at once."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from luts.errors import InputError

Border = Literal["zeros", "reflect"]


def shift_and_flip(
    pixels: Tensor,
    *,
    shift_px: int,
    flip: bool,
    border: Border = "zeros",
    generator: torch.Generator,
) -> Tensor:
    """Move every image by its own offset, and mirror every other one by chance.

    Args:
        pixels: ``[N, C, H, W]`` of any type.
        shift_px: largest shift in each direction.
        flip: mirror left and right with probability one half.
        border: what comes in: zeros, or the image mirrored at its border.
        generator: on the CPU, whatever the device of the pixels, so that a seed means one thing.

    Raises:
        InputError: the images are too small to be mirrored so far.
    """
    if not (shift_px or flip):
        return pixels
    count, _, height, width = pixels.shape
    device = pixels.device
    span = 2 * shift_px + 1
    offsets = torch.randint(span, (2, count, 1), generator=generator)
    rows = torch.arange(height) + offsets[0]
    columns = torch.arange(width) + offsets[1]
    if flip:
        mirrored = torch.randint(2, (count, 1), generator=generator, dtype=torch.bool)
        columns = torch.where(mirrored, columns.flip(1), columns)
    if border == "reflect":
        if shift_px >= min(height, width):
            raise InputError(
                f"images of {height} x {width} pixels cannot be shifted by {shift_px} and mirrored "
                "at their border: lower shift_px"
            )
        rows, columns = _mirrored(rows - shift_px, height), _mirrored(columns - shift_px, width)
        padded = pixels
    else:
        padded = functional.pad(pixels, (shift_px,) * 4)
    image = torch.arange(count, device=device)[:, None, None]
    # Advanced indices around a slice put the channel last: [N, H, W, C], viewed back as NCHW.
    moved = padded[image, :, rows.to(device)[:, :, None], columns.to(device)[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _mirrored(positions: Tensor, size: int) -> Tensor:
    """Positions beyond the first or last one, counted back from it (`reflect` in NumPy)."""
    inside = positions.abs()
    return torch.minimum(inside, 2 * (size - 1) - inside)
