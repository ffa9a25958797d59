"""Where in a network a multiplier can be chosen."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import nn

from luts.errors import InputError
from models.emulation._attention import AttentionInterceptor, MatrixProduct
from models.emulation._expose import exposed
from models.emulation._plain import SameConv2d, is_layer, is_plain
from models.emulation._unseen import UnseenProducts
from models.networks import ExpertLayer, every_expert_sees_everything

SiteKind = Literal["linear", "conv", "qk", "av", "router"]


@dataclasses.dataclass(frozen=True)
class Site:
    """One place where a multiplier can be chosen.

    Attributes:
        name: the module's qualified name; for attention products the attention module's name with
            ``.qk`` or ``.av`` added.
        kind: ``linear``, ``conv``, ``qk`` (q·kᵀ), ``av`` (attn·v) or ``router``.
        macs: multiply-accumulates for one input; for an expert's layer, as if every item went to
            it.
        fan_in: products summed into one output.
        weights: weights held, 0 for attention products.
        expert_layer: qualified name of the expert layer it belongs to, or None.
        expert: index of the expert in that layer, or None.
        inputs: activations read for one input, counted as ``macs`` are; 0 where nobody counted.
        second_inputs: those of ``inputs`` that are second operands: k in q·kᵀ, v in attn·v.
    """

    name: str
    kind: SiteKind
    macs: int
    fan_in: int
    weights: int = 0
    expert_layer: str | None = None
    expert: int | None = None
    inputs: int = 0
    second_inputs: int = 0


def sites(network: nn.Module, example_input: torch.Tensor) -> tuple[Site, ...]:
    """The sites of ``network`` in the order in which it uses them.

    Every `nn.Linear`, every `nn.Conv2d` (timm's ``Linear``, ``Conv2dSame`` and ``StdConv2d`` too),
    and both products of every `scaled_dot_product_attention` are sites, and so are the projections
    and products of `nn.MultiheadAttention`: ``in_proj`` (where query, key and value are one tensor;
    else ``q_proj``, ``k_proj``, ``v_proj``), ``qk``, ``av`` and ``out_proj``. A module with two
    names has one site. Other products (`nn.Conv1d`, recurrent layers, a plain ``@``) are named in
    one warning.

    Args:
        network: any network of linear layers, convolutions and attention.
        example_input: one batch as the network takes it, ``(B, …)`` with B ≥ 1.

    Raises:
        InputError: the batch is empty, the network has no site, or a layer is not in float32.
    """
    if len(example_input) < 1:
        raise InputError("finding sites takes an example batch of at least one input, not 0")
    return sites_of_exposed(exposed(network, example_input), example_input)


@torch.no_grad()
def sites_of_exposed(network: nn.Module, example_input: torch.Tensor) -> tuple[Site, ...]:
    """As `sites`, of what `exposed` made."""
    recorder = _Recorder(network)
    with recorder.listening(), every_expert_sees_everything(network):
        network(example_input)
    recorder.unseen.warn()
    recorded = recorder.sites(len(example_input))
    if not recorded:
        raise InputError(
            f"{type(network).__name__} has no site: no linear layer, convolution or attention "
            f"product ran on the example input"
        )
    return recorded


class _Recorder:
    """Hooks that note every product a network computes."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.names = {module: name for name, module in network.named_modules()}
        self.membership = dict(_experts_of(network))
        self.running: list[nn.Module] = []
        self.records: dict[str, Site] = {}
        self.unseen = UnseenProducts(self._at_work)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        handles = []
        for module in self.names:
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(
                module.register_forward_hook(self._leave, with_kwargs=True, always_call=True)
            )
        try:
            with self.unseen, AttentionInterceptor(self._attention):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def sites(self, batch_size: int) -> tuple[Site, ...]:
        return tuple(
            dataclasses.replace(
                site,
                macs=math.ceil(site.macs / batch_size),
                inputs=math.ceil(site.inputs / batch_size),
                second_inputs=math.ceil(site.second_inputs / batch_size),
            )
            for site in self.records.values()
        )

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.running.append(module)

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self.running.pop()
        if output is None:
            return
        inputs = (*args, *kwargs.values())
        if is_plain(module, nn.Linear):
            macs, weights = output.numel() * module.in_features, module.weight.numel()
            read = (inputs[0].numel(), 0)
            self._note(module, "linear", macs, module.in_features, weights, read=read)
        elif is_plain(module, nn.Conv2d, SameConv2d):
            fan_in = module.weight[0].numel()
            macs, weights = output.numel() * fan_in, module.weight.numel()
            self._note(module, "conv", macs, fan_in, weights, read=(inputs[0].numel(), 0))
        elif isinstance(module, MatrixProduct):
            x, y = inputs
            macs, read = output.numel() * x.shape[-1], (x.numel(), y.numel())
            self._note(module, module.kind, macs, x.shape[-1], 0, read=read)

    def _at_work(self) -> tuple[str, nn.Module] | None:
        """The running module and its name, unless its products are sites or an expert layer's."""
        if not self.running:
            return None
        module = self.running[-1]
        if isinstance(module, MatrixProduct | ExpertLayer) or is_layer(module):
            return None
        return self.names[module], module

    def _attention(
        self,
        original: Callable[..., torch.Tensor],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        owner, q, k, v = self.running[-1], query, key, value
        products = q.numel() // q.shape[-1] * k.shape[-2]
        macs, read = products * q.shape[-1], (q.numel(), k.numel())
        self._note(owner, "qk", macs, q.shape[-1], 0, read=read, suffix=".qk")
        macs, read = products * v.shape[-1], (products, v.numel())
        self._note(owner, "av", macs, k.shape[-2], 0, read=read, suffix=".av")
        return original(q, k, v, *args, **kwargs)

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
        layer, expert = self.membership.get(module, (None, None))
        if layer is not None and expert is not None and not layer.showing_all:
            return
        if layer is not None and expert is None:
            kind = "router"
        name = self.names[module] + suffix
        earlier = self.records.get(name)
        self.records[name] = Site(
            name=name.removeprefix("."),
            kind=kind,
            macs=macs + (earlier.macs if earlier else 0),
            fan_in=fan_in,
            weights=weights,
            expert_layer=self.names[layer] if layer is not None else None,
            expert=expert,
            inputs=sum(read) + (earlier.inputs if earlier else 0),
            second_inputs=read[1] + (earlier.second_inputs if earlier else 0),
        )


def _experts_of(network: nn.Module) -> Iterator[tuple[nn.Module, tuple[ExpertLayer, int | None]]]:
    """Modules inside expert layers, with their layer and expert (None for the router)."""
    for layer in network.modules():
        if isinstance(layer, ExpertLayer):
            for module in layer.modules():
                if module is not layer:
                    yield module, (layer, None)
            for index, expert in enumerate(layer.experts):
                for module in expert.modules():
                    yield module, (layer, index)
