"""Reading weights that somebody else trained."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from luts.console import SILENT, Reporter
from luts.errors import InputError
from models.networks import Inputs
from models.networks._foreign import TIMM_PREFIX
from models.training._download import ANY, Checksum, download
from models.training._files import cache_folder

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".th")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_SHOWN_KEYS = 8
_VIT = "vit_small"


def load_weights_(net: nn.Module, source: str | Path, *, reporter: Reporter = SILENT) -> None:
    """Load every parameter and buffer of ``net`` from a file or a URL, in place.

    A wrapping ``state_dict`` and a ``module.`` before every key are taken off.

    Raises:
        InputError: the file is missing or damaged, or its keys or shapes are not those of ``net``,
            which then is unchanged.
    """
    load_state_(net, read_weights(source, reporter=reporter), source=source)


def load_state_(net: nn.Module, state: Mapping[str, Tensor], *, source: str | Path) -> None:
    """Load tensors out of `read_weights`, in place.

    Raises:
        InputError: keys or shapes are not those of ``net``; ``source`` is named.
    """
    differences = _differences(net.state_dict(), state)
    if differences:
        raise InputError(
            f"{source} holds weights of another network: {differences}; give the architecture, "
            "topology and number of classes that it was trained with"
        )
    net.load_state_dict(state)


def fits(net: nn.Module, state: Mapping[str, Tensor]) -> bool:
    """Whether ``state`` has exactly the keys and shapes of ``net``."""
    return not _differences(net.state_dict(), state)


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names and values of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        values = state[key].detach().cpu().reshape(-1).contiguous()
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tensors_of(name: str, inputs: Tensor | Inputs) -> dict[str, Tensor]:
    """The tensors of inputs by name, as `state_digest` takes them."""
    if isinstance(inputs, Tensor):
        return {name: inputs}
    return {f"{name}.{index}": tensor for index, tensor in enumerate(inputs.tensors)}


def read_weights(source: str | Path, *, reporter: Reporter = SILENT) -> dict[str, Tensor]:
    """The tensors in a ``.safetensors``, ``.pt``, ``.pth`` or ``.th`` file, by name, on the CPU.

    Raises:
        InputError: there is no such file, or it holds something else than weights.
    """
    if urlparse(str(source)).scheme in ("http", "https", "file"):
        return _fetch_and_read(str(source), reporter)
    path = Path(source).expanduser()
    if not path.is_file():
        raise InputError(f"no weights at {path}: give a file or a URL, or none")
    if path.suffix.lower() not in WEIGHT_SUFFIXES:
        known = ", ".join(WEIGHT_SUFFIXES)
        raise InputError(f"{path} is not a kind of weights that can be read: they end in {known}")
    try:
        if path.suffix.lower() == ".safetensors":
            loaded: object = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        # torch.load raises errors of many kinds for a damaged file.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path} is damaged or holds more than weights ({lines[0]}): save net.state_dict() anew"
        ) from None
    return _unwrapped(loaded, path)


def _unwrapped(loaded: object, path: Path) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{path} holds no weights: save net.state_dict()")
    state = {str(key): value for key, value in loaded.items()}
    strange = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise InputError(f"{path} holds {strange[0]!r}, no tensor: save net.state_dict() only")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _fetch_and_read(url: str, reporter: Reporter) -> dict[str, Tensor]:
    name = Path(urlparse(url).path).name
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        download(url, path, checksum=ANY, reporter=reporter)
        return read_weights(path)


def _differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The keys that keep ``given`` from being loaded, in words; empty if there are none."""
    missing = [key for key in own if key not in given]
    unknown = [key for key in given if key not in own]
    reshaped = [
        f"{key} {list(given[key].shape)} instead of {list(own[key].shape)}"
        for key in own
        if key in given and own[key].shape != given[key].shape
    ]
    kinds = (("missing", missing), ("unknown", unknown), ("of another shape", reshaped))
    return "; ".join(f"{kind}: {_listed(keys)}" for kind, keys in kinds if keys)


