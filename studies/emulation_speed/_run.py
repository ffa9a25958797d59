"""The measurements, one row a subject and method."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luts.console import Reporter
from studies.emulation_speed._memory import peak_mb
from studies.emulation_speed._methods import (
    Run,
    computed_by,
    layer_emulated,
    layer_floats,
    network_emulated,
    network_floats,
)
from studies.emulation_speed._subjects import NETWORKS, circuits, kind_of, layers, network
from studies.emulation_speed._timing import Timing, interleaved

LOOP = "scalar table loop"


@dataclasses.dataclass(frozen=True)
class Row:
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


def measure(parts: list[str], config: dict[str, Any], reporter: Reporter) -> list[Row]:
    """Every row of the parts asked for."""
    steps: dict[str, Callable[[dict[str, Any], Reporter], list[Row]]] = {
        "layers": _layers,
        "networks": _networks,
        "training": _training,
        "memory": _memory,
    }
    return [row for part in parts for row in steps[part](config, reporter)]


def _layers(config: dict[str, Any], reporter: Reporter) -> list[Row]:
    rows: list[Row] = []
    batch = config["layer_batch"]
    tokens = (config["vit_image_size"] // config["vit_patch_size"]) ** 2 + 1
    for layer in reporter.track(layers(tokens), "layers"):
        methods: dict[str, Run] = dict(layer_floats(layer, batch))
        labels = {name: ("float", "PyTorch") for name in methods}
        for name, multiplier in circuits().items():
            methods[name], backend = layer_emulated(layer, batch, multiplier)
            labels[name] = (kind_of(multiplier), backend)
        exact = circuits()["mul8s_1KV8"]
        methods[LOOP], backend = layer_emulated(layer, batch, exact, loop=True)
        labels[LOOP] = ("loop", backend)
        with torch.inference_mode():
            timings = interleaved(methods, _rounds(methods, config))
        rows += _rows("layers", layer.name, batch, timings, labels)
    return rows


def _networks(config: dict[str, Any], reporter: Reporter) -> list[Row]:
    rows: list[Row] = []
    for name in reporter.track(NETWORKS, "networks"):
        net, make_batch = network(name, config)
        batch = config["batch"][name]
        x = make_batch(batch)
        methods = dict(network_floats(net, x))
        labels = {method: ("float", "PyTorch") for method in methods}
        for circuit, multiplier in circuits().items():
            emulated = network_emulated(net, make_batch, multiplier)
            methods[circuit] = _call(emulated, x)
            labels[circuit] = (kind_of(multiplier), computed_by(emulated))
        exact = circuits()["mul8s_1KV8"]
        methods[LOOP] = _call(network_emulated(net, make_batch, exact, loop=True), x)
        labels[LOOP] = ("loop", "scalar loop")
        with torch.inference_mode():
            timings = interleaved(methods, _rounds(methods, config))
        rows += _rows("networks", name, batch, timings, labels)
    return rows


def _training(config: dict[str, Any], reporter: Reporter) -> list[Row]:
    rows: list[Row] = []
    for name in reporter.track(NETWORKS, "training"):
        net, make_batch = network(name, config)
        batch = config["batch"][name]
        x, labels = make_batch(batch), torch.arange(batch) % 10
        methods = {"float32": _step(net, x, labels)}
        kinds = {"float32": ("float", "PyTorch")}
        if name != "vit_small":
            last = network(name, config)[0].to(memory_format=torch.channels_last)
            nhwc = x.contiguous(memory_format=torch.channels_last)
            methods["float32 channels-last"] = _step(last, nhwc, labels)
            kinds["float32 channels-last"] = ("float", "PyTorch")
        for circuit in config["training_circuits"]:
            multiplier = circuits()[circuit]
            emulated = network_emulated(network(name, config)[0], make_batch, multiplier)
            methods[circuit] = _step(emulated, x, labels)
            kinds[circuit] = (kind_of(multiplier), computed_by(emulated))
        timings = interleaved(methods, _rounds(methods, config))
        rows += _rows("training", name, batch, timings, kinds)
    return rows


def _memory(config: dict[str, Any], reporter: Reporter) -> list[Row]:
    rows: list[Row] = []
    batch = config["memory_batch"]
    names = ["mul8s_1KV8", "mul8s_1KX2", "unsigned_mitchell"]
    for name in reporter.track(NETWORKS, "memory"):
        float_mb = peak_mb(name, None, config)
        rows.append(Row("memory", name, batch, "float32", "float", "PyTorch", peak_mb=float_mb))
        for circuit in names:
            mb, kind = peak_mb(name, circuit, config), kind_of(circuits()[circuit])
            row = Row("memory", name, batch, circuit, kind, "", peak_mb=mb)
            rows.append(dataclasses.replace(row, vs_float32=mb / float_mb))
    return rows


def _call(net: nn.Module, x: torch.Tensor) -> Run:
    return lambda: net(x)


def _step(net: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Run:
    optimizer = torch.optim.SGD(net.train().parameters(), 1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimizer.step()

    return step


def _rounds(methods: dict[str, Run], config: dict[str, Any]) -> dict[str, int]:
    return {name: config["loop_repetitions" if name == LOOP else "repetitions"] for name in methods}


def _rows(
    part: str,
    subject: str,
    batch: int,
    timings: dict[str, Timing],
    labels: dict[str, tuple[str, str]],
) -> list[Row]:
    fastest = min(t.median_ms for name, t in timings.items() if name.startswith("float32"))
    loop = timings[LOOP].median_ms if LOOP in timings else 0.0
    rows = []
    for name, timing in timings.items():
        ratio = fastest / timing.median_ms
        rows.append(
            Row(
                *(part, subject, batch, name, *labels[name]),
                *(timing.median_ms, timing.low_ms, timing.high_ms),
                vs_float32=1 / ratio if part == "training" else ratio,
                vs_loop=loop / timing.median_ms,
            )
        )
    return rows
