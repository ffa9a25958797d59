"""Mixtures of experts of others, as ours: experts that are charged by how often they work.

A block that holds its experts in an `nn.ModuleList` or `nn.ModuleDict` keeps its own forward; what
each expert is given is counted. Experts whose weights are slices of one tensor (Hugging Face's
since transformers 5) become modules, one after the other.
"""

import copy
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from luts.errors import InputError
from models.networks._expert_shaped import ROUTERS, fused_weights, is_slotted
from models.networks._experts import ExpertLayer

EXPERTS = ("experts",)
"""Names under which blocks are known to hold experts."""


class Mixture(ExpertLayer):
    """A block of somebody's, whose experts are known.

    Args:
        block: called as before; its experts are found under ``experts``.
        experts: the attribute of ``block`` that holds the experts.
        routers: attributes of ``block`` whose products choose experts; so do those that the block
            calls itself.
        top_k: experts that work on one item, until the first forward counts them.
    """

    def __init__(
        self, block: nn.Module, experts: str, routers: tuple[str, ...], top_k: int = 1
    ) -> None:
        held = getattr(block, experts)
        fused = isinstance(held, Unfused)
        each = [*held.values()] if isinstance(held, nn.ModuleDict) else [*held]
        super().__init__(each, granularity="token", top_k=top_k)
        self.block = block
        self.routers = tuple(f"block.{name}" for name in routers)
        self.says_choices = fused
        self._experts_at = f"block.{experts}"
        self._counts = [0] * len(each)
        for index, expert in enumerate(each):
            hook = functools.partial(self._count, index)
            expert.register_forward_pre_hook(hook, with_kwargs=True)
        self.train(block.training)

    def _count(self, index: int, expert: nn.Module, args: Any, kwargs: Any) -> None:
        if not self.showing_all:
            self._counts[index] += _first_of(args, kwargs).shape[:-1].numel()

    def router_modules(self) -> Iterator[nn.Module]:
        """Modules whose products choose experts."""
        yield self.block
        for name in self.routers:
            yield from self.get_submodule(name).modules()

    def overhead_macs(self, items: int) -> int:
        """Outputs are multiplied by gates."""
        return items * self.top_k * self.outputs

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the block."""
        self._counts = [0] * self.num_experts
        output = self.block(*args, **kwargs)
        x = _first_of(args, kwargs)
        self.items, self.outputs = x.shape[:-1].numel(), x.shape[-1]
        self.work = torch.tensor(self._counts, dtype=torch.float64)
        if self.items:
            self.top_k = max(1, round(sum(self._counts) / self.items))
        fused = self.get_submodule(self._experts_at)
        if isinstance(fused, Unfused) and self.keeps_choices:
            self.choices = fused.chosen
        return output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)


def _first_of(args: Any, kwargs: Any) -> torch.Tensor:
    """The first tensor among arguments: the items."""
    return next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))


class Unfused(nn.ModuleList):
    """Experts whose weights were slices of one tensor, called as Hugging Face calls these.

    Args:
        experts: one after the other.
    """

    chosen: torch.Tensor | None = None

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Sum over ``k`` of ``top_k_weights[:, k] · E_top_k_index[:, k](hidden_states)``."""
        items = hidden_states.reshape(-1, hidden_states.shape[-1])
        self.chosen = top_k_index.detach()
        output = torch.zeros_like(items)
        for index, expert in enumerate(self):
            rows, slot = (top_k_index == index).nonzero(as_tuple=True)
            if len(rows):
                part = expert(items[rows]) * top_k_weights[rows, slot, None]
                output = output.index_add(0, rows, part.to(output.dtype))
        return output.view(hidden_states.shape)


class Slotted(nn.ModuleList):
    """Experts whose weights were slices of one tensor, each with slots of its own.

    Args:
        experts: one after the other.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(experts, slots, in)`` → ``(experts, slots, out)``."""
        return torch.stack([expert(slots) for expert, slots in zip(self, x, strict=True)])