def _listed(keys: list[str]) -> str:
    more = len(keys) - _SHOWN_KEYS
    return ", ".join(keys[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Release:
    """One published checkpoint of chenyaofo/pytorch-cifar-models."""

    folder: str
    file_name: str

    @property
    def url(self) -> str:
        """Where it is released."""
        base = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download"
        return f"{base}/{self.folder}/{self.file_name}"

    @property
    def checksum(self) -> Checksum:
        """The file's name ends in the first digits of its SHA-256, as torch.hub has it."""
        return Checksum("sha256", Path(self.file_name).stem.rsplit("-", 1)[1])


_RELEASES = {
    ("resnet20", 10): Release("resnet", "cifar10_resnet20-4118986f.pt"),
    ("resnet20", 100): Release("resnet", "cifar100_resnet20-23dac2f1.pt"),
    ("vgg11_bn", 10): Release("vgg", "cifar10_vgg11_bn-eaeebf42.pt"),
    ("vgg11_bn", 100): Release("vgg", "cifar100_vgg11_bn-57d0759e.pt"),
    ("vgg19_bn", 10): Release("vgg", "cifar10_vgg19_bn-57191229.pt"),
    ("vgg19_bn", 100): Release("vgg", "cifar100_vgg19_bn-b98f7bd7.pt"),
}


def load_pretrained_(
    net: nn.Module, arch: str, *, num_classes: int, reporter: Reporter = SILENT
) -> bool:
    """Load the published weights of a dense network, in place.

    What does not fit is adapted and said: another number of classes starts with a fresh head; in a
    vision transformer the position and patch embeddings are resized.

    Returns:
        Whether anything was adapted, so that the network needs training before it is of use.

    Raises:
        InputError: those of ``arch`` are not fetched here, or the download fails.
    """
    if arch == _VIT:
        state = _published_vit(reporter)
    elif (arch, 10) in _RELEASES:
        release = _RELEASES.get((arch, num_classes), _RELEASES[arch, 100])
        path = cache_folder() / "pretrained" / release.file_name
        if not path.exists():
            download(release.url, path, checksum=release.checksum, reporter=reporter)
        state = read_weights(path)
    else:
        raise InputError(_not_fetched(arch, num_classes))
    return _adapt_and_load(net, state, arch, reporter)


def _not_fetched(arch: str, num_classes: int) -> str:
    known = ", ".join(sorted({name for name, _ in _RELEASES} | {_VIT}))
    remedy = "give --weights, or train it"
    if arch.startswith(TIMM_PREFIX):
        name = arch.removeprefix(TIMM_PREFIX)
        remedy = (
            f"save timm.create_model({name!r}, pretrained=True, num_classes={num_classes})"
            ".state_dict(), with img_size too where it takes one, and train it on with "
            "models.train --weights FILE"
        )
    return f"published weights are fetched for {known} only, not for {arch}: {remedy}"


def _published_vit(reporter: Reporter) -> dict[str, Tensor]:
    from models.networks._timm import timm

    reporter.note("fetching vit_small_patch16_224 through timm")
    try:
        network: nn.Module = timm().create_model("vit_small_patch16_224", pretrained=True)
    except Exception as error:
        # The hub client raises errors of many libraries when there is no network.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"cannot fetch vit_small_patch16_224 through timm ({lines[0]}): fetch "
            "timm/vit_small_patch16_224.augreg_in21k_ft_in1k from huggingface.co by other means "
            "and put it into the hub's cache, or train without --pretrained"
        ) from None
    return network.state_dict()


def _adapt_and_load(
    net: nn.Module, state: dict[str, Tensor], arch: str, reporter: Reporter
) -> bool:
    own = net.state_dict()
    resized = _resized(net, own, state)
    for key in resized:
        reporter.note(f"{key} was resized from the published {arch}'s to {list(own[key].shape)}")
    head = ("head.", "fc.", "classifier.6.")
    fresh = [k for k in own if k.startswith(head) and own[k].shape != state[k].shape]
    if fresh:
        reporter.note(f"the head starts anew, as the published {arch} has other classes")
        state |= {key: own[key] for key in fresh}
    differences = _differences(own, state)
    if differences:
        raise InputError(f"the published weights of {arch} do not fit this network: {differences}")
    net.load_state_dict(state)
    return bool(resized or fresh)


def _resized(net: nn.Module, own: Mapping[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Resize a transformer's embeddings in ``state`` to those of ``net``; the keys that changed."""
    changed: list[str] = []
    patch, position = "patch_embed.proj.weight", "pos_embed"
    if patch not in own:
        return changed
    from models.networks._timm import timm

    layers = timm().layers
    if own[patch].shape[-2:] != state[patch].shape[-2:]:
        state[patch] = layers.resample_patch_embed(state[patch], list(own[patch].shape[-2:]))
        changed.append(patch)
    if own[position].shape != state[position].shape:
        transformer: Any = net  # of timm, as its embeddings say
        state[position] = layers.resample_abs_pos_embed(
            state[position],
            new_size=list(transformer.patch_embed.grid_size),
            num_prefix_tokens=transformer.num_prefix_tokens,
        )
        changed.append(position)
    return changed
