"""A user's own inputs and labels as `Data`, and whether a network fits them."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from luts.errors import InputError, suggest
from models.networks import Inputs, called, logits_of
from models.networks._inputs import LABELS
from models.training._data import IGNORED, Data, Split
from models.training._metric import Metric
from models.training._weights import state_digest, tensors_of

SPLITS = ("train", "validation", "test")


def data_of(splits: Mapping[str, Any] | Sequence[Any], *, name: str = "in-memory") -> Data:
    """Inputs and labels of a user's own as a data set.

    Args:
        splits: ``train``, ``validation`` and ``test``, as a mapping or in this order. Each is a
            pair of inputs ``(N, …)`` and integer labels ``(N,)``, tensors or arrays; or a
            `torch.utils.data.Dataset` or loader of such pairs. Inputs are what the network reads,
            and become float32, but for whole numbers of shape ``(N, T)``: these are token ids, and
            become int64. A network with several arguments takes a tuple of such arrays, a mapping
            by their names (``labels`` may be among them), or ``(args, kwargs)`` in the place of one
            array; of these, whole numbers become int64 and others float32. Labels ``(N, T)`` are
            for outputs ``(N, T, classes)``, of each place of a sequence; -100 does not count.
            Targets that are real numbers, ``(N, …)``, become float32; they take a `Metric`.
            Inputs are taken in the order in which they come, and the first ones calibrate: shuffle
            them once if they lie sorted by class.
        name: what to call it.

    Raises:
        InputError: a split is missing or empty, inputs and labels differ in number, inputs of
            splits differ in shape, labels are neither integers from 0 nor real numbers, or they are
            so in one split and not in another.
    """
    made = {key: _split(key, given) for key, given in _by_name(splits).items()}
    shapes = {key: split.shape for key, split in made.items()}
    for key in SPLITS[1:]:
        if shapes[key] != shapes["train"]:
            raise InputError(
                f"all splits hold inputs of one shape: train has {shapes['train']}, {key} "
                f"{shapes[key]}"
            )
    kinds = {split.labels.dtype for split in made.values()}
    if len(kinds) > 1:
        raise InputError(
            "the labels of all splits are integers, or those of all are real numbers: make them "
            "of one kind"
        )
    are_classes = torch.int64 in kinds
    count = max(2, 1 + max(int(s.labels.max()) for s in made.values())) if are_classes else 0
    tensors = dict[str, Tensor]()
    for key in SPLITS:
        tensors |= tensors_of(f"{key}.pixels", made[key].pixels)
        tensors[f"{key}.labels"] = made[key].labels
    return Data(
        name=name,
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        num_classes=count,
        content_sha256=state_digest(tensors),
    )


def _by_name(splits: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    wanted = f"{', '.join(SPLITS[:-1])} and {SPLITS[-1]}"
    if not isinstance(splits, Mapping):
        if not isinstance(splits, Sequence) or len(splits) != len(SPLITS):
            size = f"{len(splits)} of them" if isinstance(splits, Sequence) else repr(type(splits))
            raise InputError(f"data are {wanted}, in this order or as a mapping, not {size}")
        return dict(zip(SPLITS, splits, strict=True))
    for key in splits:
        if key not in SPLITS:
            raise InputError(f"data have no split {key!r}; {suggest(str(key), list(SPLITS))}")
    for key in SPLITS:
        if key not in splits:
            raise InputError(f"data lack the split {key!r}: give {wanted}")
    return {key: splits[key] for key in SPLITS}


def _split(key: str, given: Any) -> Split:
    inputs, labels = _pair(key, given)
    if len(inputs) == 0:
        raise InputError(f"the split {key} is empty: give at least one input and its label")
    if len(inputs) != len(labels):
        raise InputError(
            f"the split {key} has {len(inputs)} inputs and {len(labels)} labels: give one label "
            f"per input"
        )
    labels = _checked_labels(key, labels)
    inputs = _typed(inputs)
    tensors = [inputs] if isinstance(inputs, Tensor) else inputs.tensors
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise InputError(f"inputs of {key} are finite numbers, but some are infinite or not one")
    return Split(inputs, labels)


def _checked_labels(key: str, labels: Tensor) -> Tensor:
    """Classes as int64, real-valued targets as float32."""
    if labels.ndim < 1 or labels.dtype.is_complex:
        raise InputError(
            f"labels of {key} are integers of shape (N,), or (N, T) for sequences, or real numbers "
            f"(N, …), not {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if labels.dtype.is_floating_point:
        if not bool(torch.isfinite(labels).all()):
            raise InputError(f"targets of {key} are finite numbers, but some are infinite or none")
        return labels.to(torch.float32)
    counted = labels[labels != IGNORED] if labels.ndim > 1 else labels
    if len(counted) and int(counted.min()) < 0:
        raise InputError(f"labels of {key} count from 0, but one is {int(counted.min())}")
    return labels.to(torch.int64)


def _typed(inputs: Tensor | Inputs) -> Tensor | Inputs:
    """Inputs as a network reads them: float32, or int64 and bool where they are not numbers."""
    if isinstance(inputs, Inputs):
        return inputs.mapped(_as_argument)
    are_tokens = inputs.ndim == 2 and inputs.dtype in (torch.int32, torch.int64)
    return inputs.to(torch.int64 if are_tokens else torch.float32)


def _as_argument(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        leaf = torch.from_numpy(leaf)
    if not isinstance(leaf, Tensor) or leaf.dtype == torch.bool:
        return leaf
    leaf = leaf.detach().cpu()
    return leaf.to(torch.float32 if leaf.dtype.is_floating_point else torch.int64)


def _pair(key: str, given: Any) -> tuple[Tensor | Inputs, Tensor]:
    if isinstance(given, Split):
        return given.images, given.labels
    if isinstance(given, Dataset):
        given = DataLoader(given, batch_size=256)
    whole = _labelled(given)
    if whole is not None:
        return whole
    if _is_array(given) or isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InputError(
            f"the split {key} is a pair of inputs and labels, or a loader of such pairs, not "
            f"{type(given).__name__}"
        )
    batches = [_batch(key, batch) for batch in given]
    if not batches:
        raise InputError(f"the split {key} is empty: its loader yields nothing")
    inputs, labels = zip(*batches, strict=True)
    if any(isinstance(part, Inputs) for part in inputs):
        return Inputs.joined([p if isinstance(p, Inputs) else Inputs((p,)) for p in inputs]), (
            torch.cat(labels)
        )
    return torch.cat(inputs), torch.cat(labels)


def _batch(key: str, batch: Any) -> tuple[Tensor | Inputs, Tensor]:
    pair = _labelled(batch)
    if pair is None:
        raise InputError(
            f"the loader of {key} yields pairs of inputs and labels, not {type(batch).__name__}"
        )
    return pair


def _labelled(batch: Any) -> tuple[Tensor | Inputs, Tensor] | None:
    """Inputs and labels: the last of a tuple, or what a mapping calls so; None if it has none."""
    if isinstance(batch, Mapping):
        named = {name: value for name, value in batch.items() if name not in LABELS}
        labels = next((batch[name] for name in LABELS if name in batch), None)
        whole = _inputs(named)
        return None if whole is None or not _is_array(labels) else (whole, _tensor(labels))
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not _is_array(batch[-1]):
        return None
    inputs = _inputs(batch[0] if len(batch) == 2 else tuple(batch[:-1]))
    return None if inputs is None else (inputs, _tensor(batch[-1]))


def _inputs(given: Any) -> Tensor | Inputs | None:
    """The arguments of a network, or None if they are in no form that is known."""
    if _is_array(given):
        return _tensor(given)
    made = None
    if isinstance(given, Inputs):
        made = given
    elif isinstance(given, Mapping):
        made = Inputs((), dict(given))
    elif isinstance(given, (tuple, list)):
        is_call = len(given) == 2 and isinstance(given[1], Mapping)
        if is_call and isinstance(given[0], (tuple, list)):
            made = Inputs(tuple(given[0]), dict(given[1]))
        elif all(map(_is_array, given)):
            made = Inputs(tuple(given))
    if made is None:
        return None
    made = made.mapped(lambda leaf: _tensor(leaf) if isinstance(leaf, np.ndarray) else leaf)
    return made if made.tensors else None


def _is_array(value: Any) -> TypeGuard[Tensor | np.ndarray]:
    return isinstance(value, (Tensor, np.ndarray))


def _tensor(value: Tensor | np.ndarray) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor.detach().cpu()


def check_classifier(network: nn.Module, data: Data) -> None:
    """Refuse a network that does not map the inputs of ``data`` to a logit per class.

    Raises:
        InputError: it fails on them, returns something else than logits, or has fewer classes than
            there are labels; or the targets are no classes.
    """
    if data.train.labels.dtype.is_floating_point:
        raise InputError(
            "the targets are real numbers, which accuracy does not score: give metric=models.Metric"
            "(…), and say there which way is better"
        )
    few = data.train.take(2)
    logits = _logits(network, few.images)
    name, given = type(network).__name__, len(few)
    *before, classes = logits.shape if logits.ndim else (0,)
    if tuple(before) != tuple(few.labels.shape) or classes < 2:
        wanted = ", ".join(map(str, few.labels.shape))
        raise InputError(
            f"{name} returns a tensor of shape {tuple(logits.shape)} for {given} inputs, not "
            f"logits of shape ({wanted}, classes)"
        )
    for key in SPLITS:
        largest = int(getattr(data, key).labels.max())
        if largest >= classes:
            raise InputError(
                f"{name} tells {classes} classes apart, but {key} has the label {largest}: "
                f"labels lie in 0…{classes - 1}"
            )


def check_metric(network: nn.Module, data: Data, metric: Metric) -> None:
    """Refuse a metric that does not score what ``network`` returns for the inputs of ``data``.

    Raises:
        InputError: the network fails on them, or returns no tensor; or the metric or its loss fail
            on that, or give something else than numbers.
    """
    few = data.train.take(16)
    outputs = _logits(network, few.images).float().cpu().requires_grad_()
    if not outputs.ndim or len(outputs) != len(few):
        raise InputError(
            f"{type(network).__name__} returns a tensor of shape {tuple(outputs.shape)} for "
            f"{len(few)} inputs, not one row for each"
        )
    tally = metric.tally()
    with torch.no_grad():
        tally.add(outputs, few.labels)
    tally.result()
    if not metric.loss_of(outputs, few.labels).requires_grad:
        raise InputError(
            f"the loss of {metric.name} has no gradient, so that nothing can be fine-tuned by it: "
            f"compute it with tensors, without detach"
        )


def _logits(network: nn.Module, inputs: Tensor | Inputs) -> Tensor:
    """What a network returns for inputs.

    Raises:
        InputError: it fails on them, or returns no logits.
    """
    shape = inputs.shapes if isinstance(inputs, Inputs) else f"{tuple(inputs.shape)}"
    tensors = inputs.tensors if isinstance(inputs, Inputs) else [inputs]
    name, types = type(network).__name__, " and ".join({str(t.dtype) for t in tensors})
    parameter = next(itertools.chain(network.parameters(), network.buffers()), tensors[0])
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            output = called(network, inputs.to(parameter.device))
    except Exception as error:  # whatever a foreign network raises
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} does not take inputs of shape {shape} in {types}: {type(error).__name__}: "
            f"{reason}"
        ) from error
    finally:
        network.train(was_training)
    try:
        return logits_of(output)
    except InputError as error:
        raise InputError(
            f"{name} returns {type(output).__name__}, not logits of shape ({len(inputs)}, classes):"
            f" wrap it in a module that returns these"
        ) from error
