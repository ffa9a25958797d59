"""What a network is called with: a batch in whatever form a user has it."""

import dataclasses
import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Union

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

from luts.errors import InputError

Batch = Union[torch.Tensor, Sequence[Any], Mapping[str, Any], "Inputs"]
"""A tensor; a tuple that begins with what ``forward`` demands (labels may follow); a mapping from
the names of ``forward``'s arguments; or ``(args, kwargs)``."""

LABELS = ("label", "labels")


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """The arguments of one call of a network, for a batch of inputs.

    Tensors whose first dimension is that of the first tensor hold one row an input; all others
    belong to the whole batch.

    Attributes:
        args: by position.
        kwargs: by name.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """Inputs in the batch."""
        first = next(iter(self.tensors), None)
        return len(first) if first is not None and first.dim() else 0

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments, however deep."""
        leaves = tree_leaves((self.args, dict(self.kwargs)))
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    @property
    def shapes(self) -> str:
        """Shapes of all tensors, to be read."""
        return ", ".join(str(tuple(tensor.shape)) for tensor in self.tensors)

    @property
    def shape(self) -> Hashable:
        """What decides the work for one input: all shapes but for the number of inputs."""
        size = len(self)
        return tuple(
            tuple(t.shape[1:]) if t.dim() and len(t) == size else tuple(t.shape)
            for t in self.tensors
        )

    def call(self, network: Callable[..., Any]) -> Any:
        """What ``network`` returns for these."""
        return network(*self.args, **self.kwargs)

    def rows(self, chosen: Sequence[int] | slice) -> "Inputs":
        """Those inputs of the batch, in that order."""
        size = len(self)
        index = chosen if isinstance(chosen, slice) else list(chosen)

        def pick(leaf: Any) -> Any:
            has_rows = isinstance(leaf, torch.Tensor) and leaf.dim() and len(leaf) == size
            return leaf[index] if has_rows else leaf

        return self.mapped(pick)

    def __getitem__(self, chosen: Sequence[int] | slice | torch.Tensor) -> "Inputs":
        """As `rows`: what a tensor of inputs gives for these."""
        return self.rows(chosen.tolist() if isinstance(chosen, torch.Tensor) else chosen)

    @classmethod
    def joined(cls, parts: Sequence["Inputs"]) -> "Inputs":
        """The inputs of several batches, one after the other.

        Raises:
            InputError: the batches differ in what they hold, or in the shape of one input.
        """
        sizes = [len(part) for part in parts]
        kinds = {tree_flatten((part.args, dict(part.kwargs)))[1] for part in parts}
        shapes = list(dict.fromkeys(part.shape for part in parts))
        if len(kinds) > 1 or len(shapes) > 1:
            raise InputError(
                f"all batches hold the same arguments, with inputs of one shape, not of shapes "
                f"{' and '.join(map(str, shapes[:2]))}: pad them alike, and name them alike"
            )

        def together(*leaves: Any) -> Any:
            first = leaves[0]
            has_rows = isinstance(first, torch.Tensor) and first.dim() and len(first) == sizes[0]
            return torch.cat(leaves) if has_rows else first

        first, *others = [(part.args, dict(part.kwargs)) for part in parts]
        return cls(*tree_map(together, first, *others))

    @property
    def device(self) -> torch.device:
        """Where the first tensor is."""
        return self.tensors[0].device

    def to(self, device: torch.device | str) -> "Inputs":
        """The same on ``device``."""
        return self.mapped(lambda leaf: leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf)

    def mapped(self, change: Callable[[Any], Any]) -> "Inputs":
        """The same with each leaf changed."""
        return Inputs(tree_map(change, self.args), tree_map(change, dict(self.kwargs)))


