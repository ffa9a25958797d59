"""Activation ranges of emulated layers, and what happens to layers that have none."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from luts.errors import InputError
from models.emulation._attention import AttentionProducts, MatrixProduct
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._expose import names_of, replace_everywhere_
from models.emulation._functional import Calls, Form, Functions, Product
from models.emulation._layers import EmulatedLinear, EmulatedSite, EmulatedWeightSite
from models.emulation._matmul import EmulatedMatmul
from models.emulation._plain import is_layer, move_hooks_
from models.emulation._quantise import Observer
from models.emulation._site import Sites, listed
from models.networks import Inputs, every_expert_sees_everything

Layer = TypeVar("Layer", bound=EmulatedSite)

RANGES_APART = 8
"""Factor between the ranges of one layer's calls from which it is warned of: three bits."""


class Calibration:
    """A network whose layers are emulated ones that compute in float and can observe.

    What attention asks for is computed by two products of its own, made at its first call.

    Args:
        network: as `exposed` made it; its layers are replaced.
        method: how a range becomes a scale.

    Raises:
        InputError: a weight is infinite or not a number, or ``method`` is unknown.
    """

    def __init__(self, network: nn.Module, method: str) -> None:
        self.network = network
        self.method = method
        self._attention: dict[nn.Module, AttentionProducts] = {}
        self._products: list[tuple[nn.Module, str, EmulatedSite]] = []
        self._is_observing = False
        self._replaced: dict[EmulatedSite, nn.Module] = {}
        names = names_of(network)
        for module in list(names):
            if is_layer(module) or isinstance(module, MatrixProduct):
                made = self._started(_emulated(module))
                move_hooks_(module, made)
                replace_everywhere_(network, names[module], made)
                self._replaced[made] = module
        _check_parameters(network)
        Observer(method)

    def attention_of(self, owner: nn.Module) -> AttentionProducts:
        """What computes the attention that ``owner`` asks for."""
        if owner not in self._attention:
            for taken in (name for name in ("qk", "av") if hasattr(owner, name)):
                raise InputError(
                    f"{type(owner).__name__} has an attribute {taken!r}, which emulation needs for "
                    f"its attention: name it otherwise"
                )
            qk, av = EmulatedMatmul("qk"), EmulatedMatmul("av")
            for name, layer in (("qk", qk), ("av", av)):
                self._products.append((owner, name, self._started(layer)))
            self._attention[owner] = AttentionProducts(qk, av)
        return self._attention[owner]

    def layer_of(self, owner: nn.Module, product: Product, form: Form) -> EmulatedSite:
        """What computes a product that ``owner`` calls as a function."""
        self._products = [p for p in self._products if p[:2] != (owner, product.name)]
        layer = self._started(product.made_of(form))
        self._products.append((owner, product.name, layer))
        return layer

    def _started(self, layer: Layer) -> Layer:
        layer.computes_in_float = True
        if self._is_observing:
            layer.start_calibration(self.method)
        return layer

    def _layers(self) -> Iterator[EmulatedSite]:
        yield from self._replaced
        yield from (product for *_, product in self._products)

    def observe(self) -> None:
        """Observe all activations from now on."""
        self._is_observing = True
        for layer in self._layers():
            layer.start_calibration(self.method)

    def warn_of_shared(self) -> None:
        """Warn of a layer that was called more than once, on activations of very different range.

        To be called when the network has run once.
        """
        names = {module: name for name, module in self.network.named_modules()}
        for owner, name, product in self._products:
            names[product] = f"{names[owner]}.{name}".removeprefix(".")
        apart = []
        for layer in self._layers():
            assert layer.observers is not None
            seen = [float(x) for x in layer.observers[0].largest_of_calls]
            if 0 < RANGES_APART * min(seen, default=0) < max(seen, default=0):
                apart.append(
                    f"{names[layer]} ({len(seen)} calls, up to {max(seen):.3g} and {min(seen):.3g})"
                )
        if apart:
            warnings.warn(
                f"one scale serves calls on activations of very different range: {listed(apart)}; "
                f"give each call a layer of its own",
                stacklevel=5,
            )

    def finish(self, sites: Sites, functions: Mapping[nn.Module, Calls], first: Inputs) -> None:
        """Take the scales of all ``sites``; what is none becomes what it was.

        An expert that the router never chose takes its ranges from all items of its layer in the
        first batch.

        Args:
            sites: what the network was found to have.
            functions: products that its modules call as functions.
            first: the first batch.

        Raises:
            InputError: an activation is infinite or not a number.
        """
        names = names_of(self.network)
        kept = {site.name for site in sites}
        for made, module in self._replaced.items():
            if kept.isdisjoint(names[made]):
                replace_everywhere_(self.network, names[made], module)
        for owner, products in self._attention.items():
            products.attach_(owner)
        for owner, calls in functions.items():
            if any(calls.values()):
                Functions(names[owner][0], calls).attach_(owner)
        layers = [m for m in self.network.modules() if isinstance(m, EmulatedSite)]
        if not all(layer.is_observed() for layer in layers):
            with torch.no_grad(), every_expert_sees_everything(self.network):
                first.call(self.network)
        for layer in layers:
            layer.finish_calibration()
            layer.computes_in_float = False


def _emulated(module: nn.Module) -> EmulatedSite:
    if isinstance(module, MatrixProduct):
        return EmulatedMatmul(module.kind)
    if isinstance(module, nn.Conv2d):
        return EmulatedConv2d(module)
    assert isinstance(module, nn.Linear)
    return EmulatedLinear(module)


def _check_parameters(network: nn.Module) -> None:
    for layer_name, layer in network.named_modules():
        if isinstance(layer, EmulatedWeightSite):
            for name, parameter in layer.named_parameters(prefix=layer_name):
                if not bool(torch.isfinite(parameter).all()):
                    raise InputError(
                        f"calibration met a weight that is infinite or not a number, in {name}: "
                        f"load or train a network whose weights are finite"
                    )


class Uncalibrated:
    """A hook before a layer that no calibration input reached: an input that does is refused.

    In training it may run, in float, as heads do that are there for training alone.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: nn.Module, inputs: Any) -> None:
        """Refuse to compute anything."""
        items = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
        if module.training or (items and not items[0].numel()):
            return
        raise InputError(
            f"{self.name} runs, but no calibration input had reached it, so that it has no scale: "
            f"calibrate with inputs that do"
        )


def refuse_uncalibrated_(network: nn.Module, names: Sequence[str]) -> None:
    """Let the layers of these names raise an `InputError` when an input reaches them."""
    for name in names:
        network.get_submodule(name).register_forward_pre_hook(Uncalibrated(name))


def allow_uncalibrated_(network: nn.Module) -> None:
    """The inverse of `refuse_uncalibrated_`: in float they need no scale."""
    for module in network.modules():
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, Uncalibrated):
                del module._forward_pre_hooks[key]
