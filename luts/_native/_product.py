"""Factorised products by the compiled kernels: quantise, multiply, scale in one call."""

import ctypes
import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from luts._geometry import POINT, Geometry
from luts._native._checks import check_factors, check_inner, check_operand, check_unit, need
from luts._native._library import kernels
from luts._native._pack import packed_weight
from luts._native._structures import ProductJob
from luts._staircase import CircuitTerms

MOST_JOBS = 64
"""Kept for one layer; inputs of ever other shapes are no leak."""


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """A layer's weight as the kernels read it (src/pack.c).

    Attributes:
        terms: the circuit.
        geometry: the layer's window.
        channels: input channels.
        columns: output channels of one group.
        w, planes, offsets: the packed arrays.
        jobs: what the kernels are told, by shape and strides of the input.
    """

    terms: CircuitTerms
    geometry: Geometry
    channels: int
    columns: int
    w: torch.Tensor
    planes: torch.Tensor | None
    offsets: torch.Tensor
    jobs: dict[tuple[int, ...], ProductJob] = dataclasses.field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Without addresses, which hold for one copy alone."""
        return {**self.__dict__, "jobs": {}}

    @property
    def out_channels(self) -> int:
        """Output channels of all groups."""
        return self.columns * self.geometry.groups


def padded_channels(channels: int, terms: CircuitTerms) -> int:
    """Channels as they lie in the kernels' codes: whole bytes of every bit plane."""
    return -(-channels // 8) * 8 if terms.depth else channels


def native_pack(w: torch.Tensor, terms: CircuitTerms, geometry: Geometry = POINT) -> Packed:
    """Packs a layer's weight codes.

    Args:
        w: int8 of shape ``(out, in / groups, kernel rows, kernel columns)``.
        terms: the circuit.
        geometry: the layer's window.
    """
    groups = geometry.groups
    check_operand(w, dims=4, codes_only=True)
    need(w.shape[2:] == geometry.kernel, "the weight's window", w.shape[2:], geometry.kernel)
    need(len(w) % groups == 0, "output channels", len(w), f"a multiple of {groups} groups")
    check_inner(w[0].numel() if len(w) else 0)
    out, per_group, *_ = w.shape
    job = _job(terms, geometry, per_group * groups, width=1)
    job.columns = out // groups
    job.v, job.v_masks = terms.v_bytes.ctypes.data, _address(terms.masks[1])
    job.second_plane = terms.second_plane
    packed, planes, offsets = packed_weight(job, w)
    return Packed(
        terms=terms,
        geometry=geometry,
        channels=per_group * groups,
        columns=out // groups,
        w=packed,
        planes=planes if terms.depth else None,
        offsets=offsets,
    )


def native_layer(
    x: torch.Tensor,
    packed: Packed,
    *,
    x_scale: float = 1.0,
    scale: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """A layer's output.

    Args:
        x: ``(batch, channels, rows, columns)``: float32, to be quantised with ``x_scale``, or int8
            codes.
        packed: the weight.
        x_scale: value of one activation code.
        scale: factor of the sums of each output channel, float32 of shape ``(out,)``; None for the
            sums themselves.
        bias: added after, float32 of shape ``(out,)``.

    Returns:
        ``(batch, out, out rows, out columns)`` in channels-last memory: float32, or int32 sums.
    """
    check_operand(x, dims=4)
    out = _empty(x, packed, torch.int32 if scale is None else torch.float32)
    _run_layer(x, packed, out, x_scale=x_scale, scale=scale, bias=bias)
    return out.permute(0, 3, 1, 2)


# One parameter a field of what `luts.Epilogue` says.
def native_emit(  # noqa: PLR0913
    codes: torch.Tensor,
    *,
    packed: Packed,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    added: torch.Tensor | None,
    adds_rectified: bool,
    codes_scale: float | None,
    is_rectified: bool,
    keeps_values: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A layer's output ``y = sums · scale + bias + added`` and the next layer's codes of it.

    Args:
        codes: int8 of shape ``(batch, channels, rows, columns)``.
        packed: the weight.
        scale: factor of the sums of each output channel, float32 of shape ``(out,)``.
        bias: float32 of shape ``(out,)``, or None.
        added: float32 of the output's shape, or None.
        adds_rectified: ``max(added, 0)`` is added.
        codes_scale: value of one of the next layer's codes; None for no codes.
        is_rectified: codes are those of ``max(y, 0)``.
        keeps_values: ``y`` is wanted.

    Returns:
        ``y`` and the codes, each ``(batch, out, out rows, out columns)`` in channels-last memory,
        or None where not asked for.
    """
    check_operand(codes, dims=4, codes_only=True)
    out = _empty(codes, packed, torch.float32) if keeps_values else None
    emitted = None if codes_scale is None else _empty(codes, packed, torch.int8)
    if added is not None:
        size = packed.geometry.out_size(*codes.shape[2:])
        shape = (codes.shape[0], packed.out_channels, *size)
        check_operand(added, dims=4)
        need(added.dtype == torch.float32, "what is added", added.dtype, torch.float32)
        need(tuple(added.shape) == shape, "what is added", tuple(added.shape), shape)
        added = added.permute(0, 2, 3, 1).contiguous()
    if out is None and emitted is None:
        return None, None
    _run_layer(
        codes,
        packed,
        out,
        x_scale=1.0,
        scale=scale,
        bias=bias,
        added=added,
        added_is_rectified=adds_rectified,
        codes=emitted,
        codes_are_rectified=is_rectified,
        codes_scale=codes_scale or 0.0,
    )
    values = None if out is None else out.permute(0, 3, 1, 2)
    return values, None if emitted is None else emitted.permute(0, 3, 1, 2)


def _empty(x: torch.Tensor, packed: Packed, kind: torch.dtype) -> torch.Tensor:
    """Room for a layer's output: ``(batch, out rows, out columns, out)``."""
    size = packed.geometry.out_size(*x.shape[2:])
    return torch.empty(x.shape[0], *size, packed.out_channels, dtype=kind)


def _run_layer(x: torch.Tensor, packed: Packed, out: torch.Tensor | None, **epilogue: Any) -> None:
    check_factors(epilogue["scale"], packed.out_channels)
    check_factors(epilogue["bias"], packed.out_channels)
    if x.stride(1) != 1 and x.shape[1] > 1:
        x = x.contiguous(memory_format=torch.channels_last)
    key = (*x.shape, *x.stride(), torch.get_num_threads())
    known = packed.jobs.get(key)
    if known is None:
        if len(packed.jobs) >= MOST_JOBS:
            packed.jobs.clear()
        known = packed.jobs[key] = _layer_job(x, packed)
    _run(ProductJob.from_buffer_copy(known), x, out, **epilogue)


def _layer_job(x: torch.Tensor, packed: Packed) -> ProductJob:
    """All but what changes from call to call."""
    need(x.shape[1] == packed.channels, "channels", x.shape[1], packed.channels)
    batch, channels, height, width = x.shape
    out_h, out_w = packed.geometry.out_size(height, width)
    n = packed.out_channels
    strides = x.stride()
    if height == width == 1 and packed.geometry == POINT:
        # Many images of one pixel are one image of many rows, which is read at once.
        strides = (batch * strides[0], strides[1], strides[0], strides[3])
        height, out_h, batch = batch, batch, 1
    job = _job(packed.terms, packed.geometry, channels, width)
    job.outer, job.inner, job.x_inner = 1, batch, strides[0]
    job.x_row, job.x_column = strides[2], strides[3] if width > 1 else channels
    job.height, job.width, job.out_h, job.out_w = height, width, out_h, out_w
    job.w, job.w_offsets = packed.w.data_ptr(), packed.offsets.data_ptr()
    job.w_planes = None if packed.planes is None else packed.planes.data_ptr()
    job.columns = packed.columns
    job.out_inner, job.out_pixel = out_h * out_w * n, n
    return job


def native_batched(
    x: torch.Tensor,
    y: torch.Tensor,
    terms: CircuitTerms,
    *,
    x_scale: float = 1.0,
    y_scale: float = 1.0,
    scale: float | None = None,
) -> torch.Tensor:
    """``x @ y`` of operands that both change with each call.

    Args:
        x: ``(…, M, K)``, float32 or int8 codes.
        y: ``(…, K, N)``, likewise.
        terms: the circuit.
        x_scale: value of one code of ``x``.
        y_scale: value of one code of ``y``.
        scale: factor of the sums; None for the sums themselves.
    """
    batch = torch.Size(np.broadcast_shapes(x.shape[:-2], y.shape[:-2]))
    check_operand(x, max(2, x.dim()))
    check_operand(y, max(2, y.dim()))
    x, y = _two_batch_dims(x, batch), _two_batch_dims(y, batch)
    x = x if x.stride(-1) == 1 or x.shape[-1] <= 1 else x.contiguous()
    if 1 not in y.stride()[-2:] and min(y.shape[-2:]) > 1:
        y = y.contiguous()
    (outer, inner, m, k), n = x.shape, y.shape[-1]
    need(y.shape[2] == k, "inner dimensions", (k, y.shape[2]), "equal")
    check_inner(k)
    kind = torch.int32 if scale is None else torch.float32
    out = torch.empty(outer, inner, m, n, dtype=kind)
    job = _job(terms, POINT, k, width=1)
    job.outer, job.inner = outer, inner
    job.x_outer, job.x_inner, job.x_row, job.x_column = *x.stride()[:3], k
    job.height, job.width, job.out_h, job.out_w = m, 1, m, 1
    job.columns = n
    job.second, job.second_is_codes = y.data_ptr(), y.dtype == torch.int8
    job.second_outer, job.second_inner, job.second_k, job.second_n = y.stride()
    if y.stride(-1) != 1 and y.stride(-2) != 1:  # one of the two has a single index
        job.second_k = 1 if k <= 1 else job.second_k
        job.second_n = 1 if k > 1 else job.second_n
    job.v, job.second_scale = terms.v_bytes.ctypes.data, y_scale
    job.v_masks, job.second_plane = _address(terms.masks[1]), terms.second_plane
    job.out_outer, job.out_inner, job.out_pixel = inner * m * n, m * n, n
    factors = None if scale is None else torch.full((n,), scale)
    _run(job, x, out, x_scale=x_scale, scale=factors, bias=None)
    return out.view(*batch, m, n)


def native_quantise(x: torch.Tensor, scale: float) -> torch.Tensor:
    """Codes of ``x`` (float32 on the CPU), in its shape and memory format."""
    need(x.dtype == torch.float32, "what is quantised", x.dtype, torch.float32)
    need(x.device.type == "cpu", "what is quantised", x.device, "on the processor")
    codes = torch.empty_like(x, dtype=torch.int8)
    if codes.stride() != x.stride():
        x = torch.empty_like(codes, dtype=torch.float32).copy_(x)
    kernels().axdse_quantise(
        x.data_ptr(), x.numel(), scale, codes.data_ptr(), torch.get_num_threads()
    )
    return codes


def _two_batch_dims(x: torch.Tensor, batch: torch.Size) -> torch.Tensor:
    x = x.expand(*batch, *x.shape[-2:])
    if len(batch) < 2:
        return x[(None,) * (2 - len(batch))]
    return x if len(batch) == 2 else x.reshape(-1, *x.shape[-3:])


def _address(data: npt.NDArray[np.uint8] | None) -> int | None:
    return None if data is None else data.ctypes.data


def _job(terms: CircuitTerms, geometry: Geometry, channels: int, width: int) -> ProductJob:
    check_unit(geometry, width, padded_channels(channels, terms), terms.count)
    job = ProductJob()
    job.channels, job.channels_padded = channels, padded_channels(channels, terms)
    job.kernel_h, job.kernel_w = geometry.kernel
    job.stride_h, job.stride_w = geometry.stride
    job.padding_h, job.padding_w = geometry.padding
    job.dilation_h, job.dilation_w = geometry.dilation
    job.groups = geometry.groups
    job.terms, job.u = terms.count, terms.u_offset.ctypes.data
    job.u_masks = _address(terms.masks[0])
    job.depth, job.first_plane = terms.depth, terms.first_plane
    job.shift = terms.first_plane + terms.second_plane
    job.threads = torch.get_num_threads()
    return job


def _run(job: ProductJob, x: torch.Tensor, out: torch.Tensor | None, **epilogue: Any) -> None:
    factor, bias = epilogue["scale"], epilogue["bias"]
    factor = None if factor is None else factor.contiguous()
    bias = None if bias is None else bias.contiguous()
    job.x, job.x_is_codes, job.x_scale = x.data_ptr(), x.dtype == torch.int8, epilogue["x_scale"]
    job.out, job.out_is_sums = _pointer(out), factor is None
    job.scale, job.bias = _pointer(factor), _pointer(bias)
    job.added, job.codes = _pointer(epilogue.get("added")), _pointer(epilogue.get("codes"))
    job.added_is_rectified = epilogue.get("added_is_rectified", False)
    job.codes_are_rectified = epilogue.get("codes_are_rectified", False)
    job.codes_scale = epilogue.get("codes_scale", 1.0)
    kernels().axdse_product(ctypes.byref(job))


def _pointer(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
