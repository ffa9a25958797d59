"""Which codes follow one another at a site's multipliers: what makes their circuits switch.

The dataflow is weight-stationary: a processing element holds one weight while activations stream
through its multiplier, so that from one product to the next the activation changes and the weight
does not. Activations come in the order of the output: the positions of an image row by row, the
tokens of a sequence, then those of the next image. In attention the second operand is held: a key
in q·kᵀ, a value in attn·v. The step at which a new weight is loaded is left out: it is one in
thousands. Zeros that pad a convolution are operands like any other.
"""

import dataclasses
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from luts import quantise
from luts.errors import InputError
from luts.loading import BROKEN
from luts.text import one_line
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._emulate import EmulatedNetwork
from models.emulation._hooks import looking_at
from models.emulation._layers import EmulatedSite, EmulatedWeightSite
from models.networks import Inputs

Codes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

STEPS = 1024
"""Steps sampled at a site: a circuit's mean toggles are then known to about 2 %."""

VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class OperandSteps:
    """Steps from one product to the next at one site.

    Attributes:
        before: activation code of a product, uint8 of shape ``(steps,)``.
        after: activation code of the product that follows.
        held: weight code of both.
        seen: number of steps that these were drawn from.
    """

    before: Codes
    after: Codes
    held: Codes
    seen: int


