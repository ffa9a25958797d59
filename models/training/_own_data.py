"""A user's own inputs and labels as `Data`, and whether a network fits them."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from luts.errors import InputError, suggest
from models.training._data import Data, Split
from models.training._weights import state_digest

SPLITS = ("train", "validation", "test")


def data_of(splits: Mapping[str, Any] | Sequence[Any], *, name: str = "in-memory") -> Data:
    """Inputs and labels of a user's own as a data set.

    Args:
        splits: ``train``, ``validation`` and ``test``, as a mapping or in this order. Each is a
            pair of inputs ``(N, …)`` and integer labels ``(N,)``, tensors or arrays; or a
            `torch.utils.data.Dataset` or loader of such pairs. Inputs are what the network reads,
            and become float32, but for whole numbers of shape ``(N, T)``: these are token ids, and
            become int64. They are taken in the order in which they come, and the first ones
            calibrate: shuffle them once if they lie sorted by class.
        name: what to call it.

    Raises:
        InputError: a split is missing or empty, inputs and labels differ in number, inputs of
            splits differ in shape, or labels are not integers from 0.
    """
    made = {key: _split(key, given) for key, given in _by_name(splits).items()}
    shapes = {key: tuple(split.pixels.shape[1:]) for key, split in made.items()}
    for key in SPLITS[1:]:
        if shapes[key] != shapes["train"]:
            raise InputError(
                f"all splits hold inputs of one shape: train has {shapes['train']}, {key} "
                f"{shapes[key]}"
            )
    count = 1 + max(int(split.labels.max()) for split in made.values())
    tensors = {f"{key}.{part}": getattr(made[key], part) for key in SPLITS for part in _PARTS}
    return Data(
        name=name,
        train=made["train"],
        validation=made["validation"],
        test=made["test"],
        num_classes=max(2, count),
        content_sha256=state_digest(tensors),
    )


_PARTS = ("pixels", "labels")


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
    if labels.ndim != 1 or labels.dtype.is_floating_point or labels.dtype.is_complex:
        raise InputError(
            f"labels of {key} are integers of shape (N,), not {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    if int(labels.min()) < 0:
        raise InputError(f"labels of {key} count from 0, but one is {int(labels.min())}")
    are_tokens = inputs.ndim == 2 and inputs.dtype in (torch.int32, torch.int64)
    inputs = inputs.to(torch.int64 if are_tokens else torch.float32)
    if not bool(torch.isfinite(inputs).all()):
        raise InputError(f"inputs of {key} are finite numbers, but some are infinite or not one")
    return Split(inputs, labels.to(torch.int64))


def _pair(key: str, given: Any) -> tuple[Tensor, Tensor]:
    if isinstance(given, Split):
        return given.images, given.labels
    if isinstance(given, Dataset):
        given = DataLoader(given, batch_size=256)
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(map(_is_array, given)):
        return _tensor(given[0]), _tensor(given[1])
    if _is_array(given) or not isinstance(given, Iterable):
        raise InputError(
            f"the split {key} is a pair of inputs and labels, or a loader of such pairs, not "
            f"{type(given).__name__}"
        )
    batches = [_batch(key, batch) for batch in given]
    if not batches:
        raise InputError(f"the split {key} is empty: its loader yields nothing")
    inputs, labels = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(labels)


def _batch(key: str, batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and all(map(_is_array, batch)):
        return _tensor(batch[0]), _tensor(batch[1])
    raise InputError(
        f"the loader of {key} yields pairs of inputs and labels, not {type(batch).__name__}"
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _tensor(value: Tensor | np.ndarray) -> Tensor:
    tensor = torch.as_tensor(value)
    return tensor.detach().cpu()


def check_classifier(network: nn.Module, data: Data) -> None:
    """Refuse a network that does not map the inputs of ``data`` to a logit per class.

    Raises:
        InputError: it fails on them, returns something else than logits, or has fewer classes than
            there are labels.
    """
    inputs = data.train.take(2).images
    name, shape = type(network).__name__, f"{tuple(inputs.shape)} in {inputs.dtype}"
    parameter = next(itertools.chain(network.parameters(), network.buffers()), inputs)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            logits = network(inputs.to(parameter.device))
    except Exception as error:  # whatever a foreign network raises
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} does not take inputs of shape {shape}: {type(error).__name__}: {reason}"
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(logits, Tensor):
        raise InputError(
            f"{name} returns {type(logits).__name__}, not logits of shape ({len(inputs)}, classes):"
            f" wrap it in a module that returns these"
        )
    if logits.ndim != 2 or len(logits) != len(inputs) or logits.shape[1] < 2:
        raise InputError(
            f"{name} returns a tensor of shape {tuple(logits.shape)} for {len(inputs)} inputs, not "
            f"logits of shape ({len(inputs)}, classes)"
        )
    for key in SPLITS:
        largest = int(getattr(data, key).labels.max())
        if largest >= logits.shape[1]:
            raise InputError(
                f"{name} tells {logits.shape[1]} classes apart, but {key} has the label {largest}: "
                f"labels lie in 0…{logits.shape[1] - 1}"
            )
