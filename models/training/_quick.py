"""Training on a CPU with the quicker of PyTorch's ways to compute the same."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from models.emulation._conv_gradients import Convolution, ProductConv2d, products_are_quicker
from models.emulation._widened import widened_products

# The fused kernel's backward is slow in bfloat16 for few tokens, up to four times; forward and
# backward together take equally long at about 160. In float32 there is no difference for few.
_FEW_TOKENS = 128


@contextlib.contextmanager
def quick_products() -> Iterator[None]:
    """Inside, products are computed in the way that trains faster on a CPU.

    `QuickProducts`, and where the processor has no bfloat16 `WidenedProducts` too. Results differ
    in rounding, or the order of sums, only. Backward belongs inside as well.
    """
    with widened_products(), QuickProducts():
        yield


class QuickProducts(TorchFunctionMode):
    """Inside, convolutions and attention are computed in the way that trains faster on a CPU.

    Convolutions of small images with large weights become matrix products, and bfloat16 attention
    among few tokens is taken apart. Results differ in rounding only. Whatever this does not know,
    it leaves to PyTorch, as it does everything on another device. Backward belongs inside as well,
    since checkpointed modules run forward again there.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Choose a way."""
        kwargs = kwargs or {}
        if func is F.conv2d:
            return _conv2d(*args, **kwargs)
        if func is Tensor.backward and _of_all(args[4:], kwargs):
            with self:  # PyTorch leaves the mode while it asks the mode
                return torch.autograd.backward(*args, **_renamed(kwargs))
        if (
            func is torch.autograd.backward
            and _of_all(args[5:], kwargs)
            and all(t.requires_grad for t in args[0])
        ):
            with self:
                return _backward(*args, **kwargs)
        few = _FEW.get(func)
        if few is not None and few(*args, **kwargs):
            with sdpa_kernel(SDPBackend.MATH):
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def _of_all(inputs: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Whether gradients of all leaves are asked for, and not of some ``inputs``."""
    return not inputs and options.get("inputs") is None


def _few_keys(query: Tensor, key: Tensor, *_: Any, **__: Any) -> bool:
    """Of attention among ``(…, tokens, features)``."""
    return _is_low(key) and key.dim() > 1 and key.shape[-2] <= _FEW_TOKENS


def _few_items(query: Tensor, key: Tensor, *_: Any, **__: Any) -> bool:
    """Of attention of `nn.MultiheadAttention`, among ``(tokens, …, features)``."""
    return _is_low(key) and len(key) <= _FEW_TOKENS


def _is_low(key: Tensor) -> bool:
    """Whether a product with ``key`` is one of bfloat16 on a CPU."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else key.dtype
    return key.device.type == "cpu" and dtype == torch.bfloat16


_FEW: dict[Callable[..., Any], Callable[..., bool]] = {
    F.scaled_dot_product_attention: _few_keys,
    F.multi_head_attention_forward: _few_items,
}


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `Tensor.backward` as those of `torch.autograd.backward`."""
    return {("grad_tensors" if n == "gradient" else n): value for n, value in options.items()}


def _backward(tensors: Sequence[Tensor], **options: Any) -> None:
    """`torch.autograd.backward`, given edges of the graph: for tensors it would ask the mode."""
    torch.autograd.backward([get_gradient_edge(tensor) for tensor in tensors], **options)


def _conv2d(*args: Any, **kwargs: Any) -> Tensor:
    """`F.conv2d`."""
    call = _known(*args, **kwargs)
    if call is None:
        return F.conv2d(*args, **kwargs)
    x, w, bias, how = call
    y: Tensor = ProductConv2d.apply(x, w, bias, how)  # type: ignore[no-untyped-call]
    return y


def _known(
    input: Any = None,
    weight: Any = None,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Convolution] | None:
    """The arguments of `F.conv2d` as autocast casts them, if products are quicker; else None."""
    given = [part for part in (input, weight, bias) if part is not None]
    plain = all(type(part) in (Tensor, nn.Parameter) for part in given)
    if not plain or any(part.device.type != "cpu" for part in given):
        return None
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return None
    if input is None or weight is None or input.dim() != 4 or weight.dim() != 4:
        return None
    how = _geometry(weight, stride, padding, dilation, groups)
    if how is None or input.shape[1] != weight.shape[1] or min(how.output_size(input, weight)) < 1:
        return None
    types = {part.dtype for part in given}
    if torch.is_autocast_enabled("cpu") and types <= {torch.float32, torch.bfloat16}:
        types = {torch.get_autocast_dtype("cpu")}
    if len(types) != 1:
        return None
    (dtype,) = types
    if dtype not in (torch.float32, torch.bfloat16) or not products_are_quicker(input, weight, how):
        return None
    return input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), how


def _geometry(
    weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int
) -> Convolution | None:
    """As pairs; None where the padding is uneven or a value is none that a convolution can have."""
    dilation, stride = _pair(dilation), _pair(stride)
    if dilation is None or stride is None or groups != 1:
        return None
    if padding == "valid":
        padding = 0
    elif padding == "same":
        reach = [d * (taps - 1) for d, taps in zip(dilation, weight.shape[2:], strict=True)]
        if any(r % 2 for r in reach) or stride != (1, 1):
            return None
        padding = tuple(r // 2 for r in reach)
    padding = _pair(padding)
    if padding is None or min(padding) < 0 or min(stride) < 1 or min(dilation) < 1:
        return None
    return Convolution(stride, padding, dilation, groups)


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    values = tuple(value) if isinstance(value, tuple | list) else ()
    if len(values) == 1:
        values *= 2
    if len(values) != 2 or not all(isinstance(part, int) for part in values):
        return None
    return values[0], values[1]