class GatedExpert(nn.Module):
    """One expert of a fused layer: up, gate, down.

    Args:
        up: the projection up, together with that of the gate if there is one.
        down: the projection down.
        source: the fused layer without its parameters, which knows the activation.
    """

    def __init__(self, up: nn.Linear, down: nn.Linear, source: nn.Module) -> None:
        super().__init__()
        self.up_proj, self.down_proj = up, down
        self.source = source

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(items, in)`` → ``(items, out)``."""
        y = self.up_proj(x)
        source: Any = self.source
        y = source._apply_gate(y) if source.has_gate else source.act_fn(y)
        output: torch.Tensor = self.down_proj(y)
        return output


class DbrxExpert(nn.Module):
    """One expert of Hugging Face's DBRX.

    Args:
        w1: weight of the gate, ``(hidden, in)``.
        v1: weight up, ``(hidden, in)``.
        w2: weight down, ``(hidden, out)``.
        activation: of the gate.
    """

    def __init__(
        self, w1: torch.Tensor, v1: torch.Tensor, w2: torch.Tensor, activation: nn.Module
    ) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = _linear(w1), _linear(v1), _linear(w2.t())
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(items, in)`` → ``(items, out)``."""
        y: torch.Tensor = self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))
        return y


def adapt(network: nn.Module, mixtures: Mapping[str, str] | None = None) -> nn.Module:
    """A copy of ``network`` whose mixtures of experts are known as such.

    Each expert then has sites of its own, which are charged by how often it works
    (`measure_routing`); routers are kept exact. What the network computes stays the same.

    A block is recognised by a child ``experts`` beside one that chooses (`ROUTERS`): an
    `nn.ModuleList` or `nn.ModuleDict`; or a layer that transformers marks with
    ``use_experts_implementation``, or DBRX's; or the ``Experts`` of lucidrains.

    Args:
        network: any network; it stays as it is.
        mixtures: qualified name of a block → name of its child with the experts, for blocks that
            are not recognised.

    Raises:
        InputError: nothing was recognised; a block or child is not there or holds no experts; or a
            block has experts in one tensor, in a form that is not known.
    """
    copied = copy.deepcopy(network)
    given = dict(mixtures or {})
    for name, child in given.items():
        _check_given(copied, name, child)
    named = {module for name in given for module in copied.get_submodule(name).modules()}
    found = given | dict(_recognised(copied, named))
    if not found:
        raise InputError(
            f"{type(network).__name__} has no mixture of experts that is recognised: name each "
            f"block and its child with the experts, {{'block': 'experts'}}"
        )
    for name, child in found.items():
        block = copied.get_submodule(name)
        held = getattr(block, child)
        top_k = _top_k(block, held)
        if not isinstance(held, nn.ModuleList | nn.ModuleDict):
            setattr(block, child, _unfused(held, f"{name}.{child}"))
        routers = tuple(r for r in ROUTERS if isinstance(getattr(block, r, None), nn.Module))
        made = Mixture(block, child, routers, top_k)
        if not name:
            return made
        copied.set_submodule(name, made)
    return copied


def _check_given(network: nn.Module, name: str, child: str) -> None:
    try:
        held = getattr(network.get_submodule(name), child)
    except AttributeError as error:
        raise InputError(
            f"{type(network).__name__} has no {name}.{child} ({error}); its modules are in "
            f"named_modules()"
        ) from error
    if not (isinstance(held, nn.ModuleList | nn.ModuleDict) and len(held)) and not _is_fused(held):
        raise InputError(
            f"{name}.{child} is a {type(held).__name__}, which holds no experts that can be told "
            f"apart: give a block whose experts are an nn.ModuleList or nn.ModuleDict"
        )


