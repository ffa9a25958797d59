"""Ways to compute a subject: PyTorch's floats, the emulator, and a scalar table loop."""

import copy
import dataclasses
import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luts import Arithmetic, Multiplier, Scaling, Selection, Task, scalar_loop, select
from luts.backends import MatrixBackend
from models.emulation import EmulatedNetwork, EmulatedSite, emulate
from studies.emulation_speed._subjects import Layer, MakeBatch, kind_of
from studies.emulation_speed._timing import Run

LOOP = "scalar table loop"
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to compute a subject.

    Attributes:
        run: computes it once.
        kind: ``"float"``, ``"loop"``, ``"table"`` or the number of terms.
        computed_by: backends at work.
    """

    run: Run
    kind: str = "float"
    computed_by: str = "PyTorch"


class ScalarLoopBackend(MatrixBackend):
    """The baseline: one look-up after the other, in AdaPT's loop order."""

    name = "scalar loop"

    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Refuse nothing."""
        return None

    def prepare_matrix(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """The transposed second operand, as the loop reads it."""
        return w.transpose(-2, -1).contiguous()

    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Sums as int32."""
        if prepared.dim() == 2:
            return scalar_loop(x, prepared, arithmetic)
        sums = [
            scalar_loop(a, b, arithmetic)
            for a, b in zip(x.flatten(0, -3), prepared.flatten(0, -3), strict=True)
        ]
        return torch.stack(sums).view(*x.shape[:-1], prepared.shape[-2])


SCALAR_LOOP = ScalarLoopBackend()


class OneDnnLinear(nn.Module):
    """`torch.nn.Linear` through oneDNN, with weights packed beforehand (inference only)."""

    def __init__(self, source: nn.Linear, rows: int) -> None:
        super().__init__()
        self.bias = source.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(source.weight.detach(), rows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(…, in)`` → ``(…, out)``."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.packed, self.bias, "none", [], ""
        )
        return y


def layer_floats(layer: Layer, batch: int) -> dict[str, Run]:
    """Float methods of a layer, by name."""
    x, w, y = _operands(layer, batch)
    if layer.kind == "conv":
        stride, last = layer.shape[3], torch.channels_last
        nhwc = x.contiguous(memory_format=last), w.contiguous(memory_format=last)
        half = nhwc[0].bfloat16(), nhwc[1].bfloat16()
        return {
            "float32": lambda: F.conv2d(x, w, None, stride, 1),
            "float32 channels-last": lambda: F.conv2d(*nhwc, None, stride, 1),
            "bfloat16": lambda: F.conv2d(*half, None, stride, 1),
        }
    if layer.kind == "linear":
        packed = OneDnnLinear(_linear(w), len(x))
        half = x.bfloat16(), w.bfloat16()
        return {
            "float32": lambda: F.linear(x, w),
            "float32 oneDNN": lambda: packed(x),
            "bfloat16": lambda: F.linear(*half),
        }
    assert y is not None
    half = x.bfloat16(), y.bfloat16()
    return {"float32": lambda: x @ y, "bfloat16": lambda: half[0] @ half[1]}


def layer_emulated(
    layer: Layer, batch: int, multiplier: Multiplier, *, loop: bool = False
) -> Method:
    """The layer on float activations, with quantising and scaling; the baseline's if ``loop``."""
    x, w, y = _operands(layer, batch)
    channels, out = (w.shape[1], len(w)) if y is None else (x.shape[-1], y.shape[-1])
    task = Task(CPU, channels, out, layer.geometry, batched=y is not None)
    selection = _selection(Arithmetic(multiplier), task, loop)
    scale = torch.tensor([0.03])
    if y is not None:
        run = functools.partial(selection.batched, x, y, Scaling(scale, scale, y=scale))
    else:
        prepared = selection.prepare((w * 40).round().clamp(-127, 127).to(torch.int8))
        scaling = Scaling(scale, torch.full((out,), 1e-3), torch.zeros(out))
        if layer.kind == "linear":
            run = functools.partial(selection.linear, x, prepared, scaling)
        else:  # in the layout in which the layer before leaves it
            x = x.contiguous(memory_format=torch.channels_last)
            run = functools.partial(selection.convolve, x, prepared, scaling)
    return Method(run, "loop" if loop else kind_of(multiplier), selection.backend.name)


