"""The exact int8 network as ONNX: QuantizeLinear and DequantizeLinear around every product.

Activations are clipped to codes −127…127 first, as ONNX's own run to −128. Everything between sites
is in float32, as it is here. Experts that are chosen item by item all work on all items, and what
was not chosen is left out of the sum: ONNX has no rows that depend on data. On x86 processors
without VNNI, onnxruntime saturates sums of two products at 16 bits, unless the session's entry
``session.x64quantprecision`` is "1".
"""

import contextlib
import copy
import functools
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luts import MAX_CODE
from luts.errors import InputError
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._emulate import EmulatedNetwork
from models.emulation._layers import EmulatedLinear, EmulatedSite, EmulatedWeightSite
from models.emulation._matmul import EmulatedMatmul
from models.networks import ExpertLayer, Inputs

OPSET = 18
NEEDED = ("onnx", "onnxscript")
INPUT, OUTPUT = "images", "logits"


@torch.no_grad()
def write_onnx(emulated: EmulatedNetwork, inputs: torch.Tensor | Inputs, path: Path) -> bool:
    """Write the network with the exact multiplier at every site, at the scales that it has.

    Args:
        emulated: the network; left as it is. What its circuits do is not part of the file.
        inputs: a batch as the network takes it.
        path: file to write.

    Returns:
        Whether the file takes batches of any size. Where PyTorch cannot trace that, as with
        topology ``soft``, it takes one input at a time.

    Raises:
        InputError: packages are missing, or PyTorch cannot trace the network.
    """
    for module in NEEDED:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise InputError(
                f"ONNX takes the package {module}, which is not installed: pip install "
                f"'axdse[onnx]'"
            ) from error
    if not isinstance(inputs, torch.Tensor):
        raise InputError(
            "an ONNX file is of a network that takes one tensor: leave it out (onnx=False)"
        )
    network = _traceable(emulated)
    pair = inputs[:1].expand(2, *inputs.shape[1:]).clone()
    with _quietly():
        try:
            program = _program(network, pair, ({0: torch.export.Dim.DYNAMIC},))
            takes_any = True
        except Exception:  # PyTorch names no common class for what it cannot trace
            takes_any = False
            try:
                program = _program(network, inputs[:1], None)
            except Exception as error:
                causes = str(error.__cause__ or error).strip().splitlines()
                raise InputError(
                    f"PyTorch cannot write this network as ONNX: {(causes or [repr(error)])[0]}"
                ) from error
    program.save(path)
    return takes_any


def _program(network: nn.Module, example: torch.Tensor, dynamic_shapes: Any) -> Any:
    return torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=dynamic_shapes,
        optimize=False,  # it would multiply weights with their scales
        verbose=False,
    )


def _traceable(emulated: EmulatedNetwork) -> nn.Module:
    """A copy of the network whose sites quantise and dequantise in terms of ONNX."""
    network = copy.deepcopy(emulated.network).eval()
    for module in network.modules():
        if isinstance(module, EmulatedSite):
            module.sync_scale_()
            scales = module.x_scale.tolist()
            if isinstance(module, EmulatedWeightSite):
                codes, scale = module.calibrated_codes()
                module.register_buffer("onnx_codes", codes)
                module.register_buffer("onnx_scale", scale)
                del module.weight
            _override_(module, "forward", functools.partial(_FORWARD[type(module)], module, scales))
        elif isinstance(module, ExpertLayer):
            _override_(module, "dispatch", functools.partial(_dense_dispatch, module))
            _override_(module, "forward", functools.partial(_tidy_forward, module, module.forward))
    return network


def _override_(module: nn.Module, name: str, function: Callable[..., Any]) -> None:
    """Let this one module do ``function(…)`` for its method."""
    object.__setattr__(module, name, function)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Inside, the exporter's own notes and warnings stay off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _op(name: str, inputs: tuple[torch.Tensor, ...], dtype: torch.dtype, **attrs: Any) -> Any:
    shape = inputs[0].shape
    return torch.onnx.ops.symbolic(name, inputs, attrs=attrs, dtype=dtype, shape=shape)


def _fake_quantised(x: torch.Tensor, value: float) -> torch.Tensor:
    """``x`` as codes and back; a plain number as scale, as tracing knows no values of tensors."""
    scale, zero = torch.tensor(value), torch.zeros((), dtype=torch.int8)
    clipped = x.clamp(-MAX_CODE * value, MAX_CODE * value)
    codes = _op("QuantizeLinear", (clipped, scale, zero), torch.int8)
    values: torch.Tensor = _op("DequantizeLinear", (codes, scale, zero), torch.float32)
    return values


def _weight(layer: Any) -> torch.Tensor:
    codes, scale = layer.onnx_codes, layer.onnx_scale
    zero = torch.zeros(len(scale), dtype=torch.int8)
    values: torch.Tensor = _op("DequantizeLinear", (codes, scale, zero), torch.float32, axis=0)
    return values


def _linear(layer: EmulatedLinear, scales: list[float], x: torch.Tensor) -> torch.Tensor:
    return F.linear(_fake_quantised(x, scales[0]), _weight(layer), layer.bias)


def _convolution(layer: EmulatedConv2d, scales: list[float], x: torch.Tensor) -> torch.Tensor:
    x = _fake_quantised(layer.unevenly_padded(x), scales[0])
    rest = (layer.stride, layer.edge, layer.dilation, layer.groups)
    return F.conv2d(x, _weight(layer), layer.bias, *rest)


def _product(
    layer: EmulatedMatmul, scales: list[float], x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    return _fake_quantised(x, scales[0]) @ _fake_quantised(y, scales[1])


_FORWARD: dict[type[EmulatedSite], Callable[..., torch.Tensor]] = {
    EmulatedLinear: _linear,
    EmulatedConv2d: _convolution,
    EmulatedMatmul: _product,
}


def _dense_dispatch(
    layer: ExpertLayer, items: torch.Tensor, chosen: torch.Tensor, gates: torch.Tensor | None
) -> torch.Tensor:
    """`ExpertLayer.dispatch` without rows that depend on data."""
    total: torch.Tensor | None = None
    for index, expert in enumerate(layer.experts):
        part: torch.Tensor = expert(items)
        is_mine = chosen == index
        share = is_mine.to(part.dtype) if gates is None else torch.where(is_mine, gates, 0.0)
        shape = (-1, *[1] * (part.dim() - 1))
        works = is_mine.any(dim=1).reshape(shape)
        part = torch.where(works, part * share.sum(dim=1).reshape(shape), 0.0)
        total = part if total is None else total + part
    assert total is not None
    return total


def _tidy_forward(
    layer: ExpertLayer, forward: Callable[..., torch.Tensor], *args: torch.Tensor
) -> torch.Tensor:
    """``forward`` of an expert layer that leaves its counts as they were: tracing forbids it."""
    kept = {name: getattr(layer, name) for name in ("work", "items", "outputs", "choices")}
    output = forward(*args)
    for name, value in kept.items():
        setattr(layer, name, value)
    return output
