"""Emulation against what one would deploy."""

import pandas as pd
import pytest
import torch
from torch import nn

from luts import catalog
from studies.emulation_speed import _onnxruntime
from studies.emulation_speed._products import PYTORCH, product_methods
from studies.emulation_speed._report import summary
from studies.emulation_speed._subjects import Layer


@pytest.mark.skipif(bool(_onnxruntime.missing()), reason=f"needs {_onnxruntime.NEEDED}")
def test_onnxruntime_computes_the_network_in_float_and_nearly_in_int8():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    x = torch.randn(4, 3, 6, 6)
    methods = _onnxruntime.onnxruntime_methods(
        net.eval(), lambda batch: torch.randn(batch, *x.shape[1:]), x
    )
    with torch.no_grad():
        expected = net(x)
    (exact,) = methods[_onnxruntime.FLOAT]()
    assert torch.allclose(torch.from_numpy(exact), expected, atol=1e-5)
    for name in (_onnxruntime.INT8, _onnxruntime.SIGNED):
        (coarse,) = methods[name]()
        error = (torch.from_numpy(coarse) - expected).square().mean() / expected.square().mean()
        assert 1e-7 < error < 0.1  # it is quantised, and the same network


@pytest.mark.skipif(bool(_onnxruntime.missing()), reason=f"needs {_onnxruntime.NEEDED}")
@pytest.mark.parametrize("stride", [1, 2])
def test_every_method_convolves_the_same_codes(stride: int) -> None:
    """But for halves, which onnxruntime may round after a product that is rounded itself."""
    layer = Layer("any", "conv", (5, 6, 7, stride))
    methods = product_methods(layer, 2, {"exact": catalog["mul8s_1KV8"]})
    exact = methods["exact"].run().codes.permute(0, 2, 3, 1)
    sums = methods["float32"].run()
    rounded = (sums * 1e-3).round().clamp(-127, 127).permute(0, 2, 3, 1)
    assert (exact - rounded).abs().max() <= 1 and (exact != 0).float().mean() > 0.5
    for name, offset in ((_onnxruntime.INT8, 128), (_onnxruntime.SIGNED, 0)):
        (codes,) = methods[name].run()
        theirs = torch.from_numpy(codes).int() - offset
        assert (theirs.clamp(-127, 127) - exact).abs().max() <= 1


def test_every_method_makes_the_same_product_of_codes() -> None:
    layer = Layer("any", "linear", (24, 40, 16))
    methods = product_methods(layer, 24, {"exact": catalog["mul8s_1KV8"]})
    expected = methods["float32"].run().int()
    assert torch.equal(methods[PYTORCH].run(), expected)
    assert torch.equal(methods["exact"].run(), expected)


def test_one_term_circuits_are_judged_by_onnxruntimes_int8():
    row = {"part": "networks", "subject": "vgg11_bn", "kind": "1 term", "vs_float32": 2.0}
    rows = pd.DataFrame([row | {"vs_loop": 30.0, "vs_int8": speed} for speed in (0.8, 1.2, 1.4)])
    found = summary(rows).set_index("what")
    against = found.loc["1 term : onnxruntime int8"]
    assert (against["median"], against["worst"], against["reached"]) == (1.2, 0.8, "no")
    assert found.loc["1 term : loop", "reached"] == "yes"
    # Where it was not timed nothing is said of it.
    assert "1 term : onnxruntime int8" not in set(summary(rows.assign(vs_int8=0.0))["what"])
