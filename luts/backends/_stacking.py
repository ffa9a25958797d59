"""Operands of a factorised product: the terms stacked along the inner dimension."""

import numpy as np
import numpy.typing as npt
import torch

from luts._factorisation import Factorisation


def stack_x(x: torch.Tensor, factorisation: Factorisation) -> torch.Tensor:
    """``[u_1(x) | u_2(x) | …]``, int8 of shape ``(..., M, terms · K)``."""
    return torch.cat(_applied(x, factorisation.u_masks, factorisation.u), dim=-1)


def stack_w(w: torch.Tensor, factorisation: Factorisation) -> torch.Tensor:
    """``[v_1(w); v_2(w); …]``, int8 of shape ``(..., terms · K, N)``."""
    return torch.cat(_applied(w, factorisation.v_masks, factorisation.v), dim=-2)


def _applied(
    codes: torch.Tensor, masks: tuple[int, ...] | None, tables: npt.NDArray[np.int8]
) -> list[torch.Tensor]:
    if masks is not None:
        # A mask of 255 changes nothing; as int8 it is −1.
        return [codes if m == 255 else codes & (m - 256 if m > 127 else m) for m in masks]
    index = codes.view(torch.uint8).long()
    return [torch.from_numpy(t).to(codes.device)[index] for t in tables]