def network_floats(net: nn.Module, x: torch.Tensor) -> dict[str, Run]:
    """Float methods of a network, by name; inference."""
    half, x_half = copy.deepcopy(net).bfloat16(), x.bfloat16()
    methods: dict[str, Run] = {"float32": lambda: net(x), "bfloat16": lambda: half(x_half)}
    other = copy.deepcopy(net)
    if any(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in net.modules()):
        x_nhwc = x.contiguous(memory_format=torch.channels_last)
        nhwc = in_channels_last(other)
        methods["float32 channels-last"] = lambda: nhwc(x_nhwc)
    else:
        for name, module in list(other.named_modules()):
            if isinstance(module, nn.Linear):
                other.set_submodule(name, OneDnnLinear(module, len(x) * 65))
        methods["float32 oneDNN"] = lambda: other(x)
    return methods


def in_channels_last(net: nn.Module) -> nn.Module:
    """The network itself, its kernels channels-last."""
    typed: Any = net  # `Module.to` takes a memory format, which its annotations do not say
    typed.to(memory_format=torch.channels_last)
    return net


def network_method(
    net: nn.Module,
    make_batch: MakeBatch,
    x: torch.Tensor,
    multiplier: Multiplier,
    *,
    loop: bool = False,
) -> Method:
    """Inference by the emulated network; the baseline's if ``loop``."""
    emulated = network_emulated(net, make_batch, multiplier, loop=loop)
    if loop:
        return Method(functools.partial(emulated, x), "loop", SCALAR_LOOP.name)
    return emulated_method(emulated, functools.partial(emulated, x), multiplier)


def emulated_method(emulated: EmulatedNetwork, run: Run, multiplier: Multiplier) -> Method:
    """What an emulated network does with a circuit."""
    backends = sorted({row.backend for row in emulated.plan().rows})
    return Method(run, kind_of(multiplier), "+".join(backends))


def network_emulated(
    net: nn.Module, make_batch: MakeBatch, multiplier: Multiplier, *, loop: bool = False
) -> EmulatedNetwork:
    """The emulated network; the baseline's where ``loop``."""
    emulated = emulate(net, "mul8s_1KV8", calibration=[make_batch(4)])
    for module in emulated.modules():
        if isinstance(module, EmulatedSite):
            module.assign_(Arithmetic(multiplier))
            if loop:
                module._selection = _selection(module.arithmetic, module.task(), loop)
    return emulated


def _selection(arithmetic: Arithmetic, task: Task, loop: bool) -> Selection:
    if loop:
        return Selection(SCALAR_LOOP, "baseline", arithmetic, task)
    return select(arithmetic, task)


def _linear(w: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(w.shape[1], len(w), bias=False)
    linear.weight = nn.Parameter(w)
    return linear


def _operands(layer: Layer, batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Activations (after a ReLU before convolutions), weights, an attention's second operand."""
    generator = torch.Generator().manual_seed(0)
    if layer.kind == "conv":
        channels, out, size, _ = layer.shape
        x = torch.randn(batch, channels, size, size, generator=generator).relu()
        return x, torch.randn(out, channels, 3, 3, generator=generator), None
    if layer.kind == "linear":
        rows, k, n = layer.shape
        x = torch.randn(batch * rows, k, generator=generator)
        return x, torch.randn(n, k, generator=generator), None
    heads, m, k, n = layer.shape
    x = torch.randn(batch, heads, m, k, generator=generator)
    return x, x, torch.randn(batch, heads, k, n, generator=generator)
