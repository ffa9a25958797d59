"""Trained weights, kept under a hash of everything that made them."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from luts.console import SILENT, Reporter
from luts.errors import InputError
from models.networks import NetworkConfig
from models.training._data import Data
from models.training._files import atomically, cache_folder, check_writable

Net = TypeVar("Net", bound=nn.Module)

# To be raised when training changes in a way that its making does not show.
_FORMAT = 1


def trained(
    make_net: Callable[[], Net],
    making: Mapping[str, Any],
    train: Callable[[Net], object],
    *,
    cache_dir: Path | None = None,
    reporter: Reporter = SILENT,
) -> Net:
    """The network that ``train`` makes, from the cache if the same was made before.

    Args:
        make_net: builds the untrained network, the same one each time.
        making: everything that decides the weights: architecture, topology, recipe, data, seed;
            values that JSON can hold. The versions of torch and timm are added.
        train: trains the network in place.
        cache_dir: ``weights`` in the cache folder by default.
        reporter: told where the weights came from.

    Returns:
        The network in evaluation mode.

    Raises:
        InputError: the cache cannot be written to, before anything is trained.
    """
    making = _complete(making)
    path = weights_path(making, cache_dir=cache_dir)
    net = make_net()
    if path.exists():
        problem = _load(net, path)
        if problem is None:
            reporter.note(f"trained weights from {path}")
            return net.eval()
        reporter.note(f"cached weights cannot be used and are made again: {path}: {problem}")
    check_writable(path)
    train(net)
    net.eval()
    save_weights(net, path, making)
    return net


def weights_path(making: Mapping[str, Any], *, cache_dir: Path | None = None) -> Path:
    """Where the cache keeps the weights of this making."""
    making = _complete(making)
    digest = hashlib.sha256(_canonical(making).encode()).hexdigest()[:16]
    words = [str(making[key]) for key in ("arch", "topology") if key in making]
    name = re.sub(r"[^\w.-]+", "_", "-".join([*words, digest]))
    return (cache_dir or cache_folder() / "weights") / f"{name}.safetensors"


def save_weights(net: nn.Module, path: Path, making: Mapping[str, Any]) -> None:
    """Write all parameters and buffers with their making as metadata; a half file is never seen."""
    # Cloned, as safetensors refuses tensors that share memory.
    tensors = {
        key: value.detach().cpu().clone().contiguous() for key, value in net.state_dict().items()
    }
    with atomically(path) as temporary:
        save_file(tensors, temporary, metadata={"making": _canonical(making)})


def read_making(path: Path) -> dict[str, Any]:
    """How the weights in ``path`` came about, empty if the file does not say."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return dict(json.loads(metadata.get("making", "{}")))


def check_making(source: str, config: NetworkConfig) -> None:
    """Check what a file of weights says of itself and its tensors do not show.

    Raises:
        InputError: it says that it was trained with another ``top_k``, other cluster features or
            another route.
    """
    path = Path(source)
    if path.suffix != ".safetensors" or not path.is_file():
        return
    making = _readable_making(path)
    # Of weights from before there was a choice.
    usual = {"cluster_route": "layer", "soft_mixes": "outputs"}
    for name in ("top_k", "cluster_features", "cluster_route", "soft_mixes"):
        wanted = getattr(config, name)
        kept = making.get(name, usual.get(name, wanted)) if making else wanted
        if kept != wanted:
            remedy = f"say --{name.replace('_', '-')} {kept}"
            if name in usual:
                remedy = f"build the network with {name}={kept!r} and give it to dse.explore"
            raise InputError(f"{source} was trained with {name} {kept}, not {wanted}: {remedy}")


def _readable_making(path: Path) -> dict[str, Any]:
    try:
        return read_making(path)
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} does not say in a readable way how its weights were made ({error}): save "
            f"them without that, or make the file again"
        ) from error


def check_trained_on(path: Path, data: Data) -> None:
    """Check what a file of weights says it was trained on.

    Images of a folder are told by their content where the file knows it, whatever the folder's
    name; a file that says nothing passes.

    Args:
        path: a file of weights.
        data: that its network is to be judged on.

    Raises:
        InputError: it was trained on another data set, on images of another size, or on another
            part of the set; or what it says cannot be read.
    """
    if path.suffix != ".safetensors":
        return
    theirs: Mapping[str, Any] = _readable_making(path).get("data", {})
    mine = data.making
    for name in ("name", "content_sha256", "image_size", "part_of", "train", "test"):
        kept, wanted = (_said(name, making) for making in (theirs, mine))
        is_optional = name == "content_sha256" and None in (kept, wanted)
        if theirs and kept != wanted and not is_optional:
            raise InputError(
                f"{path} was trained on data with {name} {kept}, not {wanted}: name the weights "
                f"of this data set, or none, and they are trained"
            )


def _said(name: str, making: Mapping[str, Any]) -> Any:
    value = making.get(name)
    # Of images in a folder the name says where they were.
    return str(value).partition(":")[0] if name == "name" else value


def _load(net: nn.Module, path: Path) -> str | None:
    """Load, or say why not; the network is untouched in that case."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    own = {key: value.shape for key, value in net.state_dict().items()}
    if own != {key: value.shape for key, value in tensors.items()}:
        return "its tensors are not those of the network"
    net.load_state_dict(tensors)
    return None


def _complete(making: Mapping[str, Any]) -> dict[str, Any]:
    versions = {name: ".".join(version(name).split(".")[:2]) for name in ("torch", "timm")}
    return {"format": _FORMAT, "versions": versions, **making}


def _canonical(making: Mapping[str, Any]) -> str:
    return json.dumps(making, sort_keys=True, separators=(",", ":"))
