"""Hooks that note every product a network computes in one run."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from luts.errors import InputError
from models.emulation._attention import AttentionProducts, MatrixProduct
from models.emulation._canonical import READERS, Convolution
from models.emulation._constants import Constants
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._counter import ProductCounter
from models.emulation._expose import naming_failures, without_fast_path
from models.emulation._functional import (
    Call,
    Form,
    Held,
    Interceptor,
    Product,
    is_same,
    macs_of,
    read,
)
from models.emulation._layers import EmulatedLinear, EmulatedSite
from models.emulation._matmul import EmulatedMatmul
from models.emulation._plain import SameConv2d, is_layer, is_plain
from models.emulation._site import Site, SiteKind
from models.networks import ExpertLayer, Inputs

Who = tuple[nn.Module, bool]
"""A module, and whether it is an expert that is being shown all items."""


@dataclasses.dataclass
class Tally:
    """What one run of a network computed.

    Attributes:
        sites: by name, with MACs of the whole run; experts' only where they were shown all items.
        counted: multiply-accumulates that the dispatcher was asked for, by who asked.
        noted: those of them that are sites'.
    """

    sites: dict[str, Site] = dataclasses.field(default_factory=dict)
    counted: Counter[Any] = dataclasses.field(default_factory=Counter)
    noted: Counter[Who] = dataclasses.field(default_factory=Counter)

    def uncovered(self) -> dict[Who, int]:
        """What was counted and is no site's; expert layers account for their own work."""
        left = {who: macs - self.noted[who] for who, macs in self.counted.items()}
        return {
            who: macs
            for who, macs in left.items()
            if macs > 0 and not isinstance(who[0], ExpertLayer)
        }


class Maker(Protocol):
    """Makes layers for products that are called as functions."""

    def attention_of(self, owner: nn.Module) -> AttentionProducts:
        """What computes the attention that ``owner`` asks for."""

    def layer_of(self, owner: nn.Module, product: Product, form: Form) -> EmulatedSite:
        """What computes a product of ``owner``."""


