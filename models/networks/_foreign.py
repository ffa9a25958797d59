"""Networks of others: any classifier of timm, and functions in a user's own file."""

import functools
import hashlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from luts.errors import InputError, suggest
from models.networks._timm import timm

TIMM_PREFIX = "timm:"
FILE_MARK = ".py:"


def builder(name: str) -> Callable[..., nn.Module] | None:
    """What builds the network called ``name``, or None if it is not a name of this kind.

    Raises:
        InputError: timm has no such network, or there is no such file.
    """
    if name.startswith(TIMM_PREFIX):
        return _timm_builder(name.removeprefix(TIMM_PREFIX))
    if FILE_MARK in name:
        path, function = _file_and_function(name)
        return functools.partial(_build_from_file, path, function)
    return None


def source_digest(arch: str) -> str | None:
    """SHA-256 of the file that ``arch`` names, or None if it names no file.

    Raises:
        InputError: there is no such file.
    """
    if arch.startswith(TIMM_PREFIX) or FILE_MARK not in arch:
        return None
    path, _ = _file_and_function(arch)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def expert_sites(network: nn.Module) -> tuple[str, ...]:
    """Modules that can become experts: every block's ``mlp`` beside an ``attn``.

    So blocks are named in timm's transformers; their MLPs work on each token by itself.
    """
    names = dict(network.named_modules())
    return tuple(
        name
        for name in names
        if name.rpartition(".")[2] == "mlp" and f"{name.removesuffix('mlp')}attn" in names
    )


def _timm_builder(name: str) -> Callable[..., nn.Module]:
    module = timm()
    if not module.is_model(name):
        raise InputError(f"timm has no network {name!r}; {suggest(name, module.list_models())}")

    def build(
        *, num_classes: int, image_size: int, patch_size: int | None, in_channels: int
    ) -> nn.Module:
        arguments = {"num_classes": num_classes, "in_chans": in_channels}
        # Networks that take any image size do not know the argument.
        if module.get_pretrained_cfg_value(name, "fixed_input_size"):
            arguments["img_size"] = image_size
        if patch_size is not None:
            arguments["patch_size"] = patch_size
        try:
            network: nn.Module = module.create_model(name, **arguments)
        except Exception as error:
            # What a network takes is known to its constructor alone, and so is how it refuses it.
            raise InputError(
                f"timm's {name}, made for images of {_image_size(name)} pixels, cannot be built "
                f"with {arguments}: {error}"
            ) from error
        _check_image_size(name, network, in_channels, image_size)
        return network

    return build


def _image_size(name: str) -> int:
    """Side in pixels of the images that a network of timm was made for."""
    side: int = timm().get_pretrained_cfg_value(name, "input_size")[-1]
    return side


@torch.no_grad()
def _check_image_size(name: str, network: nn.Module, in_channels: int, image_size: int) -> None:
    """Refuse a network of timm that fails on images of this size.

    Raises:
        InputError: it does.
    """
    try:
        network.eval()(torch.zeros(1, in_channels, image_size, image_size))
    except Exception as error:  # whatever goes wrong in it
        side = _image_size(name)
        raise InputError(
            f"timm's {name} does not take images of {image_size} pixels a side, but of {side} "
            f"({' '.join(str(error).split())[:100]}): give --image-size {side}"
        ) from error
    finally:
        network.train()


def _file_and_function(name: str) -> tuple[Path, str]:
    file, _, function = name.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"no file {path}, of which {function!r} would build the network")
    return path, function


def _build_from_file(path: Path, function: str, **shape: object) -> nn.Module:
    """Call ``function`` of the file with those of ``shape`` that it takes."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    specification = importlib.util.spec_from_file_location(f"{path.stem}_{digest}", path)
    assert specification is not None and specification.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(specification)
    if re.search(r"\b(timm|torchvision)\b", path.read_text(encoding="utf-8", errors="replace")):
        timm()  # makes torchvision importable on a CPU build of torch
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        # It is a user's program: anything can go wrong in it.
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    make = getattr(module, function, None)
    if not callable(make):
        known = [n for n, value in vars(module).items() if inspect.isroutine(value)]
        raise InputError(f"{path} has no function {function!r}; {suggest(function, known)}")
    parameters = inspect.signature(make).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        shape = {key: value for key, value in shape.items() if key in parameters}
    try:
        network = make(**shape)
    except TypeError as error:
        raise InputError(
            f"{path}:{function} is called with those of num_classes, image_size, patch_size and "
            f"in_channels that it takes, and needs no more: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{path}:{function} gave {type(network).__name__}, not an nn.Module")
    return network
