"""Emulation against what one would deploy."""

import pandas as pd
import pytest
import torch
from torch import nn

from studies.emulation_speed import _onnxruntime
from studies.emulation_speed._report import summary


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
    (exact,), (coarse,) = methods[_onnxruntime.FLOAT](), methods[_onnxruntime.INT8]()
    assert torch.allclose(torch.from_numpy(exact), expected, atol=1e-5)
    error = (torch.from_numpy(coarse) - expected).square().mean() / expected.square().mean()
    assert 1e-7 < error < 0.1  # it is quantised, and the same network


def test_one_term_circuits_are_judged_by_onnxruntimes_int8():
    row = {"part": "networks", "subject": "vgg11_bn", "kind": "1 term", "vs_float32": 2.0}
    rows = pd.DataFrame([row | {"vs_loop": 30.0, "vs_int8": speed} for speed in (0.8, 1.2, 1.4)])
    found = summary(rows).set_index("what")
    against = found.loc["1 term : onnxruntime int8"]
    assert (against["median"], against["worst"], against["reached"]) == (1.2, 0.8, "no")
    assert found.loc["1 term : loop", "reached"] == "yes"
    # Where it was not timed nothing is said of it.
    assert "1 term : onnxruntime int8" not in set(summary(rows.assign(vs_int8=0.0))["what"])
