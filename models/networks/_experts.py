"""What all mixture-of-experts layers share: experts, a count of who did the work, upcycling.

An *item* is what is routed: a token in a transformer, an image in a convolutional network.
"""

import abc
import contextlib
import copy
import itertools
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

Granularity = Literal["token", "image"]

FEWEST_IMAGES = 2
"""In training, an expert that gets fewer images normalises by its running statistics: one image
says little about a batch, and a single value has no variance at all."""


class ExpertLayer(nn.Module, abc.ABC):
    """A layer whose work is done by experts.

    Attributes:
        experts: the experts; each maps items to items of one common shape.
        granularity: ``"token"``: the last dimension is the feature and all others are items.
            ``"image"``: the first dimension counts the items.
        top_k: experts that work on one item.
        auxiliary_loss: the load-balancing term of the latest training forward, else None.
        work: items that each expert worked on in the latest forward, float64 of shape ``(E,)``.
        items: items of the latest forward.
        outputs: numbers that one item becomes, in the latest forward.
        fixed_work: every input uses the experts alike, so `work` does not depend on data.
        says_choices: it can say which expert works on which item.
        keeps_choices: keep `choices`.
        choices: expert of every item in the latest forward, int64 of shape ``(items, top_k)``, or
            None where nobody asked or the layer does not choose.
        showing_all: the experts are being shown all items (`every_expert_sees_everything`).
    """

    fixed_work = False
    says_choices = True

    def __init__(
        self, experts: list[nn.Module], *, granularity: Granularity, top_k: int = 1
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.granularity = granularity
        self.top_k = top_k
        self.auxiliary_loss: torch.Tensor | None = None
        self.work = torch.zeros(len(experts), dtype=torch.float64)
        self.items = 0
        self.outputs = 0
        self.keeps_choices = False
        self.choices: torch.Tensor | None = None
        self.showing_all = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave the loss of the latest forward out of copies: it hangs on that forward's graph."""
        return {**self.__dict__, "auxiliary_loss": None}

    @property
    def num_experts(self) -> int:
        """Number of experts."""
        return len(self.experts)

    @property
    def executions(self) -> float:
        """Expert runs for one item: the sum of the activation rates."""
        return float(self.top_k)

    def router_modules(self) -> Iterator[nn.Module]:
        """Modules whose products choose experts: all that are no expert."""
        return (module for module in self.modules() if module is not self)

    def to_items(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with one item per row: ``(items, …)``."""
        return x.reshape(-1, x.shape[-1]) if self.granularity == "token" else x

    @abc.abstractmethod
    def overhead_macs(self, items: int) -> int:
        """MACs of this layer's own that are not sites, for ``items`` items (one image's)."""

    def dispatch(
        self, items: torch.Tensor, chosen: torch.Tensor, gates: torch.Tensor | None
    ) -> torch.Tensor:
        """Sum over ``k`` of ``gates[:, k] · E_chosen[:, k](items)``.

        Args:
            items: shape ``(items, …)``.
            chosen: expert of each item, int64 of shape ``(items, top_k)``.
            gates: factor of each choice, shape ``(items, top_k)``, or None for 1.
        """
        output: torch.Tensor | None = None
        for index, expert in enumerate(self.experts):
            rows, slot = (chosen == index).nonzero(as_tuple=True)
            if not len(rows):
                continue
            part = self._run(expert, items[rows])
            if gates is not None:
                shape = (-1, *[1] * (part.dim() - 1))
                part = part * gates[rows, slot].reshape(shape).to(part.dtype)
            if output is None:
                output = _zeros(len(items), part)
            output = _with_rows(output, rows, part)
        if output is not None:
            output = output.contiguous()  # readers' sums round by the order of memory
        else:  # no items at all: the shape still follows from an expert
            output = self._run(self.experts[0], items)
        self.work = torch.bincount(chosen.flatten().cpu(), minlength=self.num_experts).double()
        self.items = len(items)
        self.outputs = output[:1].numel()
        self.choices = chosen.detach() if self.keeps_choices else None
        return output

    def _run(self, expert: nn.Module, items: torch.Tensor) -> torch.Tensor:
        few = self.training and self.granularity == "image" and len(items) < FEWEST_IMAGES
        with _running_statistics(expert) if few else contextlib.nullcontext():
            output: torch.Tensor = expert(items)
        return output


def _zeros(count: int, part: torch.Tensor) -> torch.Tensor:
    """Zeros for so many items like those of ``part``; channels last where no gradient is asked.

    With one the order stays PyTorch's own, as float convolutions round otherwise in another. Nobody
    asks how ``part`` lies in memory: a network that does gets its convolutions' outputs in
    PyTorch's order, which is slower.
    """
    if torch.is_grad_enabled() or part.dim() != 4:
        return part.new_zeros((count, *part.shape[1:]))
    _, channels, rows, columns = part.shape
    return part.new_zeros((count, rows, columns, channels)).permute(0, 3, 1, 2)


def _with_rows(output: torch.Tensor, rows: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """``output`` with ``part`` added to its ``rows``; in place where no gradient is asked."""
    if torch.is_grad_enabled():
        return output.index_add(0, rows, part)
    if part.dim() != 4:
        return output.index_add_(0, rows, part)
    # Items that lie in the order of their dimensions are added several times as fast.
    output.permute(0, 2, 3, 1).index_add_(0, rows, part.permute(0, 2, 3, 1))
    return output


@contextlib.contextmanager
def _running_statistics(module: nn.Module) -> Iterator[None]:
    """Inside, batch normalisations in ``module`` use their running statistics."""
    training = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    try:
        for norm in training:
            norm.eval()
        yield
    finally:
        for norm in training:
            norm.train()


def upcycled(
    expert: nn.Module, count: int, *, noise: float, seed: int, dropped: float = 0.0
) -> list[nn.Module]:
    """``count`` copies of ``expert``, each with its own noise on the weight matrices.

    Sparse upcycling (Komatsuzaki et al., ICLR 2023, arXiv 2212.05055), with noise that breaks the
    experts' symmetry. With ``dropped``, drop-upcycling (Nakamura et al., ICLR 2025, arXiv
    2502.19261): that part of the channels between an expert's layers, drawn for each expert, starts
    anew, with weights of the same mean and spread.

    Args:
        expert: the trained dense module.
        count: number of copies.
        noise: standard deviation of the noise relative to that of each weight tensor; 0 for equal
            copies.
        seed: of the noise, and of what is dropped.
        dropped: part of the inner channels, 0 to 1; an expert of one layer has none.
    """
    generator = torch.Generator().manual_seed(seed)
    copies = [copy.deepcopy(expert) for _ in range(count)]
    if noise > 0:
        for made in copies:
            for parameter in (p for p in made.parameters() if p.dim() > 1):
                jitter = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.data += noise * parameter.data.std() * jitter
    if dropped > 0:
        for made in copies:
            _drop_(made, dropped, generator)
    return copies


@torch.no_grad()
def _drop_(expert: nn.Module, part: float, generator: torch.Generator) -> None:
    """Start a part of the channels between every two layers anew, going out and coming in."""
    layers = [m for m in expert.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for layer, following in itertools.pairwise(layers):
        inner = len(layer.weight)
        chosen = torch.randperm(inner, generator=generator)[: round(part * inner)]
        for weight, dim in ((layer.weight, 0), (following.weight, 1)):
            if weight.shape[dim] != inner:
                continue  # what is between them is no channel of both
            kept = weight.index_select(dim, chosen.to(weight.device))
            fresh = torch.randn(kept.shape, generator=generator).to(weight)
            fresh = weight.mean() + weight.std() * fresh
            weight.index_copy_(dim, chosen.to(weight.device), fresh)


@contextlib.contextmanager
def every_expert_sees_everything(network: nn.Module) -> Iterator[None]:
    """Inside, every expert first runs on all items of its layer; those outputs are thrown away.

    For hooks and observers on the experts that must see work whatever the router decides.
    """

    def run_all(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(layer, ExpertLayer)
        layer.showing_all = True
        try:
            with torch.no_grad():
                for expert in layer.experts:
                    expert(layer.to_items(inputs[0]))
        finally:
            layer.showing_all = False

    layers = [m for m in network.modules() if isinstance(m, ExpertLayer)]
    handles = [layer.register_forward_pre_hook(run_all) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def auxiliary_loss(network: nn.Module) -> torch.Tensor | None:
    """Sum of the load-balancing terms of the latest training forward, or None without any."""
    terms = [
        m.auxiliary_loss
        for m in network.modules()
        if isinstance(m, ExpertLayer) and m.auxiliary_loss is not None
    ]
    return torch.stack(terms).sum() if terms else None
