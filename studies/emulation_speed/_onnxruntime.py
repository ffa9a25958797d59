"""What one would deploy: the same network in onnxruntime, in float32 and quantised to int8."""

import contextlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from studies.emulation_speed._subjects import MakeBatch
from studies.emulation_speed._timing import Run

OPSET = 18
IR_VERSION = 9
INPUT = "images"
FLOAT = "onnxruntime float32"
INT8, SIGNED = "onnxruntime int8", "onnxruntime int8, signed activations"
Codes = npt.NDArray[np.int8] | npt.NDArray[np.uint8]
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def missing() -> list[str]:
    """Packages that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def onnxruntime_methods(net: nn.Module, make_batch: MakeBatch, x: torch.Tensor) -> dict[str, Run]:
    """Inference of a batch by onnxruntime, by name, on as many threads as PyTorch has.

    Quantised by onnxruntime's own tool: QDQ, a scale per output channel, static ranges of one
    batch. Which activations are quicker, unsigned or signed, depends on the processor, so that both
    are there.

    Args:
        net: the network.
        make_batch: makes images to take ranges on.
        x: the batch that is timed; files are made for its size.
    """
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quietly():
        exported, simple, quantised = (Path(folder) / f"{n}.onnx" for n in ("f", "simple", "q"))
        torch.onnx.export(
            net,
            (x,),
            exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            external_data=False,
            verbose=False,
        )
        quant_pre_process(str(exported), str(simple))
        methods = {FLOAT: _session(exported.read_bytes(), x.numpy())}
        for name, kind in ((INT8, QuantType.QUInt8), (SIGNED, QuantType.QInt8)):
            quantize_static(
                str(simple),
                str(quantised),
                _OneBatch(make_batch(len(x))),
                per_channel=True,
                activation_type=kind,
                weight_type=QuantType.QInt8,
            )
            methods[name] = _session(quantised.read_bytes(), x.numpy())
        return methods


def convolutions_of_codes(x: torch.Tensor, w: torch.Tensor, stride: int) -> dict[str, Run]:
    """Onnxruntime's convolution of codes to codes, a scale per output channel, by name.

    Args:
        x: ``(batch, in, rows, columns)``, int8; 128 more where activations are unsigned.
        w: ``(out, in, 3, 3)``, int8; padding 1.
        stride: in both directions.
    """
    codes = x.permute(0, 2, 3, 1).contiguous().numpy()
    unsigned = (codes.astype(np.int16) + 128).astype(np.uint8)
    return {
        name: _session(_convolution(values, w.numpy(), stride), values)
        for name, values in ((INT8, unsigned), (SIGNED, codes))
    }


def _convolution(x: Codes, w: Codes, stride: int) -> bytes:
    """The model, with the channels last, which its kernels are quicker with.

    Without VNNI unsigned activations get unsigned weights, whose sums do not saturate at 16 bits.
    """
    from onnx import helper, numpy_helper

    shift = 128 if x.dtype == np.uint8 and not torch.cpu._is_vnni_supported() else 0
    weight_type = np.uint8 if shift else np.int8
    values = {
        "w": (w.astype(np.int16) + shift).astype(weight_type),
        "x_scale": np.float32(1),
        "w_scale": np.full(len(w), 1e-3, dtype=np.float32),
        "y_scale": np.float32(1),
        "zero": x.dtype.type(128 if x.dtype == np.uint8 else 0),
        "w_zero": np.full(len(w), shift, dtype=weight_type),
    }
    operands = [INPUT, "x_scale", "zero", "w", "w_scale", "w_zero", "y_scale", "zero"]
    how = {"strides": [stride] * 2, "pads": [1] * 4, "kernel_shape": [3, 3], "channels_last": 1}
    domain = "com.microsoft"
    node = helper.make_node("QLinearConv", operands, ["y"], domain=domain)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in how.items())
    size = (x.shape[1] - 1) // stride + 1
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info(INPUT, kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, (len(x), size, size, len(w)))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    versions = [helper.make_opsetid("", OPSET), helper.make_opsetid(domain, 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


class _OneBatch:
    """onnxruntime's reader of calibration data, of a single batch."""

    def __init__(self, images: torch.Tensor) -> None:
        self._batches = iter([{INPUT: images.numpy()}])

    def get_next(self) -> object:
        """The next batch, or None."""
        return next(self._batches, None)


def _session(model: bytes, x: npt.NDArray[Any]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Without VNNI its sums would saturate at 16 bits: faster, but of something else.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {INPUT: x}
    return lambda: session.run(None, feed)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the tools' warnings about what they leave in float."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
