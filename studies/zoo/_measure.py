"""What is measured of one network."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dse import provenance
from luts import EXACT
from luts.errors import InputError
from models import EmulatedNetwork, emulate
from models.emulation import EmulatedSite, EmulatedWeightSite
from models.networks import logits_of
from models.training import state_digest
from studies.zoo._networks import Subject, ZooCell, ZooStudy, made

Operand = Callable[[Tensor, Tensor], Tensor]
"""An operand and its scale to what is multiplied in its place."""

LEAST_COVERAGE = 0.99
WORSE_THAN_NOISE = 2.0
"""An error larger than that of noise by this factor is more than rounding."""
BEYOND_NOISE = "errs more than rounding noise does"


def measure(study: ZooStudy, cell: ZooCell) -> dict[str, Any]:
    """One row, as plain values.

    A network that cannot be built or emulated has a row too, with the reason. Errors are relative
    to what tells the network's own outputs of different inputs apart.
    """
    row: dict[str, Any] = {**dataclasses.asdict(cell), "weights_sha256": "", "making": provenance()}
    started = time.perf_counter()
    try:
        subject = made(study, cell)
        row |= {
            "weights_sha256": state_digest(subject.network.state_dict()),
            "family": subject.family,
            "input": list(subject.inputs.shape[1:]),
            **_measured(subject, study.seed),
        }
    except InputError as error:
        row["reason"] = str(error)
    except Exception as error:  # one network must not end the census
        row["reason"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return row | {"seconds": round(time.perf_counter() - started, 2)}


def _measured(subject: Subject, seed: int) -> dict[str, Any]:
    network, inputs = subject.network, subject.inputs
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is no site is in the row
        emulated = emulate(network, EXACT, calibration=[inputs])
    emulate_seconds = time.perf_counter() - started
    with torch.no_grad():
        started = time.perf_counter()
        wanted = logits_of(network(inputs))
        float_seconds = time.perf_counter() - started
        started = time.perf_counter()
        exact = logits_of(emulated(inputs))
        int8_seconds = time.perf_counter() - started
        noisy = logits_of(with_rounding_noise(emulated, seed)(inputs))
    found = emulated.sites
    row: dict[str, Any] = {
        "sites": len(found),
        "macs": sum(site.macs for site in found),
        "coverage": found.coverage,
        "agreement": agreement(exact, wanted),
        "noise_agreement": agreement(noisy, wanted),
        "error": relative_error(exact, wanted),
        "noise_error": relative_error(noisy, wanted),
        "backward": backward(emulated, inputs[:2]),
        "emulate_seconds": round(emulate_seconds, 2),
        "float_seconds": round(float_seconds, 3),
        "int8_seconds": round(int8_seconds, 3),
    }
    notes = found.notes()
    return row | {"reason": "; ".join(_short_of(row, notes))}


def _short_of(row: dict[str, Any], notes: list[str]) -> list[str]:
    """Why a network falls short of what is wanted of all."""
    lines = list(notes if row["coverage"] < LEAST_COVERAGE else notes[1:])
    if row["error"] > WORSE_THAN_NOISE * row["noise_error"]:
        lines.append(BEYOND_NOISE)
    if row["backward"] != "ok":
        lines.append(f"backward: {row['backward']}")
    return lines


def agreement(one: Tensor, other: Tensor) -> float:
    """Part of the outputs whose largest entry is the same."""
    return float((one.argmax(-1) == other.argmax(-1)).double().mean())


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference, over that of the outputs less their mean over inputs."""
    spread = wanted.double() - wanted.double().mean(0, keepdim=True)
    return float((found.double() - wanted).norm() / spread.norm())


def with_operands(emulated: EmulatedNetwork, change: Operand) -> EmulatedNetwork:
    """A float copy that multiplies changed operands at every site."""
    copied = emulated.in_float()

    def before(module: nn.Module, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        assert isinstance(module, EmulatedSite)
        return tuple(change(x, scale) for x, scale in zip(operands, module.x_scale, strict=True))

    # In the order of the sites, so that a seed gives the same noise again.
    for layer in dict.fromkeys(copied.layer(site.name) for site in copied.sites):
        if isinstance(layer, EmulatedWeightSite):
            weight = layer.weight.detach()
            scale = layer.meant_codes()[1].view(-1, *[1] * (weight.dim() - 1))
            layer.weight = nn.Parameter(change(weight, scale))
        layer.register_forward_pre_hook(before)
    return copied


def with_rounding_noise(emulated: EmulatedNetwork, seed: int) -> EmulatedNetwork:
    """A float copy whose operands are off by as much as rounding to int8 would make them at random.

    Uniform noise of half a step in both directions at every operand of every site but zeros, which
    int8 holds. It shares neither codes nor kernels with the emulation.
    """
    generator = torch.Generator().manual_seed(seed + 2)  # neither that of weights nor of inputs

    def off(x: Tensor, scale: Tensor) -> Tensor:
        noise = torch.rand(x.shape, generator=generator) - 0.5
        return x + noise * scale * (x != 0)

    return with_operands(emulated, off)


def backward(emulated: EmulatedNetwork, inputs: Tensor) -> str:
    """``"ok"`` if one step's gradients are finite and reach the weights, or what is wrong."""
    try:
        logits = logits_of(emulated(inputs))
        logits = logits.reshape(-1, logits.shape[-1])
        loss = functional.cross_entropy(logits, logits.detach().argmin(-1))
        loss.backward()  # type: ignore[no-untyped-call]
    except (InputError, RuntimeError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    gradients = [p.grad for p in emulated.parameters() if p.grad is not None]
    emulated.zero_grad(set_to_none=True)
    if not gradients or not any(bool(gradient.any()) for gradient in gradients):
        return "no weight has a gradient"
    if not all(bool(gradient.isfinite().all()) for gradient in gradients):
        return "a gradient is not finite"
    return "ok"
