"""Products of int8 codes alone: by PyTorch, in onnxruntime, and through the circuits."""

import functools

import torch
import torch.nn.functional as F

from luts import Arithmetic, Epilogue, Multiplier, Scaling, Selection, Task, select
from studies.emulation_speed._methods import CPU, Method
from studies.emulation_speed._onnxruntime import convolutions_of_codes, missing
from studies.emulation_speed._subjects import Layer, kind_of
from studies.emulation_speed._timing import Run

PYTORCH = "PyTorch int8"


def product_methods(layer: Layer, batch: int, circuits: dict[str, Multiplier]) -> dict[str, Method]:
    """Ways to multiply codes with a layer's weight that is prepared beforehand, by name.

    A linear layer gives sums of 32 bits; a convolution the codes of its scaled sums, as
    onnxruntime's does.

    Args:
        layer: ``conv`` or ``linear``.
        batch: images of a convolution; a linear layer has its rows.
        circuits: to emulate, by name.
    """
    generator = torch.Generator().manual_seed(0)
    if layer.kind == "linear":
        rows, k, n = layer.shape
        x = _codes(generator, rows, k)
        w = _codes(generator, n, k)
        values, transposed = x.float(), w.t().contiguous()
        half = w.float().t().contiguous()
        methods = {
            "float32": Method(lambda: values @ half),
            PYTORCH: Method(lambda: torch._int_mm(x, transposed), "int8"),
        }
    else:
        channels, out, size, stride = layer.shape
        x = _codes(generator, batch, channels, size, size)
        w = _codes(generator, out, channels, 3, 3)
        last = torch.channels_last
        values, weights = (a.float().contiguous(memory_format=last) for a in (x, w))
        methods = {"float32": Method(lambda: F.conv2d(values, weights, None, stride, 1))}
        if not missing():
            for name, run in convolutions_of_codes(x, w, stride).items():
                methods[name] = Method(run, "int8", "onnxruntime")
        x = x.contiguous(memory_format=last)
    emulated = {name: _emulated(layer, x, w, circuit) for name, circuit in circuits.items()}
    return {**methods, **emulated}


def _emulated(layer: Layer, x: torch.Tensor, w: torch.Tensor, multiplier: Multiplier) -> Method:
    task = Task(CPU, w.shape[1], len(w), layer.geometry)
    selection: Selection = select(Arithmetic(multiplier), task)
    operand = selection.prepare(w)
    run: Run = functools.partial(selection.linear, x, operand, None)
    if layer.kind == "conv":
        one = torch.ones(1)
        scaling = Scaling(one, torch.full((len(w),), 1e-3), torch.zeros(len(w)))
        epilogue = Epilogue(codes_scale=1.0, keeps_values=False)
        run = functools.partial(selection.emit_convolved, x, operand, scaling, epilogue)
    return Method(run, kind_of(multiplier), selection.backend.name)


def _codes(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randint(-127, 128, shape, generator=generator).to(torch.int8)