def inputs_of(batch: Batch, network: nn.Module) -> Inputs:
    """How ``network`` is called with ``batch``.

    A tensor is the one argument. A tuple or list begins with the arguments that ``forward``
    demands, and what follows (labels, as loaders give them) is left out; ``(args, kwargs)`` are the
    arguments themselves. A mapping gives arguments by name; ``labels`` are left out if ``forward``
    knows none.

    Raises:
        InputError: it is none of these, or does not fit ``forward``.
    """
    if isinstance(batch, Inputs):
        return batch
    if isinstance(batch, torch.Tensor):
        return Inputs((batch,))
    if isinstance(batch, Mapping):
        return Inputs((), _named(batch, network))
    if not isinstance(batch, Sequence) or isinstance(batch, str) or not len(batch):
        raise InputError(f"{_FORMS}, not {type(batch).__name__}")
    if len(batch) == 2 and isinstance(batch[0], (tuple, list)) and isinstance(batch[1], Mapping):
        return Inputs(tuple(batch[0]), dict(batch[1]))
    if isinstance(batch[0], Inputs):  # and labels
        return batch[0]
    if isinstance(batch[0], Mapping):  # of named arguments and labels
        return Inputs((), _named(batch[0], network))
    if not isinstance(batch[0], torch.Tensor):
        raise InputError(f"{_FORMS}, not a sequence that begins with {type(batch[0]).__name__}")
    demanded = sum(p.default is p.empty and p.kind in _POSITIONAL for p in _parameters(network))
    if demanded > len(batch):
        raise InputError(
            f"{type(network).__name__} demands {demanded} inputs, but the batch holds {len(batch)}"
        )
    return Inputs(tuple(batch[: max(1, demanded)]))


_FORMS = (
    "a batch is a tensor, a tuple that begins with the inputs, a mapping of arguments by name, or "
    "(args, kwargs)"
)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def batches_of(given: Batch | Iterable[Batch], network: nn.Module) -> list[Inputs]:
    """Calls of ``network`` for several batches; those without inputs are left out.

    Args:
        given: batches; a tensor, a mapping or an `Inputs` by itself is one batch.
        network: what is called.

    Raises:
        InputError: a batch is in no form that is known, or does not fit ``forward``.
    """
    batches: Iterable[Any]
    batches = [given] if isinstance(given, (torch.Tensor, Mapping, Inputs)) else given
    made = [inputs_of(batch, network) for batch in batches]
    return [inputs for inputs in made if len(inputs)]


def called(network: Callable[..., Any], inputs: torch.Tensor | Inputs) -> Any:
    """What ``network`` returns for a batch: a tensor is its one argument."""
    return inputs.call(network) if isinstance(inputs, Inputs) else network(inputs)


def in_batches(inputs: torch.Tensor | Inputs, size: int) -> Iterator[torch.Tensor | Inputs]:
    """Parts of ``size`` inputs, in order; the last may be smaller."""
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size]


def logits_of(output: Any) -> torch.Tensor:
    """The tensor of interest in what a network returns.

    That is a tensor itself; what is called ``logits``, as an attribute (Hugging Face's
    ``ModelOutput``) or a key; or else the first tensor of a mapping.

    Raises:
        InputError: it is something else.
    """
    if isinstance(output, torch.Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else None
    named = getattr(output, "logits", None) if named is None else named
    first = named if isinstance(named, torch.Tensor) else None
    if first is None and isinstance(output, Mapping):
        first = next((part for part in output.values() if isinstance(part, torch.Tensor)), None)
    if first is None:
        raise InputError(
            f"a network returns logits: a tensor, a mapping with one, or an output with the "
            f"attribute logits, not {type(output).__name__}: wrap it in a module that returns these"
        )
    return first


def _parameters(network: nn.Module) -> list[inspect.Parameter]:
    wrapped = network
    for name in ("wrapped", "_orig_mod"):
        inner = getattr(wrapped, name, None)
        wrapped = inner if isinstance(inner, nn.Module) else wrapped
    try:
        return list(inspect.signature(wrapped.forward).parameters.values())
    except (TypeError, ValueError):  # a forward that is no Python function
        return []


def _named(batch: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    parameters = _parameters(network)
    if not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return dict(batch)
    known = {p.name for p in parameters}
    given = {k: v for k, v in batch.items() if k in known or k not in LABELS}
    strange = [k for k in given if k not in known]
    if strange:
        raise InputError(
            f"a mapping gives the arguments of forward by name, but {type(network).__name__} takes "
            f"{', '.join(sorted(known))} and not {strange[0]!r}: leave it out or name it so"
        )
    return given
