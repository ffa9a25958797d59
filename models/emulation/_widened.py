"""Products of bfloat16 on a processor that has none: exactly what they mean, by float32."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default

_PRODUCTS = {
    torch.ops.aten.convolution.default,
    torch.ops.aten.convolution_backward.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.mv.default,
    torch.ops.aten.addmv.default,
    torch.ops.aten.dot.default,
    _ATTENTION,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
}


class WidenedProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, products of bfloat16 on a CPU are computed by float32, and rounded to bfloat16.

    A product of two bfloat16 numbers is exact in float32, and sums of them are kept in float32 by
    every processor that has bfloat16; so results differ from such a processor's by the order of
    sums only. Left alone there, PyTorch takes 10 to 70 times as long, and adds up some gradients in
    bfloat16. Backward belongs inside as well.
    """

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute an operator."""
        if func not in _PRODUCTS or not _is_low(args[0]):
            return func(*args, **(kwargs or {}))
        given = tree_map_only(Tensor, _widened, (tuple(args), dict(kwargs or {})))
        result = func(*given[0], **given[1])
        if func is _ATTENTION:  # the logarithms of its sums are float32 anyway
            return result[0].to(torch.bfloat16), *result[1:]
        return tree_map_only(Tensor, lambda part: part.to(torch.bfloat16), result)


def widened_products() -> contextlib.AbstractContextManager[Any]:
    """Inside, products are `WidenedProducts` where the processor has no bfloat16."""
    if has_bfloat16():
        return contextlib.nullcontext()
    return WidenedProducts()  # type: ignore[no-untyped-call]


def has_bfloat16() -> bool:
    """Whether PyTorch has quick products of bfloat16 on this processor."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _is_low(first: Any) -> bool:
    is_tensor = isinstance(first, Tensor)
    return is_tensor and first.device.type == "cpu" and first.dtype == torch.bfloat16


def _widened(part: Tensor) -> Tensor:
    return part.float() if part.dtype == torch.bfloat16 else part
