"""What one would deploy: the same network in onnxruntime, in float32 and quantised to int8."""

import contextlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from studies.emulation_speed._subjects import MakeBatch
from studies.emulation_speed._timing import Run

OPSET = 18
INPUT = "images"
FLOAT, INT8 = "onnxruntime float32", "onnxruntime int8"
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def missing() -> list[str]:
    """Packages that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def onnxruntime_methods(net: nn.Module, make_batch: MakeBatch, x: torch.Tensor) -> dict[str, Run]:
    """Inference of a batch by onnxruntime, by name, on as many threads as PyTorch has.

    Quantised by onnxruntime's own tool: QDQ, a scale per output channel, static ranges of one
    batch.

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
        quantize_static(
            str(simple),
            str(quantised),
            _OneBatch(make_batch(len(x))),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
        return {FLOAT: _session(exported, x), INT8: _session(quantised, x)}


class _OneBatch:
    """onnxruntime's reader of calibration data, of a single batch."""

    def __init__(self, images: torch.Tensor) -> None:
        self._batches = iter([{INPUT: images.numpy()}])

    def get_next(self) -> object:
        """The next batch, or None."""
        return next(self._batches, None)


def _session(path: Path, x: torch.Tensor) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    feed = {INPUT: x.numpy()}
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
