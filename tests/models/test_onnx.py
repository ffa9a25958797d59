"""The exact int8 network in ONNX, as onnxruntime computes it."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from luts import InputError
from models import emulate
from models.emulation import write_onnx
from tests.models._onnxruntime import outputs
from tests.models.test_golden import convolutions, transformer

LEFT_OUT = "pip install axdse[onnx] onnxruntime"


@pytest.fixture(scope="module")
def onnxruntime():
    """The library that runs the file; the whole module skips without it."""
    for needed in ("onnx", "onnxscript"):
        pytest.importorskip(needed, reason=f"no {needed}: {LEFT_OUT}")
    return pytest.importorskip("onnxruntime", reason=f"no onnxruntime: {LEFT_OUT}")


@pytest.mark.parametrize("network", [convolutions, transformer])
def test_onnxruntime_computes_the_exact_network(onnxruntime, tmp_path, network):
    net, x = network()
    emulated = emulate(net, "mul8s_1L1G", calibration=[x])
    assert write_onnx(emulated, x, tmp_path / "net.onnx")
    with emulated.exactly(), torch.no_grad():
        expected = emulated(x).numpy()
    found = outputs(onnxruntime, tmp_path / "net.onnx", x)
    # Floats are summed in another order, so that a code may round to its neighbour.
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
    assert np.median(np.abs(found - expected)) < 1e-4 * np.abs(expected).max()
    assert outputs(onnxruntime, tmp_path / "net.onnx", x[:1]).shape == (1, expected.shape[1])


def test_it_quantises_before_every_product_and_keeps_codes(onnxruntime, tmp_path):
    import onnx

    net, x = transformer()
    emulated = emulate(net, "mul8s_1KV8", calibration=[x])
    write_onnx(emulated, x, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    kinds = [node.op_type for node in graph.node]
    layers = [emulated.layer(site.name) for site in emulated.sites]
    operands = sum(layer.operands for layer in layers)
    weights = [layer for layer in layers if hasattr(layer, "weight")]
    assert kinds.count("QuantizeLinear") == operands
    assert kinds.count("DequantizeLinear") == operands + len(weights)
    codes = [i for i in graph.initializer if i.data_type == onnx.TensorProto.INT8 and i.dims]
    assert sorted(np.prod(i.dims) for i in codes if len(i.dims) > 1) == sorted(
        layer.weight.numel() for layer in weights
    )
    for layer in weights:
        wanted = layer.calibrated_codes()[0].numpy().tobytes()
        assert any(onnx.numpy_helper.to_array(i).tobytes() == wanted for i in codes)


def test_what_cannot_be_written_is_refused_in_one_line(onnxruntime, tmp_path):
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x) * (2 if x.sum() > 0 else 1)

    x = torch.randn(8, 4)
    emulated = emulate(Fickle(), "mul8s_1KV8", calibration=[x])
    with pytest.raises(InputError, match="cannot write this network as ONNX"):
        write_onnx(emulated, x, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_without_the_package_the_error_names_it(tmp_path, monkeypatch):
    net, x = transformer()
    emulated = emulate(net, "mul8s_1KV8", calibration=[x])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"package onnx, .* pip install 'axdse\[onnx\]'"):
        write_onnx(emulated, x, tmp_path / "net.onnx")
