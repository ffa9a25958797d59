"""Recurrent and bilinear layers with every product in a layer of its own.

The equations are those of `torch.nn.LSTM`, `GRU` and `RNN`. Input projections take the whole
sequence at once; the recurrent ones one step after the other.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from models.emulation._attention import MatrixProduct
from models.emulation._plain import is_plain, linear_of

State = tuple[torch.Tensor, ...]
Step = Callable[[torch.Tensor, torch.Tensor, State], State]


def exposed_recurrent(module: nn.Module) -> nn.Module | None:
    """What computes as a recurrent or bilinear layer of PyTorch does, or None for others."""
    if is_plain(module, nn.LSTM, nn.GRU, nn.RNN):
        return ExposedRecurrent(module)
    if is_plain(module, nn.LSTMCell, nn.GRUCell, nn.RNNCell):
        return ExposedCell(module)
    if is_plain(module, nn.Bilinear):
        return ExposedBilinear(module)
    return None


class _LooksLike(nn.Module):
    """Has the attributes of its source; its weights it takes from its layers."""

    layers_of: dict[str, str]

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        inner = vars(nn.Module())
        for name, value in vars(source).items():
            if name not in inner and "flat_weight" not in name:
                setattr(self, name, value)
        self.layers_of = {}

    def _add(self, layer: str, source: nn.Module, weight: str, bias: str | None) -> None:
        """A linear layer from parameters of the source."""
        given = None if bias is None else getattr(source, bias, None)
        self.add_module(layer, linear_of(getattr(source, weight), given))
        self.layers_of[weight] = f"{layer}.weight"
        if bias is not None:
            self.layers_of[bias] = f"{layer}.bias"

    def __getattr__(self, name: str) -> Any:
        layers = self.__dict__.get("layers_of", {})
        if name in layers:
            layer, _, parameter = layers[name].partition(".")
            return getattr(super().__getattr__(layer), parameter)
        return super().__getattr__(name)


def _lstm(given: torch.Tensor, recurrent: torch.Tensor, state: State) -> State:
    enter, forget, cell, leave = (given + recurrent).chunk(4, -1)
    memory = forget.sigmoid() * state[1] + enter.sigmoid() * cell.tanh()
    return leave.sigmoid() * memory.tanh(), memory


def _gru(given: torch.Tensor, recurrent: torch.Tensor, state: State) -> State:
    x, h = given.chunk(3, -1), recurrent.chunk(3, -1)
    reset, update = (x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid()
    new = (x[2] + reset * h[2]).tanh()
    return (new + update * (state[0] - new),)


def _rnn(nonlinearity: str) -> Step:
    def step(given: torch.Tensor, recurrent: torch.Tensor, state: State) -> State:
        total = given + recurrent
        return (total.tanh() if nonlinearity == "tanh" else total.relu(),)

    return step


class ExposedCell(_LooksLike):
    """`torch.nn.LSTMCell`, `GRUCell` or `RNNCell` with linear layers ``ih`` and ``hh``.

    Args:
        source: the cell whose parameters are taken over.
    """

    def __init__(self, source: nn.RNNCellBase) -> None:
        super().__init__(source)
        self._add("ih", source, "weight_ih", "bias_ih")
        self._add("hh", source, "weight_hh", "bias_hh")
        self.has_memory = isinstance(source, nn.LSTMCell)
        self.is_gated = isinstance(source, nn.GRUCell)
        self.train(source.training)

    def forward(self, input: torch.Tensor, hx: Any = None) -> Any:
        """As the source."""
        is_batched = input.dim() == 2
        x = input if is_batched else input.unsqueeze(0)
        if hx is None:
            state: State = (x.new_zeros(len(x), self.hidden_size),) * (1 + self.has_memory)
        else:
            state = tuple(hx) if self.has_memory else (hx,)
            state = state if is_batched else tuple(s.unsqueeze(0) for s in state)
        step = _lstm if self.has_memory else _gru if self.is_gated else self._plain
        state = step(self.ih(x), self.hh(state[0]), state)
        state = state if is_batched else tuple(s.squeeze(0) for s in state)
        return state if self.has_memory else state[0]

    def _plain(self, given: torch.Tensor, recurrent: torch.Tensor, state: State) -> State:
        return _rnn(self.nonlinearity)(given, recurrent, state)


class ExposedRecurrent(_LooksLike):
    """`torch.nn.LSTM`, `GRU` or `RNN` with linear layers ``ih_l0``, ``hh_l0`` and so on.

    Args:
        source: the layer whose parameters are taken over.
    """

    def __init__(self, source: nn.RNNBase) -> None:
        super().__init__(source)
        self.ways = ("", "_reverse") if source.bidirectional else ("",)
        for index in range(source.num_layers):
            for way in self.ways:
                for part in ("ih", "hh"):
                    name = f"{part}_l{index}{way}"
                    bias = f"bias_{name}" if source.bias else None
                    self._add(name, source, f"weight_{name}", bias)
                if source.proj_size:
                    self._add(f"hr_l{index}{way}", source, f"weight_hr_l{index}{way}", None)
        self.train(source.training)

    def flatten_parameters(self) -> None:
        """Nothing lies apart."""

    def forward(self, input: torch.Tensor | PackedSequence, hx: Any = None) -> Any:
        """As the source."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        is_batched = input.dim() == 3
        x = input if is_batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if self.batch_first and is_batched else x
        if hx is not None:
            hx = tuple(hx) if self.mode == "LSTM" else (hx,)
            hx = hx if is_batched else tuple(state.unsqueeze(1) for state in hx)
        y, state = self._run(x, hx, None)
        if not is_batched:
            y, state = y.squeeze(1), tuple(s.squeeze(1) for s in state)
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, state if self.mode == "LSTM" else state[0]

    def _packed(self, packed: PackedSequence, hx: Any) -> Any:
        x, lengths = pad_packed_sequence(packed)
        if hx is not None:
            hx = tuple(hx) if self.mode == "LSTM" else (hx,)
        y, state = self._run(x, hx, lengths.to(x.device))
        order = packed.sorted_indices
        y = y if order is None else y.index_select(1, order)
        sorted_lengths = lengths if order is None else lengths[order.cpu()]
        flat = pack_padded_sequence(y, sorted_lengths)
        result = PackedSequence(flat.data, flat.batch_sizes, order, packed.unsorted_indices)
        return result, state if self.mode == "LSTM" else state[0]

    def _run(
        self, x: torch.Tensor, hx: State | None, lengths: torch.Tensor | None
    ) -> tuple[torch.Tensor, State]:
        """All layers.

        Args:
            x: shape ``(T, B, in)``.
            hx: first states, each ``(layers · directions, B, …)``, or None for zeros.
            lengths: of the sequences, shape ``(B,)``, or None where all have length ``T``.
        """
        finals: list[State] = []
        for index in range(self.num_layers):
            outputs = []
            for way in self.ways:
                first = self._first(x, hx, len(finals))
                y, final = self._one_way(x, first, lengths, f"l{index}{way}")
                outputs.append(y)
                finals.append(final)
            x = torch.cat(outputs, -1)
            if index + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(torch.stack(states) for states in zip(*finals, strict=True))

    def _first(self, x: torch.Tensor, hx: State | None, index: int) -> State:
        if hx is not None:
            return tuple(state[index] for state in hx)
        batch = x.shape[1]
        h = x.new_zeros(batch, self.proj_size or self.hidden_size)
        return (h, x.new_zeros(batch, self.hidden_size)) if self.mode == "LSTM" else (h,)

    def _one_way(
        self, x: torch.Tensor, state: State, lengths: torch.Tensor | None, suffix: str
    ) -> tuple[torch.Tensor, State]:
        """One layer in one direction: outputs ``(T, B, …)`` and the last state."""
        recurrent = getattr(self, f"hh_{suffix}")
        project = getattr(self, f"hr_{suffix}") if self.proj_size else None
        given = getattr(self, f"ih_{suffix}")(x)
        step = self._step()
        times = [*range(len(x))]
        outputs: list[torch.Tensor] = [x] * len(x)
        for time in reversed(times) if suffix.endswith("reverse") else times:
            new = step(given[time], recurrent(state[0]), state)
            if project is not None:
                new = (project(new[0]), *new[1:])
            if lengths is None:
                outputs[time] = new[0]
            else:
                runs = (lengths > time).unsqueeze(1)
                new = tuple(torch.where(runs, n, s) for n, s in zip(new, state, strict=True))
                outputs[time] = torch.where(runs, new[0], 0)
            state = new
        return torch.stack(outputs), state

    def _step(self) -> Step:
        if self.mode == "LSTM":
            return _lstm
        return _gru if self.mode == "GRU" else _rnn(self.nonlinearity)


class ExposedBilinear(_LooksLike):
    """`torch.nn.Bilinear` as a linear layer and a product of activations.

    Args:
        source: the layer whose parameters are taken over.
    """

    def __init__(self, source: nn.Bilinear) -> None:
        super().__init__(source)
        weight = source.weight.permute(0, 2, 1).reshape(-1, source.in1_features)
        self.inner = linear_of(weight, None)
        self.outer = MatrixProduct("matmul")
        self.bias = source.bias
        self.train(source.training)

    @property
    def weight(self) -> torch.Tensor:
        """Shape ``(out, in1, in2)``."""
        shape = self.out_features, self.in2_features, self.in1_features
        return self.inner.weight.reshape(shape).permute(0, 2, 1)

    def forward(self, input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
        """``(…, in1)`` and ``(…, in2)`` → ``(…, out)``."""
        shape = *input1.shape[:-1], self.out_features, self.in2_features
        y: torch.Tensor = self.outer(self.inner(input1).reshape(shape), input2.unsqueeze(-1))
        y = y.squeeze(-1)
        return y if self.bias is None else y + self.bias
