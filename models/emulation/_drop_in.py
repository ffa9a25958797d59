"""What lets an emulated network stand in for the original, or refuses where it could not."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from luts.errors import InputError
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._expose import without_fast_path
from models.emulation._layers import computing_in_float
from models.networks import Inputs

TOLERANCE = 1e-3
"""How far float outputs may lie from the original's, of their largest value: products are summed in
another order."""

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def check_network(network: nn.Module) -> None:
    """Refuse what has no layers that could be emulated.

    Raises:
        InputError: the network is scripted, exported or quantised, or was made in inference mode.
    """
    name = type(network).__name__
    for module in network.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"{name} is scripted or traced, so that its layers cannot be replaced: give the "
                f"torch.nn.Module that it was made from"
            )
        if isinstance(module, torch.fx.GraphModule) and any(
            isinstance(node.target, torch._ops.OpOverload) for node in module.graph.nodes
        ):
            raise InputError(
                f"{name} is exported, so that its layers are gone: give the torch.nn.Module that "
                f"it was made from"
            )
        if type(module).__module__.startswith(_QUANTISED):
            raise InputError(
                f"{name} is quantised already ({type(module).__name__}): give the network before "
                f"quantisation"
            )
    if any(parameter.is_inference() for parameter in network.parameters()):
        raise InputError(
            f"{name} has parameters made in torch.inference_mode(): make or load it outside"
        )


def check_inputs(inputs: Inputs) -> None:
    """Refuse inputs that float32 layers would not take.

    Raises:
        InputError: a tensor of other floating-point numbers or of uint8, or of inference mode.
    """
    for tensor in inputs.tensors:
        other = tensor.is_floating_point() and tensor.dtype != torch.float32
        if other or tensor.dtype == torch.uint8:
            raise InputError(
                f"calibration inputs are float32 (or int64, for what is looked up), not "
                f"{tensor.dtype}: convert them as the network was trained, with .float() at least"
            )
        if tensor.is_inference():
            raise InputError(
                "calibration inputs were made in torch.inference_mode(): clone them outside"
            )


@torch.no_grad()
def keep_formats_(network: nn.Module, inputs: Inputs) -> None:
    """Let convolutions give PyTorch's own memory format if the network looks at how images lie."""
    seen = _Layout()
    with computing_in_float(network), seen:
        inputs.call(network)
    for module in network.modules():
        if isinstance(module, EmulatedConv2d):
            module.keeps_format = seen.is_read


_LAYOUT = {
    *(torch.Tensor.view, torch.Tensor.as_strided, torch.as_strided, torch.Tensor.stride),
    *(torch.Tensor.is_contiguous, torch.Tensor.data_ptr, torch.Tensor.view_as),
    *(torch.Tensor.unflatten, torch.unflatten),
}


class _Layout(TorchFunctionMode):
    """Inside, notes whether anything depends on how an image lies in memory."""

    is_read = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look, and pass everything on."""
        if func in _LAYOUT and isinstance(args[0], torch.Tensor) and args[0].dim() in (3, 4):
            self.is_read = True
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def check_agreement(network: nn.Module, in_float: nn.Module, inputs: Inputs) -> None:
    """Refuse an emulated network that does not compute in float what the original does.

    Raises:
        InputError: their outputs differ, by the same random numbers.
    """
    # The fused path of nn.TransformerEncoder gives zeros, or nothing, where there is padding.
    with _evaluating(network), without_fast_path(), torch.compiler.set_stance("force_eager"):
        expected, got = (_outputs(each, inputs) for each in (network, in_float))
    alike = len(expected) == len(got)
    for x, y in zip(expected, got, strict=False):
        alike = alike and x.shape == y.shape
        if alike and x.numel():
            scale = float(x.abs().nan_to_num(0, 0, 0).max())
            alike = torch.allclose(x, y, rtol=0, atol=TOLERANCE * scale + 1e-6, equal_nan=True)
    if not alike:
        raise InputError(
            f"with its layers replaced, {type(network).__name__} computes something else, in float "
            f"too: its forward asks for the class of a layer, or changes from call to call; let it "
            f"depend on its inputs and weights alone"
        )


def _outputs(network: nn.Module, inputs: Inputs) -> list[torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        leaves = tree_leaves(inputs.call(network))
    return [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, every module is in evaluation mode; afterwards each in its own."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