@dataclasses.dataclass(frozen=True, eq=False)
class SampledOperands:
    """Steps at every site of a network, as many at each.

    Attributes:
        sites: steps by site; sites that got nothing (experts without an item) are left out.
        source: where they come from, one line.

    Raises:
        InputError: sites have different numbers of steps.
    """

    sites: Mapping[str, OperandSteps]
    source: str

    def __post_init__(self) -> None:
        lengths = {len(steps.before) for steps in self.sites.values()}
        if len(lengths) > 1:
            raise InputError(f"every site has as many sampled steps, not {sorted(lengths)}")

    def to_bytes(self) -> bytes:
        """As the content of an ``.npz`` file."""
        buffer = io.BytesIO()
        steps = self.sites.values()
        np.savez_compressed(
            buffer,
            version=np.array(VERSION),
            source=np.array(self.source),
            names=np.array(list(self.sites)),
            codes=np.array([(s.before, s.after, s.held) for s in steps], dtype=np.uint8),
            seen=np.array([s.seen for s in steps], dtype=np.int64),
        )
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path) -> "SampledOperands":
        """From a file with the content of `to_bytes`.

        Raises:
            InputError: the file cannot be read, or is not of this kind.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                if int(file["version"]) != VERSION:
                    raise InputError(f"{path} has another version than {VERSION}, which this reads")
                rows = zip(file["names"], file["codes"], file["seen"], strict=True)
                sites = {
                    str(name): OperandSteps(before, after, held, int(seen))
                    for name, (before, after, held), seen in rows
                }
                return cls(sites, str(file["source"]))
        except InputError:
            raise
        except (*BROKEN, OSError, TypeError) as error:
            told = one_line(error)
            raise InputError(f"{path} holds no sampled operands ({told})") from error


@torch.no_grad()
def sample_operands(
    emulated: EmulatedNetwork,
    batches: Iterable[torch.Tensor | Inputs],
    *,
    seed: int,
    source: str,
    steps: int = STEPS,
) -> SampledOperands:
    """Steps drawn at random, with replacement, at every site of the exact int8 network.

    Weight codes are the calibrated ones: what a recovery puts in their place depends on the
    circuit, and moves them little.

    Args:
        emulated: the network; its arithmetic stays what it is.
        batches: inputs, each ``(B, …)``.
        seed: of the drawing.
        source: what to call the sample.
        steps: how many at each site.

    Raises:
        InputError: there is no step to draw.
    """
    drawn: dict[str, OperandSteps] = {}
    handles = []

    def watch(name: str, layer: EmulatedSite, rng: np.random.Generator) -> None:
        def draw(module: torch.nn.Module, operands: tuple[Any, ...]) -> None:
            new = _drawn(layer, operands, rng, steps)
            if new is not None:
                drawn[name] = _mixed(drawn.get(name), new, rng)

        handles.append(layer.register_forward_pre_hook(draw))

    for index, site in enumerate(emulated.sites):
        watch(site.name, emulated.layer(site.name), np.random.default_rng([seed, index]))
    with emulated.exactly(), looking_at(emulated, handles):
        for batch in batches:
            emulated(batch)
    if not drawn:
        raise InputError("no product follows another one: give at least two inputs")
    order = [site.name for site in emulated.sites if site.name in drawn]
    return SampledOperands({name: drawn[name] for name in order}, source)


def _mixed(known: OperandSteps | None, new: OperandSteps, rng: np.random.Generator) -> OperandSteps:
    """Each step from either sample, by the numbers of steps that they were drawn from."""
    if known is None:
        return new
    seen = known.seen + new.seen
    is_new = rng.random(len(new.before)) < new.seen / seen
    return OperandSteps(
        before=np.where(is_new, new.before, known.before),
        after=np.where(is_new, new.after, known.after),
        held=np.where(is_new, new.held, known.held),
        seen=seen,
    )


def _drawn(
    layer: EmulatedSite, operands: tuple[Any, ...], rng: np.random.Generator, steps: int
) -> OperandSteps | None:
    """Steps out of one call of a layer; None if it has none."""
    scales = torch.split(layer.x_scale, 1)
    if isinstance(layer, EmulatedConv2d):
        operands = (layer.padded(operands[0]),)
    x, *others = (_codes(quantise(o, s)) for o, s in zip(operands, scales, strict=False))
    if isinstance(layer, EmulatedConv2d):
        return _convolution(layer, x, rng, steps)
    n_rows, n_columns = len(x.reshape(-1, x.shape[-1])), x.shape[-1]
    if n_rows < 2:
        return None
    at, k = rng.integers(0, n_rows - 1, steps), rng.integers(0, n_columns, steps)
    if isinstance(layer, EmulatedWeightSite):
        weight = _codes(layer.calibrated_codes()[0])
        held = weight[rng.integers(0, len(weight), steps), k]
    else:
        second = others[0].reshape(-1, *others[0].shape[-2:])
        matrix = at // x.shape[-2] % len(second)
        held = second[matrix, k, rng.integers(0, second.shape[-1], steps)]
    rows = x.reshape(-1, n_columns)
    return OperandSteps(rows[at, k], rows[at + 1, k], held, (n_rows - 1) * n_columns)


def _convolution(
    layer: EmulatedConv2d, x: Codes, rng: np.random.Generator, steps: int
) -> OperandSteps | None:
    """Steps of a convolution over padded codes, ``(B, C, H, W)``."""
    weight = _codes(layer.calibrated_codes()[0])
    n_out, n_in, kernel_h, kernel_w = weight.shape
    (stride_h, stride_w), (step_h, step_w) = layer.stride, layer.dilation
    out_h = (x.shape[2] - step_h * (kernel_h - 1) - 1) // stride_h + 1
    out_w = (x.shape[3] - step_w * (kernel_w - 1) - 1) // stride_w + 1
    positions = len(x) * out_h * out_w
    if positions < 2:
        return None
    out, inner = rng.integers(0, n_out, steps), rng.integers(0, n_in, steps)
    tap_h, tap_w = rng.integers(0, kernel_h, steps), rng.integers(0, kernel_w, steps)
    channel = out // (n_out // layer.groups) * n_in + inner
    position = rng.integers(0, positions - 1, steps)

    def code(position: Int64) -> Codes:
        image, place = np.divmod(position, out_h * out_w)
        row, column = np.divmod(place, out_w)
        found: Codes = x[
            image, channel, row * stride_h + tap_h * step_h, column * stride_w + tap_w * step_w
        ]
        return found

    held = weight[out, inner, tap_h, tap_w]
    seen = (positions - 1) * n_in * layer.groups * kernel_h * kernel_w
    return OperandSteps(code(position), code(position + 1), held, seen)


def _codes(tensor: torch.Tensor) -> Codes:
    codes: Codes = tensor.cpu().contiguous().view(torch.uint8).numpy()
    return codes
