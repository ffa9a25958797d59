"""Make every product of a network the work of a module, without changing what it computes."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from luts.errors import InputError
from models.emulation._attention import ExposedAttention
from models.emulation._plain import is_layer, is_plain, make_plain_, move_hooks_
from models.emulation._recurrent import exposed_recurrent
from models.networks import Inputs

COMPILED = "_orig_mod"
"""Attribute of a module of `torch.compile` with what it was given."""


def exposed(network: nn.Module, example_input: Inputs) -> nn.Module:
    """A copy of ``network``, in evaluation mode, whose attention products can be found.

    `nn.MultiheadAttention` becomes `ExposedAttention`, and recurrent and bilinear layers become
    linear ones; timm's attention is asked for
    `scaled_dot_product_attention`; fused paths of `nn.TransformerEncoder` are not taken; timm's
    linear layers and convolutions become plain ones.

    Args:
        network: any network; it stays as it is.
        example_input: a batch as the network takes it.

    Raises:
        InputError: ``network`` itself is one layer, or holds a layer that is not in float32.
    """
    copied = _uncompiled(_copied(network)).eval()
    for module in list(copied.modules()):
        _simplify_(module)
    if isinstance(copied, nn.MultiheadAttention) or is_layer(copied):
        raise InputError(
            f"a site needs a name, which a bare {type(network).__name__} has not: put it into "
            f"nn.Sequential"
        )
    check_precision(copied)
    attentions = [m for m in copied.modules() if is_plain(m, nn.MultiheadAttention)]
    if attentions:
        apart = _called_with_several(copied, attentions, example_input)
        names = names_of(copied)
        for module in attentions:
            made = ExposedAttention(module, is_self_attention=module not in apart)
            move_hooks_(module, made)
            replace_everywhere_(copied, names[module], made)
    for module, known in names_of(copied).items():
        if (fused := exposed_recurrent(module)) is not None:
            move_hooks_(module, fused)
            replace_everywhere_(copied, known, fused)
    return copied


def names_of(network: nn.Module) -> dict[nn.Module, list[str]]:
    """All names of every module; a shared one has several."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


def replace_everywhere_(network: nn.Module, names: list[str], module: nn.Module) -> None:
    """Put ``module`` under each of ``names``."""
    for name in names:
        network.set_submodule(name, module)


def _copied(network: nn.Module) -> nn.Module:
    """A deep copy, in which what autograd computed (a weight, say, made by a hook) is constant."""
    computed = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, computed)


def _uncompiled(network: nn.Module) -> nn.Module:
    """What `torch.compile` was given, in ``network`` and at its place."""
    network = getattr(network, COMPILED, network)
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(inner := getattr(module, COMPILED, None), nn.Module):
            network.set_submodule(name, inner)
    for module in network.modules():
        module._compiled_call_impl = None
    return network


def _simplify_(module: nn.Module) -> None:
    _bake_(module)
    make_plain_(module)
    flags: Any = module
    if getattr(module, "fused_attn", None) is False:
        flags.fused_attn = True
    if getattr(module, "inplace", None) is True:
        # Autograd lets nobody write into what an emulated layer returns if that is a view.
        flags.inplace = False
    if isinstance(module, nn.TransformerEncoder):
        module.use_nested_tensor = False


def _bake_(module: nn.Module) -> None:
    """Replace a weight that is made from others by its value, which is what the hardware holds."""
    if parametrize.is_parametrized(module):
        assert isinstance(module.parametrizations, nn.ModuleDict)
        # A copy shares its class, which was made for this one module, with the original.
        kind = type(module)
        own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
        module.__class__ = type(kind.__name__, kind.__bases__, own)
        for name in list(module.parametrizations):
            parametrize.remove_parametrizations(module, name)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]


def check_precision(network: nn.Module) -> None:
    """Raise an `InputError` unless all layers that are emulated are in float32."""
    for layer_name, layer in network.named_modules():
        if is_layer(layer) or is_plain(layer, nn.MultiheadAttention):
            for name, parameter in layer.named_parameters(prefix=layer_name, recurse=False):
                if parameter.dtype != torch.float32:
                    raise InputError(
                        f"layers are emulated in float32, but {name} is {parameter.dtype}: "
                        f"convert the network with network.float()"
                    )


@torch.no_grad()
def _called_with_several(
    network: nn.Module, attentions: Sequence[nn.Module], example_input: Inputs
) -> set[nn.Module]:
    """Those of ``attentions`` whose query, key and value are not always one tensor."""
    apart: set[nn.Module] = set()

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        if not (given["query"] is given["key"] and given["key"] is given["value"]):
            apart.add(module)

    handles = [m.register_forward_pre_hook(look, with_kwargs=True) for m in attentions]
    try:
        with naming_failures(network, example_input), without_fast_path():
            example_input.call(network)
    finally:
        for handle in handles:
            handle.remove()
    return apart


@contextlib.contextmanager
def naming_failures(
    network: nn.Module, inputs: Inputs, place: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """Inside, whatever goes wrong in somebody's network is said in one line.

    Args:
        network: what is called.
        inputs: with these.
        place: says where it failed.

    Raises:
        InputError: in place of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        where = place()
        what = f"{type(error).__name__} {error}"
        raise InputError(
            f"{type(network).__name__} fails on a batch of shapes {inputs.shapes}"
            f"{f', in {where}' if where else ''}: {' '.join(what.split())[:200]}: give "
            f"batches that it takes"
        ) from error


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Inside, transformer layers call their attention instead of one fused function."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)
