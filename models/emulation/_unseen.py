"""Products that no site covers."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

_PRODUCTS = {
    *(torch.matmul, torch.bmm, torch.mm, torch.mv, torch.addmm, torch.baddbmm, torch.einsum),
    *(torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.bmm, torch.Tensor.mm),
    *(torch.Tensor.__rmatmul__, torch.Tensor.mv, torch.Tensor.baddbmm, torch.Tensor.addmm),
    *(F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.multi_head_attention_forward),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
    *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
}
_SHOWN = 8


class UnseenProducts(TorchFunctionMode):
    """Inside, notes which modules multiply by other means than their sites.

    Args:
        running: says which module is at work, and its name; None for one that accounts for its
            products itself.
    """

    def __init__(self, running: Callable[[], tuple[str, nn.Module] | None]) -> None:
        super().__init__()
        self.running = running
        self.modules: dict[str, str] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look, and pass everything on."""
        if func in _PRODUCTS and (at_work := self.running()) is not None:
            name, module = at_work
            self.modules.setdefault(name or "the network itself", type(module).__name__)
        return func(*args, **(kwargs or {}))

    def warn(self) -> None:
        """Name them all in one warning, if there are any."""
        if not self.modules:
            return
        shown = [f"{name} ({kind})" for name, kind in self.modules.items()]
        more = len(shown) - _SHOWN
        warnings.warn(
            "products that are not sites, so they stay in float and are not in the energy: "
            + ", ".join(shown[:_SHOWN])
            + (f" and {more} more" if more > 0 else ""),
            stacklevel=5,
        )
