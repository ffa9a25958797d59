"""Every multiply-accumulate that PyTorch's dispatcher is asked for, by who asks.

Whatever a network calls, and through whichever Python function, becomes operators of the
dispatcher; those that multiply and sum are few. What it cannot tell apart or look into stays
unseen: `UNSEEN`.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

UNSEEN: dict[str, str] = {
    "elementwise products that are summed": "(x * w).sum(-1), torch.linalg.vecdot",
    "products without a sum": "torch.outer, torch.kron, x * w",
    "transforms and solvers": "torch.fft, torch.linalg.solve, inv, svd",
    "interpolation and pooling": "F.grid_sample, F.interpolate, F.avg_pool2d",
    "products of two sparse matrices": "torch.sparse.mm of two sparse ones",
    "weighted look-ups": "F.embedding_bag with per_sample_weights",
}
"""What is not counted, with examples. Operators of other libraries are not counted either, and are
named: `ProductCounter.foreign`."""

NO_SITE: dict[str, str] = {
    "torch.cdist": "a distance multiplies differences by themselves; no operand is a weight",
    "F.grouped_mm": "data decide which rows meet which weight; see models.adapt",
    "torch.linalg.multi_dot": "its products depend on sizes; write @ for it",
    "torch.sparse.mm": "which products there are depends on the zeros that are not stored",
    "torch.dot": "one output of two vectors; write @ for it",
}
"""What is counted, charged as exact and shown as no site, and why."""

Formula = Callable[..., int]


class ProductCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, counts multiply-accumulates.

    Args:
        running: says who is at work.

    Attributes:
        macs: multiply-accumulates by who asked for them.
        foreign: operators of other libraries, which nobody here can look into.
    """

    def __init__(self, running: Callable[[], Hashable]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.running = running
        self.macs: Counter[Hashable] = Counter()
        self.foreign: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count, and pass everything on."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        macs = self._macs(func, args, kwargs, output)
        if macs:
            self.macs[self.running()] += macs
        return output

    def _macs(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> int:
        packet = func.overloadpacket
        library, _, operator = str(packet).partition(".")
        if library == "aten" and operator.endswith("_"):  # in place
            operator = operator.removesuffix("_")
            packet = getattr(torch.ops.aten, operator, packet)
        name = f"{library}.{operator}"
        formula = _FORMULAS.get(name)
        if formula is None and library == "quantized":
            formula = next((f for part, f in _PACKED_FORMULAS if part in operator), None)
        if formula is not None:
            macs: int = formula(output, *args, **kwargs)
            return macs
        if packet in flop_registry:
            flops: int = flop_registry[packet](*args, **kwargs, out_val=output)
            return flops // 2
        if library not in _KNOWN:
            self.foreign.add(name.replace(".", "::"))
        return 0


_KNOWN = {"aten", "prim", "prims", "quantized", "profiler"}
_SPARSE = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}

# Each formula takes the operator's output, then its arguments.


def _columns_of(position: int) -> Formula:
    """As many products an output as the operand at ``position`` has columns."""
    return lambda output, *operands, **_: int(output.numel() * operands[position].shape[-1])


def _elements_of(position: int) -> Formula:
    """As many products as the operand at ``position`` has elements."""
    return lambda output, *operands, **_: int(operands[position].numel())


def _mm(output: Any, x: Any, y: Any, **_: Any) -> int:
    if x.layout in _SPARSE:
        return int(x._nnz()) * int(output.shape[-1])
    if y.layout in _SPARSE:
        return int(y._nnz()) * int(output.shape[0])
    return int(output.numel() * x.shape[-1])


def _addmm(output: Any, _: Any, x: Any, y: Any, *__: Any, **___: Any) -> int:
    return _mm(output, x, y)


def _addbmm(output: Any, _: Any, x: Any, y: Any, *__: Any, **___: Any) -> int:
    return int(x.numel() * y.shape[-1])


def _grouped(output: Any, x: Any, y: Any, *_: Any, **__: Any) -> int:
    if x.dim() == 2 and y.dim() == 2:  # the summed dimension is the grouped one
        return int(x.numel() * y.shape[-1])
    return int(output.numel() * x.shape[-1])


def attention_macs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> int:
    """MACs of q·kᵀ and attn·v for matrices ``(…, items, features)``."""
    scores = q.numel() // max(1, q.shape[-1]) * k.shape[-2]
    return scores * (q.shape[-1] + v.shape[-1])


def _attention(output: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return attention_macs(q, k, v)


def _trilinear(output: Any, x: Any, w: Any, *_: Any, **__: Any) -> int:
    # x·W for every output and second input, then the sum over the second input.
    return int(_items(x) * (w.numel() + w.shape[0] * w.shape[-1]))


def _euclidean(output: Any, x: Any, y: Any, *_: Any, **__: Any) -> int:
    return int(output.numel() * x.shape[-1])


def _one_layer(output: Any, x: Any, w_input: Any, w_hidden: Any, *_: Any, **__: Any) -> int:
    return int(_items(x) * (w_input.numel() + w_hidden.numel()))


def _fused_layers(output: Any, x: Any, weights: Any, *_: Any, **__: Any) -> int:
    return int(_items(x) * sum(w.numel() for w in weights if w.dim() == 2))


def _quantised_layers(gates: int) -> Formula:
    def count(output: Any, x: Any, hidden: Any, *rest: Any, **_: Any) -> int:
        layers, both_ways = rest[2], rest[5]
        width = int((hidden if isinstance(hidden, torch.Tensor) else hidden[0]).shape[-1])
        ways = 2 if both_ways else 1
        inputs = [int(x.shape[-1])] + [ways * width] * (layers - 1)
        return int(_items(x) * ways * sum(gates * width * (i + width) for i in inputs))

    return count


def _quantised_cell(gates: int) -> Formula:
    def count(output: Any, x: Any, hidden: Any, *_: Any, **__: Any) -> int:
        width = int((hidden if isinstance(hidden, torch.Tensor) else hidden[0]).shape[-1])
        return _items(x) * gates * width * (int(x.shape[-1]) + width)

    return count


def _packed_conv(output: Any, x: Any, packed: Any, *_: Any, **__: Any) -> int:
    weight = packed if isinstance(packed, torch.Tensor) else packed.unpack()[0]
    return int(output.numel() * weight[0].numel())


def _packed_transposed_conv(output: Any, x: Any, packed: Any, *_: Any, **__: Any) -> int:
    return int(x.numel() * packed.unpack()[0][0].numel())


def _items(x: torch.Tensor) -> int:
    return x.numel() // max(1, x.shape[-1])


_FORMULAS: dict[str, Formula] = {
    "aten.mm": _mm,
    "aten.addmm": _addmm,
    "aten._sparse_addmm": _addmm,
    "aten._addmm_activation": _addmm,
    "aten._int_mm": _columns_of(0),
    "aten._weight_int8pack_mm": _columns_of(0),
    "aten._weight_int4pack_mm_for_cpu": _columns_of(0),
    "aten._weight_int4pack_mm": _columns_of(0),
    "aten.addbmm": _addbmm,
    "aten.mv": _elements_of(0),
    "aten.addmv": _elements_of(1),
    "aten.dot": _elements_of(0),
    "aten.vdot": _elements_of(0),
    "aten._trilinear": _trilinear,
    "aten._grouped_mm": _grouped,
    "aten._scaled_grouped_mm": _grouped,
    "aten._cdist_forward": _euclidean,
    "aten._euclidean_dist": _euclidean,
    "aten._pdist_forward": _columns_of(0),
    "aten.mkldnn_rnn_layer": _one_layer,
    "aten._cudnn_rnn": _fused_layers,
    "aten.miopen_rnn": _fused_layers,
    "aten.mkldnn_linear": _columns_of(0),
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._scaled_dot_product_fused_attention_overrideable": _attention,
    "aten.quantized_lstm": _quantised_layers(4),
    "aten.quantized_gru": _quantised_layers(3),
    "quantized.quantized_lstm_cell_dynamic": _quantised_cell(4),
    "quantized.quantized_gru_cell_dynamic": _quantised_cell(3),
    "quantized.quantized_rnn_tanh_cell_dynamic": _quantised_cell(1),
    "quantized.quantized_rnn_relu_cell_dynamic": _quantised_cell(1),
}

_PACKED_FORMULAS: tuple[tuple[str, Formula], ...] = (
    ("prepack", lambda *_, **__: 0),
    ("unpack", lambda *_, **__: 0),
    ("conv_transpose", _packed_transposed_conv),
    ("conv", _packed_conv),
    ("linear", _columns_of(0)),
    ("matmul", _columns_of(0)),
)
"""Of operators that hold weights packed, by what the operator's name contains."""