def _recognised(network: nn.Module, named: set[nn.Module]) -> Iterator[tuple[str, str]]:
    """Blocks with experts but those that were ``named``, and the child that holds them.

    Raises:
        InputError: a tensor looks like the weights of several experts.
    """
    known = set(named)
    for name, block in network.named_modules():
        if isinstance(block, ExpertLayer) or block in known:
            known.update(block.modules())
            continue
        for child in EXPERTS:
            held = getattr(block, child, None)
            if isinstance(held, nn.Module) and _holds_experts(block, held):
                known.update(held.modules())
                yield name, child
        if block not in known and (found := fused_weights(network, name)):
            remedy = "make each expert a module of an nn.ModuleList"
            if _is_fused(block):
                remedy = "it lies under a name that is not known"
            raise InputError(
                f"{found} looks like the weights of experts, in a form that is not known: "
                f"{remedy}, and name it to models.adapt"
            )


def check_experts(network: nn.Module) -> None:
    """Refuse experts whose weights are slices of one tensor: they would be taken for one layer.

    Raises:
        InputError: there are such, which `adapt` has not seen.
    """
    known = {m for e in network.modules() if isinstance(e, ExpertLayer) for m in e.modules()}
    for name, block in network.named_modules():
        if block not in known and (found := fused_weights(network, name)):
            raise InputError(
                f"{found} looks like the weights of experts: give models.adapt(network), which "
                f"makes each expert of the forms that it knows a module, or make each a module "
                f"yourself"
            )


def _holds_experts(block: nn.Module, held: nn.Module) -> bool:
    if _is_fused(held):
        return True
    return (
        isinstance(held, nn.ModuleList | nn.ModuleDict)
        and len(held) > 1
        and any(isinstance(getattr(block, r, None), nn.Module | nn.Parameter) for r in ROUTERS)
    )


def _is_fused(held: Any) -> bool:
    """Whether transformers marks a layer as one of experts, or it is DBRX's."""
    if is_slotted(held):
        return True
    is_marked = all(hasattr(held, flag) for flag in ("has_gate", "has_bias", "is_transposed"))
    plain = not getattr(held, "has_post_expert_norm", False)
    return (is_marked and plain) or type(held).__name__ == "DbrxExperts"


def _top_k(block: nn.Module, held: nn.Module) -> int:
    places = [block, *(getattr(block, router, None) for router in ROUTERS)]
    places += [getattr(place, "config", None) for place in (held, block)]
    for place in places:
        for name in ("top_k", "num_experts_per_tok", "moe_top_k", "k"):
            number = getattr(place, name, None)
            if isinstance(number, int) and number > 0:
                return number
    return 1


def _linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return made


def _unfused(held: Any, name: str) -> nn.ModuleList:
    """The experts of a fused layer, one after the other."""
    if type(held).__name__ == "DbrxExperts":
        shape = -1, held.ffn_hidden_size, held.hidden_size
        mlp = held.mlp
        each = zip(*(w.view(shape).unbind() for w in (mlp.w1, mlp.v1, mlp.w2)), strict=True)
        return Unfused([DbrxExpert(w1, v1, w2, mlp.activation_fn) for w1, v1, w2 in each])
    if is_slotted(held):
        pairs = zip(held.w1.unbind(), held.w2.unbind(), strict=True)
        made = ((_linear(w1.t()), held.act, _linear(w2.t())) for w1, w2 in pairs)
        return Slotted([nn.Sequential(*layers) for layers in made])
    up = "gate_up_proj" if held.has_gate else "up_proj"
    projections = []
    for key in (up, "down_proj"):
        weights = getattr(held, key, None)
        if weights is None or weights.dim() != 3:
            raise InputError(f"{name} ({type(held).__name__}) has no weights {key} of 3 dimensions")
        weights = weights.transpose(1, 2) if held.is_transposed else weights
        biases = getattr(held, f"{key}_bias") if held.has_bias else [None] * len(weights)
        projections.append([_linear(w, b) for w, b in zip(weights, biases, strict=True)])
    source = copy.copy(held)
    source._parameters = {}
    return Unfused([GatedExpert(u, d, source) for u, d in zip(*projections, strict=True)])
