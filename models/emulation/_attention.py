"""Attention's two products, wherever a module asks PyTorch for attention."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

Handler = Callable[..., torch.Tensor]


class AttentionInterceptor(TorchFunctionMode):
    """Inside, calls of `scaled_dot_product_attention` go to ``handler(original, q, k, v, …)``."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.handler = handler

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Divert attention, pass everything else on."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self.handler(func, *args, **kwargs)
        return func(*args, **kwargs)


class AttentionProducts:
    """Attention of one module, computed through two product modules.

    Vaswani et al., NeurIPS 2017, Eq. 1: ``softmax(q·kᵀ / √d)·v``. q and attn are first operands.

    Args:
        qk: computes ``q·kᵀ``.
        av: computes ``attn·v``.
    """

    def __init__(self, qk: nn.Module, av: nn.Module) -> None:
        self.qk = qk
        self.av = av
        self._active: list[AttentionInterceptor] = []

    def attach_(self, owner: nn.Module) -> None:
        """Make ``owner`` compute its attention here, by hooks around its forward."""
        owner.add_module("qk", self.qk)
        owner.add_module("av", self.av)
        owner.register_forward_pre_hook(self._enter)
        owner.register_forward_hook(self._leave, always_call=True)

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        interceptor = AttentionInterceptor(self._attend)
        interceptor.__enter__()
        self._active.append(interceptor)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._active.pop().__exit__(None, None, None)

    # The signature is PyTorch's.
    def _attend(  # noqa: PLR0913
        self,
        original: Handler,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        if enable_gqa:
            k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)
            v = v.repeat_interleave(q.shape[-3] // v.shape[-3], dim=-3)
        scores = self.qk(q, k.transpose(-2, -1))
        scores = scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
        if is_causal:
            keep = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~keep, -math.inf)
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attn_mask, -math.inf)
            else:
                scores = scores + attn_mask
        attention = F.dropout(scores.softmax(dim=-1), dropout_p, training=dropout_p > 0)
        return self.av(attention, v)
