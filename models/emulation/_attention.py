"""Attention's two products, wherever a module asks PyTorch for attention."""

import contextlib
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from models.emulation._plain import linear_of, look_like_

Handler = Callable[..., torch.Tensor]


class AttentionInterceptor(TorchFunctionMode):
    """Inside, calls of `scaled_dot_product_attention` go to ``handler(original, …)``."""

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
        self._active: list[contextlib.ExitStack] = []

    def attach_(self, owner: nn.Module) -> None:
        """Make ``owner`` compute its attention here, by hooks around its forward."""
        owner.add_module("qk", self.qk)
        owner.add_module("av", self.av)
        owner.register_forward_pre_hook(self._enter)
        owner.register_forward_hook(self._leave, always_call=True)

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        interception = contextlib.ExitStack()
        interception.enter_context(AttentionInterceptor(self.attend))
        self._active.append(interception)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._active.pop().close()

    # The signature is PyTorch's.
    def attend(  # noqa: PLR0913
        self,
        original: Handler,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """What ``original`` computes of the same arguments, which are PyTorch's."""
        q, k, v = query, key, value
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
        # As PyTorch does: a query that sees no key gets zeros.
        softmax = torch.softmax if attn_mask is None else torch._safe_softmax
        attention = F.dropout(softmax(scores, dim=-1), dropout_p, training=dropout_p > 0)
        output: torch.Tensor = self.av(attention, v)
        return output


class MatrixProduct(nn.Module):
    """``x @ y`` as a module, so that it has a name and can be replaced.

    Args:
        kind: what the site is: ``"qk"``, ``"av"`` or ``"matmul"``.
    """

    def __init__(self, kind: Literal["qk", "av", "matmul"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``(…, M, K)`` times ``(…, K, N)`` → ``(…, M, N)``."""
        return x @ y


class ExposedAttention(nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` with every product in a module of its own.

    Args:
        source: the module whose parameters are taken over.
        is_self_attention: query, key and value are always one tensor, so that one linear layer
            projects all three; else each has its own.
    """

    def __init__(self, source: nn.MultiheadAttention, *, is_self_attention: bool) -> None:
        nn.Module.__init__(self)
        look_like_(self, source)
        self.was_packed = source._qkv_same_embed_dim
        # TransformerEncoderLayer reads it, and does not take the fused fast path.
        self._qkv_same_embed_dim = False
        self.bias_k, self.bias_v = source.bias_k, source.bias_v
        if source._qkv_same_embed_dim:
            weights = source.in_proj_weight.chunk(3)
        else:
            weights = source.q_proj_weight, source.k_proj_weight, source.v_proj_weight
        bias = source.in_proj_bias
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        self.is_packed = is_self_attention and source._qkv_same_embed_dim
        if self.is_packed:
            self.in_proj = linear_of(source.in_proj_weight, bias)
        else:
            self.q_proj, self.k_proj, self.v_proj = map(linear_of, weights, biases)
        self.qk, self.av = MatrixProduct("qk"), MatrixProduct("av")
        self.out_proj = source.out_proj
        self.train(source.training)

    @property
    def in_proj_weight(self) -> torch.Tensor | None:  # type: ignore[override]
        """Weights of the three input projections in one, where the source had them so."""
        if not self.was_packed:
            return None
        return torch.cat(tuple(layer.weight for layer in self._projections))

    @property
    def q_proj_weight(self) -> torch.Tensor | None:  # type: ignore[override]
        """Weight of the query's projection, where the source had it apart; `k` and `v` alike."""
        return None if self.was_packed else self.q_proj.weight

    @property
    def k_proj_weight(self) -> torch.Tensor | None:  # type: ignore[override]
        """See `q_proj_weight`."""
        return None if self.was_packed else self.k_proj.weight

    @property
    def v_proj_weight(self) -> torch.Tensor | None:  # type: ignore[override]
        """See `q_proj_weight`."""
        return None if self.was_packed else self.v_proj.weight

    @property
    def in_proj_bias(self) -> torch.Tensor | None:  # type: ignore[override]
        """Their biases in one, or None."""
        biases = tuple(layer.bias for layer in self._projections if layer.bias is not None)
        return torch.cat(biases) if biases else None

    @property
    def _projections(self) -> tuple[nn.Linear, ...]:
        return (self.in_proj,) if self.is_packed else (self.q_proj, self.k_proj, self.v_proj)

    # The signature is PyTorch's.
    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `torch.nn.MultiheadAttention`; ``is_causal`` only repeats what the mask says."""
        is_batched = query.dim() == 3
        q, k, v = (self._heads(x, is_batched) for x in self._projected(query, key, value))
        k, v = self._extended(k, self.bias_k), self._extended(v, self.bias_v)
        scores = self.qk(q, k.transpose(-2, -1)) * (1 / math.sqrt(q.shape[-1]))
        for mask in (_by_head(attn_mask, q), _by_key(key_padding_mask)):
            if mask is not None:
                scores = scores + _additive(mask, scores)
        # A query that sees no key: PyTorch gives NaN beside weights, zeros without them.
        softmax = torch.softmax if need_weights else torch._safe_softmax
        attention = F.dropout(softmax(scores, dim=-1), self.dropout, training=self.training)
        output = self.out_proj(self.av(attention, v).transpose(1, 2).flatten(2))
        if not is_batched:
            output = output[0]
        elif not self.batch_first:
            output = output.transpose(0, 1)
        if not need_weights:
            return output, None
        weights = attention.mean(dim=1) if average_attn_weights else attention
        return output, weights if is_batched else weights[0]

    def _projected(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        if not self.is_packed:
            return self.q_proj(query), self.k_proj(key), self.v_proj(value)
        if key is query and value is query:
            return torch.chunk(self.in_proj(query), 3, dim=-1)
        # Not what it was made for: right, but with products that are thrown away.
        return tuple(
            torch.chunk(self.in_proj(x), 3, dim=-1)[i] for i, x in enumerate((query, key, value))
        )

    def _heads(self, x: torch.Tensor, is_batched: bool) -> torch.Tensor:
        """``(B, H, N, d)`` from the layout of the inputs."""
        if not is_batched:
            x = x.unsqueeze(0)
        elif not self.batch_first:
            x = x.transpose(0, 1)
        return torch.unflatten(x, -1, (self.num_heads, -1)).transpose(1, 2)

    def _extended(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """``x`` with the key or value that every query sees besides."""
        if bias is not None:
            extra = bias.view(1, self.num_heads, 1, -1).expand(len(x), -1, -1, -1)
            x = torch.cat([x, extra], dim=2)
        return F.pad(x, (0, 0, 0, 1)) if self.add_zero_attn else x


def _by_head(mask: torch.Tensor | None, q: torch.Tensor) -> torch.Tensor | None:
    """An attention mask, ``(L, S)`` or ``(B·H, L, S)``, broadcastable to the scores."""
    return mask if mask is None or mask.dim() == 2 else mask.view(*q.shape[:2], *mask.shape[-2:])


def _by_key(mask: torch.Tensor | None) -> torch.Tensor | None:
    """A padding mask, ``(S)`` or ``(B, S)``, broadcastable to the scores."""
    return None if mask is None else mask.view(-1, 1, 1, mask.shape[-1])


def _additive(mask: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """``mask`` as a term of the scores; true means that a key is not seen."""
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -math.inf)
    return F.pad(mask, (0, scores.shape[-1] - mask.shape[-1]))