class Recorder:
    """Notes what a network computes.

    Args:
        network: as `exposed` made it, or with its layers replaced.
        makes: makes layers of the products that it finds, if anybody calibrates them.

    Attributes:
        functions: what is called as functions, by module, function and number of the call.
        entered: modules that ran, of layers those that multiplied anything.
        names: qualified name of every module.
        expert_of: of the modules inside expert layers, their layer and expert (None for routers).
        foreign: operators that could not be counted.
    """

    def __init__(
        self,
        network: nn.Module,
        makes: Maker | None = None,
    ) -> None:
        self.network = network
        self._makes = makes
        self.functions: dict[nn.Module, dict[tuple[str, int], Product | None]] = {}
        self.entered: set[nn.Module] = set()
        self._constants = Constants(network)
        self._held_storages: set[int] = set()
        self._calls: list[Counter[str]] = []
        self.names = {module: name for name, module in network.named_modules()}
        self.expert_of = dict(_experts_of(network))
        self.foreign: set[str] = set()
        self._running: list[nn.Module] = []
        self._failing: nn.Module | None = None
        self._tally = Tally()

    def run(self, inputs: Inputs) -> Tally:
        """What the network computes for one batch.

        Raises:
            InputError: it fails, and where.
        """
        self._tally = Tally()
        self._running, self._calls = [], []
        self._failing = None
        counter = ProductCounter(self._at_work)
        with naming_failures(self.network, inputs, self._place), self._listening():
            with without_fast_path(), counter:
                inputs.call(self.network)
        self._tally.counted = counter.macs
        self.foreign |= counter.foreign
        return self._tally

    def _place(self) -> str:
        """Where the network failed."""
        failing = self._failing or self.network
        kind = type(failing).__name__.removeprefix("Emulated")
        return f"{self.names.get(failing) or 'its own forward'} ({kind})"

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        handles = []
        for module in self.names:
            handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
            handles.append(
                module.register_forward_hook(self._leave, with_kwargs=True, always_call=True)
            )
        try:
            with Interceptor(self._function):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._running.append(module)
        self._calls.append(Counter())
        if not _is_layer(module):
            self.entered.add(module)
        self._failing = None

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._running.pop()
        self._calls.pop()
        if output is None:  # there was an exception, which the innermost module sees first
            self._failing = self._failing or module
            return
        inputs = (*args, *kwargs.values())
        if isinstance(module, EmulatedLinear) or is_plain(module, nn.Linear):
            macs, weights = output.numel() * module.in_features, module.weight.numel()
            read = (inputs[0].numel(), 0)
            self._note(module, "linear", macs, module.in_features, weights, read=read)
        elif isinstance(module, EmulatedConv2d) or is_plain(module, nn.Conv2d, SameConv2d):
            fan_in = module.weight[0].numel()
            macs, weights = output.numel() * fan_in, module.weight.numel()
            self._note(module, "conv", macs, fan_in, weights, read=(inputs[0].numel(), 0))
        elif isinstance(module, MatrixProduct | EmulatedMatmul):
            x, y = inputs
            macs, read = output.numel() * x.shape[-1], (x.numel(), y.numel())
            self._note(module, module.kind, macs, x.shape[-1], 0, read=read)

    def _at_work(self) -> Who:
        module = self._running[-1] if self._running else self.network
        return module, self._is_shown(module)

    def _is_shown(self, module: nn.Module) -> bool:
        layer, expert = self.expert_of.get(module, (None, None))
        return layer is not None and expert is not None and layer.showing_all

    def _function(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func is F.scaled_dot_product_attention:
            output = self._attention(func, *args, **kwargs)
        elif func in READERS and self._running:
            output = self._product(self._running[-1], func, args, kwargs)
        else:
            output = func(*args, **kwargs)
        self._constants.note(func, args, kwargs, output)
        return output

    def _product(self, owner: nn.Module, func: Any, args: Any, kwargs: Any) -> Any:
        """Note a product that ``owner`` calls, unless it is what a layer is for."""
        output = func(*args, **kwargs)
        if _is_layer(owner) or isinstance(owner, ExpertLayer):
            return output
        name = READERS[func][0]
        key = name, self._calls[-1][name]
        self._calls[-1][name] += 1
        call = read(func, args, kwargs)
        if call is None:
            return output
        known = self.functions.setdefault(owner, {})
        if key not in known:
            known[key] = self._made(owner, key, call)
        product = known[key]
        if product is None:
            return output
        form = self._form(owner, product, call)
        weights = form.y.numel() if product.held else 0
        fan_in = form.seen[0].shape[-1] if form.kind == "matmul" else form.y[0].numel()
        read_of = form.seen[0].numel(), 0 if product.held else form.seen[1].numel()
        macs, suffix = macs_of(call, output), f".{product.name}"
        self._note(owner, form.kind, macs, fan_in, weights, read=read_of, suffix=suffix)
        if self._makes is not None:
            if product.layer is None:
                product.layer = self._makes.layer_of(owner, product, form)
            product.layer.observed(*form.seen)
        return output

    def _made(self, owner: nn.Module, key: tuple[str, int], call: Call) -> Product | None:
        """A product that is met first; None if both operands are constant, or not in float32."""
        if any(operand.dtype != torch.float32 for operand in call.operands):
            return None
        first, second = (operand in self._constants for operand in call.operands)
        if first and second:
            return None
        name = f"{key[0]}_{key[1]}"
        while hasattr(owner, name):
            name += "_"
        held: Held = "second" if second else "first" if first else None
        if held == "first" and isinstance(call, Convolution):
            held = None
        holds_bias = call.bias is not None and call.bias in self._constants
        return Product(name, held, holds_bias)

    def _form(self, owner: nn.Module, product: Product, call: Call) -> Form:
        """How a product computes a call; what changes from call to call is no weight."""
        form = product.form(call)
        if product.held is None or form.kind == "matmul":
            product.held = None
            return form
        if product.weight is None:
            product.weight = form.y.detach()
            given = call.operands[product.held == "second"]
            self._held_storages.add(given.untyped_storage().data_ptr())
        elif not is_same(product.weight, form.y):
            if product.layer is not None and product.layer.observers is not None:
                raise InputError(
                    f"{self.names[owner] or 'the network'} multiplies by one of several weights in "
                    f"{product.name}, as the data decide: let each weight be a layer of its own, "
                    f"as experts are"
                )
            product.held = product.layer = None
            return product.form(call)
        return form

    def unreached(self) -> Iterator[str]:
        """Names of modules with weights that did not run, and whose weights nobody else took."""
        for module, name in self.names.items():
            if module in self.entered or isinstance(module, nn.Embedding | nn.EmbeddingBag):
                continue
            weights = [p for p in module.parameters(recurse=False) if p.dim() > 1]
            storages = {weight.untyped_storage().data_ptr() for weight in weights}
            if weights and not storages <= self._held_storages:
                yield name

    def _attention(
        self,
        original: Callable[..., torch.Tensor],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        owner, q, k, v = self._running[-1], query, key, value
        products = q.numel() // q.shape[-1] * k.shape[-2]
        macs, read = products * q.shape[-1], (q.numel(), k.numel())
        self._note(owner, "qk", macs, q.shape[-1], 0, read=read, suffix=".qk")
        macs, read = products * v.shape[-1], (products, v.numel())
        self._note(owner, "av", macs, k.shape[-2], 0, read=read, suffix=".av")
        if self._makes is None:
            return original(q, k, v, *args, **kwargs)
        return self._makes.attention_of(owner).attend(original, q, k, v, *args, **kwargs)

    def _note(
        self,
        module: nn.Module,
        kind: SiteKind,
        macs: int,
        fan_in: int,
        weights: int,
        *,
        read: tuple[int, int],
        suffix: str = "",
    ) -> None:
        """Note one call; ``read`` counts its activations that are first and second operands."""
        if macs:
            self.entered.add(module)
        shown = self._is_shown(module)
        self._tally.noted[module, shown] += macs
        layer, expert = self.expert_of.get(module, (None, None))
        if expert is not None and not shown:
            return
        if layer is not None and expert is None:
            kind = "router"
        name = (self.names[module] + suffix).removeprefix(".")
        earlier = self._tally.sites.get(name)
        self._tally.sites[name] = Site(
            name=name,
            kind=kind,
            macs=macs + (earlier.macs if earlier else 0),
            fan_in=fan_in,
            weights=weights,
            expert_layer=self.names[layer] if layer is not None else None,
            expert=expert,
            inputs=sum(read) + (earlier.inputs if earlier else 0),
            second_inputs=read[1] + (earlier.second_inputs if earlier else 0),
        )


def _is_layer(module: nn.Module) -> bool:
    """Whether what ``module`` multiplies is one site, its own."""
    return isinstance(module, EmulatedSite | MatrixProduct) or is_layer(module)


def _experts_of(network: nn.Module) -> Iterator[tuple[nn.Module, tuple[ExpertLayer, int | None]]]:
    """Modules inside expert layers, with their layer and expert (None for the router)."""
    for layer in network.modules():
        if isinstance(layer, ExpertLayer):
            for module in layer.router_modules():
                yield module, (layer, None)
            for index, expert in enumerate(layer.experts):
                for module in expert.modules():
                    yield module, (layer, index)
