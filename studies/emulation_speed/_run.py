"""The measurements, one row per subject and method."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import torch

from luts.console import Reporter
from studies._pace import training_step
from studies.emulation_speed import _methods
from studies.emulation_speed._memory import peak_mb
from studies.emulation_speed._onnxruntime import FLOAT, missing, onnxruntime_methods
from studies.emulation_speed._products import product_methods
from studies.emulation_speed._subjects import (
    NETWORKS,
    SpeedStudy,
    circuits,
    kind_of,
    layers,
    network,
    products,
)
from studies.emulation_speed._timing import Run, interleaved

Rows = list[Any]
"""A mapping of columns for every row."""


def measure(parts: list[str], study: SpeedStudy, reporter: Reporter) -> pd.DataFrame:
    """A row per part, subject and method.

    Returns:
        Columns ``part`` (of `PARTS`), ``subject`` (layer shape or network), ``batch`` (images),
        ``method`` (a float method, the scalar loop, int8 elsewhere, or a circuit), ``kind`` (float,
        loop, int8, table or the number of terms), ``computed_by`` (backends at work),
        ``median_ms``, ``low_ms`` and ``high_ms`` (median and quartiles; 0 for memory), ``peak_mb``
        (peak memory; 0 for times), ``vs_float32`` (speed relative to the fastest float32 of
        PyTorch; time or memory relative to it, for training and memory), ``vs_loop`` and
        ``vs_int8`` (speed relative to the scalar table loop, and to the fastest int8 of
        onnxruntime, or of PyTorch for linear products; 0 where that was not run).
    """
    rows = [row for part in parts for row in PARTS[part](study, reporter)]
    times = ["median_ms", "low_ms", "high_ms"]
    columns = ["part", "subject", "batch", "method", "kind", "computed_by", *times, "peak_mb"]
    table = pd.DataFrame(rows, columns=[*columns, "vs_float32", "vs_loop", "vs_int8"])
    return table.fillna({name: 0.0 for name in table.columns[6:]})


def _layers(study: SpeedStudy, reporter: Reporter) -> Rows:
    rows: Rows = []
    batch = study.layer_batch
    tokens = (study.vit_image_size // study.vit_patch_size) ** 2 + 1
    for layer in reporter.track(layers(tokens), "layers"):
        emulated = functools.partial(_methods.layer_emulated, layer, batch)
        methods = _inference(_methods.layer_floats(layer, batch), emulated)
        rows += _timed("layers", layer.name, batch, methods, study)
    return rows


def _products(study: SpeedStudy, reporter: Reporter) -> Rows:
    rows: Rows = []
    factored = {name: each for name, each in circuits().items() if kind_of(each) != "table"}
    for layer in reporter.track(products(), "products"):
        batch = layer.shape[0] if layer.kind == "linear" else study.product_batch
        methods = product_methods(layer, batch, factored)
        rows += _timed("products", layer.name, batch, methods, study)
    return rows


def _networks(study: SpeedStudy, reporter: Reporter) -> Rows:
    rows: Rows = []
    absent = missing()
    for name in reporter.track(NETWORKS, "networks"):
        net, make_batch = network(name, study)
        x = make_batch(study.batch[name])
        emulated = functools.partial(_methods.network_method, net, make_batch, x)
        methods = _inference(_methods.network_floats(net, x), emulated)
        if absent:
            reporter.note(f"onnxruntime is not timed: {', '.join(absent)} is not installed")
        else:
            for label, run in onnxruntime_methods(net, make_batch, x).items():
                kind = "float" if label == FLOAT else "int8"
                methods[label] = _methods.Method(run, kind, "onnxruntime")
        rows += _timed("networks", name, len(x), methods, study)
    return rows


def _training(study: SpeedStudy, reporter: Reporter) -> Rows:
    rows: Rows = []
    for name in reporter.track(NETWORKS, "training"):
        net, make_batch = network(name, study)
        x = make_batch(study.batch[name])
        labels = torch.arange(len(x)) % 10
        methods = {"float32": _methods.Method(training_step(net, x, labels))}
        if name != "vit_small":
            last = _methods.in_channels_last(network(name, study)[0])
            nhwc = x.contiguous(memory_format=torch.channels_last)
            methods["float32 channels-last"] = _methods.Method(training_step(last, nhwc, labels))
        for circuit in study.training_circuits:
            multiplier = circuits()[circuit]
            emulated = _methods.network_emulated(network(name, study)[0], make_batch, multiplier)
            step = training_step(emulated, x, labels)
            methods[circuit] = _methods.emulated_method(emulated, step, multiplier)
        rows += _timed("training", name, len(x), methods, study)
    return rows


def _memory(study: SpeedStudy, reporter: Reporter) -> Rows:
    rows: Rows = []
    for name in reporter.track(NETWORKS, "memory"):
        about = {"part": "memory", "subject": name, "batch": study.memory_batch}
        peak = peak_mb(name, None, study)
        own = {"method": "float32", "kind": "float", "computed_by": "PyTorch", "peak_mb": peak}
        rows.append(about | own)
        for circuit in ("mul8s_1KV8", "mul8s_1KX2", "unsigned_mitchell"):
            mb, kind = peak_mb(name, circuit, study), kind_of(circuits()[circuit])
            own = {"method": circuit, "kind": kind, "computed_by": "", "peak_mb": mb}
            rows.append(about | own | {"vs_float32": mb / peak})
    return rows


PARTS = {
    "layers": _layers,
    "products": _products,
    "networks": _networks,
    "training": _training,
    "memory": _memory,
}


def _inference(
    floats: Mapping[str, Run], emulated: Callable[..., _methods.Method]
) -> dict[str, _methods.Method]:
    """Float methods, every circuit, and the scalar loop."""
    return {
        **{name: _methods.Method(run) for name, run in floats.items()},
        **{name: emulated(multiplier) for name, multiplier in circuits().items()},
        _methods.LOOP: emulated(circuits()["mul8s_1KV8"], loop=True),
    }


def _timed(
    part: str, subject: str, batch: int, methods: dict[str, _methods.Method], study: SpeedStudy
) -> Rows:
    rounds = {
        name: study.loop_repetitions if name == _methods.LOOP else study.repetitions
        for name in methods
    }
    with torch.inference_mode(part != "training"):
        times = interleaved({name: method.run for name, method in methods.items()}, rounds)
    median = times["median_ms"]
    fastest = median[median.index.str.startswith("float32")].min()
    int8 = min((median[name] for name in median.index if methods[name].kind == "int8"), default=0.0)
    table = times.assign(
        part=part,
        subject=subject,
        batch=batch,
        kind=[methods[name].kind for name in times.index],
        computed_by=[methods[name].computed_by for name in times.index],
        vs_float32=median / fastest if part == "training" else fastest / median,
        vs_loop=median.get(_methods.LOOP, 0.0) / median,
        vs_int8=int8 / median,
    )
    rows = table.rename_axis("method").reset_index().to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
