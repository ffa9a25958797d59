"""What hardware needs to know of a site, and vectors to check it with.

Codes are those that the circuit is fed, so that rounded operands are rounded here already and a
memory or an input register can hold them as they are.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from luts import Arithmetic, Geometry, Scaling, quantise
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._emulate import EmulatedNetwork
from models.emulation._hooks import looking_at
from models.emulation._layers import EmulatedSite
from models.emulation._layers import EmulatedWeightSite as WeightSite
from models.emulation._matmul import EmulatedMatmul
from models.emulation._products import by_code
from models.emulation._quantise import positive_scale
from models.emulation._site import Site
from models.networks import Inputs, every_expert_sees_everything

Codes = npt.NDArray[np.int8]
Sums = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class SiteParameters:
    """A site's constants in inference: ``output = float32(sum) · factor + offset``.

    Attributes:
        site: the site.
        arithmetic: circuit, operand order, rounding.
        input_scale: value of one code of each operand that is an activation, shape ``(1,)``, or
            ``(2,)`` for a product of two activations.
        factor: ``(out,)``, or ``(1,)`` for a product of two activations; with the gain of a
            BatchNorm that the site does the work of.
        offset: ``(out,)``, bias and correction, and that BatchNorm's shift; None for a product of
            two activations.
        weight_codes: as fed, in the weight's shape; None for a product of two activations.
        weight_scale: value of one weight code, ``(out,)``, or None.
        bias: the network's own, ``(out,)``, or None.
        correction: what bias correction adds, ``(out,)``, or None.
        geometry: a convolution's window, else None.
        folds_batchnorm: whether `factor` and `offset` include a BatchNorm.
    """

    site: Site
    arithmetic: Arithmetic
    input_scale: Floats
    factor: Floats
    offset: Floats | None
    weight_codes: Codes | None
    weight_scale: Floats | None
    bias: Floats | None
    correction: Floats | None
    geometry: Geometry | None
    folds_batchnorm: bool

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays there are, by name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """A few outputs of a site as one matrix product.

    Attributes:
        activations: ``(M, K)``, as fed; K in the order of the flattened weight.
        weights: ``(K, N)``, as fed; of a product of two activations the second one.
        sums: ``(M, N)``.
        positions: which rows of the flattened accumulators (all dimensions but the channels') they
            are, ``(M,)``; of attention products, rows of the first batch entry and head.
    """

    activations: Codes
    weights: Codes
    sums: Sums
    positions: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class GoldenVectors:
    """What goes through a site for some inputs of the network.

    Attributes:
        input_codes: the first operand as fed; ``(…, in)``, ``(B, C, H, W)`` or ``(…, M, K)``.
        second_codes: the second operand as fed, ``(…, K, N)``, for a product of two activations.
        accumulators: exact sums of the circuit's products, int32.
        outputs: the scaled sums, float32, as the network computes them.
        output_scale: value of one code of the outputs, ``(1,)``: the largest of them is code 127.
        output_codes: the outputs as int8 at that scale, half to even.
        is_routed: whether the items are those that the router sends here; else, where it sends
            none, all of the layer's.
        tile: a few of the outputs.
    """

    input_codes: Codes
    second_codes: Codes | None
    accumulators: Sums
    outputs: Floats
    output_scale: Floats
    output_codes: Codes
    is_routed: bool
    tile: Tile

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays there are, by name; those of the tile begin with ``tile_``."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values |= {
            f"tile_{f.name}": getattr(self.tile, f.name) for f in dataclasses.fields(self.tile)
        }
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


@torch.no_grad()
def site_parameters(emulated: EmulatedNetwork, name: str) -> SiteParameters:
    """The constants of one site.

    Args:
        emulated: a network in evaluation mode.
        name: of the site.
    """
    layer = emulated.layer(name)
    layer.sync_scale_()
    site = next(site for site in emulated.sites if site.name == name)
    scaling, folds = _scaling(emulated, layer)
    weight_codes = weight_scale = bias = correction = None
    if isinstance(layer, WeightSite):
        codes, scale = layer.weight_codes()
        weight_codes, weight_scale = _numpy(_fed(codes, layer.arithmetic, 1)), _numpy(scale)
        bias = None if layer.bias is None else _numpy(layer.bias)
        correction = _numpy(layer.correction)
    return SiteParameters(
        site=site,
        arithmetic=layer.arithmetic,
        input_scale=_numpy(layer.x_scale),
        factor=_numpy(scaling.factor),
        offset=None if scaling.offset is None else _numpy(scaling.offset),
        weight_codes=weight_codes,
        weight_scale=weight_scale,
        bias=bias,
        correction=correction,
        geometry=layer.task().geometry if isinstance(layer, EmulatedConv2d) else None,
        folds_batchnorm=folds,
    )


@torch.no_grad()
def golden_vectors(
    emulated: EmulatedNetwork,
    inputs: torch.Tensor | Inputs,
    names: Collection[str],
    *,
    positions: int,
    channels: int,
) -> Mapping[str, GoldenVectors]:
    """What goes through some sites when the network gets ``inputs``.

    Args:
        emulated: the network; left as it is.
        inputs: one batch.
        names: of the sites.
        positions: outputs of a channel in each tile, at most.
        channels: channels in each tile, at most, all of one group.

    Returns:
        Vectors by site; a site that the network does not call for these inputs, or calls with
        nothing, is not among them.
    """
    seen = _operands(emulated, inputs, names)
    return {
        name: _vectors(emulated, emulated.layer(name), *seen[name], positions, channels)
        for name in names
        if name in seen
    }


def _operands(
    emulated: EmulatedNetwork, inputs: torch.Tensor | Inputs, names: Collection[str]
) -> dict[str, tuple[tuple[torch.Tensor, ...], bool]]:
    """The operands of each site's first call with any item, and whether a router sent them."""
    seen: dict[str, tuple[tuple[torch.Tensor, ...], bool]] = {}

    def look(name: str, owner: nn.Module | None) -> Any:
        def keep(module: nn.Module, operands: tuple[torch.Tensor, ...]) -> None:
            is_routed = not (owner is not None and getattr(owner, "showing_all", False))
            known = seen.get(name)
            if operands[0].numel() and (known is None or (is_routed and not known[1])):
                seen[name] = tuple(o.detach().clone() for o in operands), is_routed

        return emulated.layer(name).register_forward_pre_hook(keep)

    owners = {
        site.name: emulated.network.get_submodule(site.expert_layer)
        for site in emulated.sites
        if site.expert_layer is not None
    }
    handles = [look(name, owners.get(name)) for name in names]
    with looking_at(emulated, handles), every_expert_sees_everything(emulated.network):
        emulated(inputs)
    return seen


def _vectors(
    emulated: EmulatedNetwork,
    layer: EmulatedSite,
    operands: tuple[torch.Tensor, ...],
    is_routed: bool,
    positions: int,
    channels: int,
) -> GoldenVectors:
    scaling, _ = _scaling(emulated, layer, folds=operands[0].dim() != 3)
    arithmetic, selection = layer.arithmetic, layer.selection()
    x, second, channel_dim = operands[0], None, -1
    if isinstance(layer, WeightSite):
        weights, operand = _fed(layer.weight_codes()[0], arithmetic, 1), layer.prepared()[1]
        if isinstance(layer, EmulatedConv2d):
            x, channel_dim = layer.unevenly_padded(x if x.dim() == 4 else x.unsqueeze(0)), -3
            codes = quantise(x, scaling.x)
            sums = selection.convolve(codes, operand)
        else:
            codes = quantise(x, scaling.x)
            sums = selection.linear(codes, operand)
        fed = _fed(codes, arithmetic, 0)
        tile = _layer_tile(layer, fed, weights, sums, positions, channels)
    else:
        assert scaling.y is not None
        codes, second = quantise(x, scaling.x), quantise(operands[1], scaling.y)
        sums = selection.batched(codes, second)
        fed, second = _fed(codes, arithmetic, 0), _fed(second, arithmetic, 1)
        tile = _product_tile(fed, second, sums, positions, channels)
    _check(tile, arithmetic)
    outputs = scaling.apply(sums, channel_dim=channel_dim)
    output_scale = positive_scale(outputs.abs().amax().reshape(1))
    return GoldenVectors(
        input_codes=_numpy(fed),
        second_codes=None if second is None else _numpy(second),
        accumulators=_numpy(sums),
        outputs=_numpy(outputs),
        output_scale=_numpy(output_scale),
        output_codes=_numpy(quantise(outputs, output_scale)),
        is_routed=is_routed,
        tile=tile,
    )


def _scaling(
    emulated: EmulatedNetwork, layer: EmulatedSite, *, folds: bool = True
) -> tuple[Scaling, bool]:
    """What inference scales a layer's sums with, and whether a BatchNorm is in it."""
    if isinstance(layer, EmulatedMatmul):
        return layer.scaling(), False
    assert isinstance(layer, WeightSite)
    scaling = layer.scaling(layer.prepared()[0])
    if folds and isinstance(layer, EmulatedConv2d) and layer.follower is not None:
        (follower,) = layer.follower
        with emulated.folding():
            if follower.is_foldable():
                return follower.folded(scaling), True
    return scaling, False


def _fed(codes: torch.Tensor, arithmetic: Arithmetic, port: int) -> torch.Tensor:
    """What the circuit gets for ``codes`` of activations (port 0) or weights (port 1)."""
    table = torch.from_numpy(arithmetic.fed_codes[port].view(np.int8).copy())
    return by_code(table.to(codes.device), codes)


def _spread(total: int, count: int) -> torch.Tensor:
    """Numbers from the first to the last of ``total``, evenly."""
    return torch.linspace(0, total - 1, min(count, total)).round().long()


def _layer_tile(
    layer: WeightSite,
    x: torch.Tensor,
    weights: torch.Tensor,
    sums: torch.Tensor,
    positions: int,
    channels: int,
) -> Tile:
    geometry = layer.task().geometry
    rows = x.reshape(-1, x.shape[-1])
    flat = sums.reshape(-1, sums.shape[-1])
    if isinstance(layer, EmulatedConv2d):
        kernel = {"dilation": geometry.dilation, "padding": geometry.padding}
        windows = F.unfold(x.float(), geometry.kernel, stride=geometry.stride, **kernel)
        group = windows.chunk(geometry.groups, dim=1)[0]
        rows = group.transpose(1, 2).reshape(-1, group.shape[1]).to(torch.int8)
        flat = sums.permute(0, 2, 3, 1).reshape(-1, sums.shape[1])
    columns = min(channels, len(weights) // geometry.groups)
    at = _spread(len(rows), positions)
    return Tile(
        activations=_numpy(rows[at]),
        weights=_numpy(weights[:columns].flatten(1).t()),
        sums=_numpy(flat[at, :columns]),
        positions=_numpy(at),
    )


def _product_tile(
    x: torch.Tensor, y: torch.Tensor, sums: torch.Tensor, positions: int, channels: int
) -> Tile:
    rows, columns, first = (t.reshape(-1, *t.shape[-2:])[0] for t in (x, y, sums))
    at = _spread(len(rows), positions)
    return Tile(
        activations=_numpy(rows[at]),
        weights=_numpy(columns[:, :channels]),
        sums=_numpy(first[at, :channels]),
        positions=_numpy(at),
    )


def _check(tile: Tile, arithmetic: Arithmetic) -> None:
    """The emulator's sums against the truth table, product by product."""
    table = arithmetic.multiplier.signed_table
    x = tile.activations.view(np.uint8)[:, :, None]
    w = tile.weights.view(np.uint8)[None]
    products = table[w, x] if arithmetic.swapped else table[x, w]
    assert np.array_equal(products.astype(np.int64).sum(axis=1), tile.sums)


def _numpy(values: torch.Tensor) -> Any:
    return np.array(values.detach().cpu().numpy(), order="C")
