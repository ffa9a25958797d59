"""The measurements, one row per subject and method."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch

from luts.console import Reporter
from studies._pace import training_step
from studies.emulation_speed._memory import peak_mb
from studies.emulation_speed._methods import (
    LOOP,
    Method,
    emulated_method,
    in_channels_last,
    layer_emulated,
    layer_floats,
    network_emulated,
    network_floats,
    network_method,
)
from studies.emulation_speed._subjects import NETWORKS, circuits, kind_of, layers, network
from studies.emulation_speed._timing import Run, interleaved


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One method on one subject.

    Attributes:
        part: ``"layers"``, ``"networks"``, ``"training"`` or ``"memory"``.
        subject: layer shape or network.
        batch: images.
        method: a float method, the scalar loop, or a circuit's name.
        kind: ``"float"``, ``"loop"``, ``"table"`` or the number of terms.
        computed_by: backends at work.
        median_ms, low_ms, high_ms: median and quartiles; 0 for memory.
        peak_mb: peak memory; 0 for times.
        vs_float32: speed relative to the fastest float32 (time or memory relative to it, for
            training and memory).
        vs_loop: speed relative to the scalar table loop; 0 where that was not run.
    """

    part: str
    subject: str
    batch: int
    method: str
    kind: str
    computed_by: str
    median_ms: float = 0.0
    low_ms: float = 0.0
    high_ms: float = 0.0
    peak_mb: float = 0.0
    vs_float32: float = 0.0
    vs_loop: float = 0.0


def measure(parts: list[str], config: dict[str, Any], reporter: Reporter) -> pd.DataFrame:
    """Every `Measurement` of the parts asked for, a row each."""
    return pd.DataFrame([row for part in parts for row in PARTS[part](config, reporter)])


def _layers(config: dict[str, Any], reporter: Reporter) -> list[Measurement]:
    rows: list[Measurement] = []
    batch = config["layer_batch"]
    tokens = (config["vit_image_size"] // config["vit_patch_size"]) ** 2 + 1
    for layer in reporter.track(layers(tokens), "layers"):
        emulated = functools.partial(layer_emulated, layer, batch)
        methods = _inference(layer_floats(layer, batch), emulated)
        rows += _timed("layers", layer.name, batch, methods, config)
    return rows


def _networks(config: dict[str, Any], reporter: Reporter) -> list[Measurement]:
    rows: list[Measurement] = []
    for name in reporter.track(NETWORKS, "networks"):
        net, make_batch = network(name, config)
        x = make_batch(config["batch"][name])
        emulated = functools.partial(network_method, net, make_batch, x)
        methods = _inference(network_floats(net, x), emulated)
        rows += _timed("networks", name, len(x), methods, config)
    return rows


def _training(config: dict[str, Any], reporter: Reporter) -> list[Measurement]:
    rows: list[Measurement] = []
    for name in reporter.track(NETWORKS, "training"):
        net, make_batch = network(name, config)
        x = make_batch(config["batch"][name])
        labels = torch.arange(len(x)) % 10
        methods = {"float32": Method(training_step(net, x, labels))}
        if name != "vit_small":
            last = in_channels_last(network(name, config)[0])
            nhwc = x.contiguous(memory_format=torch.channels_last)
            methods["float32 channels-last"] = Method(training_step(last, nhwc, labels))
        for circuit in config["training_circuits"]:
            multiplier = circuits()[circuit]
            emulated = network_emulated(network(name, config)[0], make_batch, multiplier)
            step = training_step(emulated, x, labels)
            methods[circuit] = emulated_method(emulated, step, multiplier)
        rows += _timed("training", name, len(x), methods, config)
    return rows


def _memory(config: dict[str, Any], reporter: Reporter) -> list[Measurement]:
    rows: list[Measurement] = []
    batch = config["memory_batch"]
    for name in reporter.track(NETWORKS, "memory"):
        float_mb = peak_mb(name, None, config)
        at = ("memory", name, batch)
        rows.append(Measurement(*at, "float32", "float", "PyTorch", peak_mb=float_mb))
        for circuit in ("mul8s_1KV8", "mul8s_1KX2", "unsigned_mitchell"):
            mb, kind = peak_mb(name, circuit, config), kind_of(circuits()[circuit])
            row = Measurement(*at, circuit, kind, "", peak_mb=mb, vs_float32=mb / float_mb)
            rows.append(row)
    return rows


PARTS = {"layers": _layers, "networks": _networks, "training": _training, "memory": _memory}


def _inference(floats: Mapping[str, Run], emulated: Callable[..., Method]) -> dict[str, Method]:
    """Float methods, every circuit, and the scalar loop."""
    return {
        **{name: Method(run) for name, run in floats.items()},
        **{name: emulated(multiplier) for name, multiplier in circuits().items()},
        LOOP: emulated(circuits()["mul8s_1KV8"], loop=True),
    }


def _timed(
    part: str, subject: str, batch: int, methods: dict[str, Method], config: dict[str, Any]
) -> list[Measurement]:
    rounds = {
        name: config["loop_repetitions" if name == LOOP else "repetitions"] for name in methods
    }
    with torch.inference_mode(part != "training"):
        timings = interleaved({name: method.run for name, method in methods.items()}, rounds)
    fastest = min(t.median_ms for name, t in timings.items() if name.startswith("float32"))
    loop = timings[LOOP].median_ms if LOOP in timings else 0.0
    rows = []
    for name, timing in timings.items():
        ratio = fastest / timing.median_ms
        rows.append(
            Measurement(
                *(part, subject, batch, name, methods[name].kind, methods[name].computed_by),
                *(timing.median_ms, timing.low_ms, timing.high_ms),
                vs_float32=1 / ratio if part == "training" else ratio,
                vs_loop=loop / timing.median_ms,
            )
        )
    return rows
