import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luts import InputError
from models.emulation import CALIBRATION_METHODS, quantise, weight_scale
from models.emulation._quantise import Observer, mapped_codes


def test_rounds_half_to_even_and_clamps_to_127():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, 0.0])
    codes = quantise(x, torch.tensor(1.0))
    assert codes.tolist() == [0, 2, 2, 0, -2, 126, 127, 127, -127, 0]
    assert codes.dtype == torch.int8


@given(st.floats(1e-3, 1e3), st.integers(0, 2**31))
def test_error_is_at_most_half_a_step_inside_the_range(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(64, generator=generator) * 2 - 1) * 127 * scale
    error = (quantise(x, torch.tensor(scale)) * scale - x).abs().max()
    assert error <= scale * 0.5001


def test_weight_scale_is_per_output_channel_and_survives_zeros():
    weight = torch.tensor([[1.0, -2.0], [0.0, 0.0], [0.5, 0.25]])
    assert weight_scale(weight).tolist() == pytest.approx([2 / 127, 1.0, 0.5 / 127])


def test_a_scale_of_the_whole_weight_represents_its_largest():
    weight = torch.tensor([[1.0, -2.0], [0.0, 0.0], [0.5, 0.25]])
    assert weight_scale(weight, "tensor").tolist() == pytest.approx([2 / 127] * 3)
    assert weight_scale(torch.zeros(3, 2), "tensor").tolist() == [1.0] * 3


@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 2, 2), (0, 5), (256,)])
def test_mapped_codes_are_those_of_indexing(shape):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-128, 128, shape, generator=generator).to(torch.int8)
    if codes.dim() == 4:
        codes = codes.contiguous(memory_format=torch.channels_last)
    weight_map = torch.randperm(256, generator=generator).to(torch.uint8).view(torch.int8)
    kept = codes.clone()
    mapped = mapped_codes(codes, weight_map)
    assert mapped.shape == codes.shape
    assert torch.equal(mapped, weight_map[codes.view(torch.uint8).long()])
    assert torch.equal(codes, kept)


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
def test_observer_scale_of_a_plain_range(method):
    observer = Observer(method)
    observer(torch.linspace(-1, 1, 10_001))
    observer(torch.linspace(0, 2.54, 10_001))
    assert float(observer.scale()) == pytest.approx(0.02, rel=0.02)


def test_max_is_exact_and_percentile_ignores_an_outlier():
    x = torch.cat([torch.linspace(0, 1, 100_000), torch.tensor([100.0])])
    exact, percentile = Observer("max"), Observer("percentile")
    exact(x)
    percentile(x)
    assert float(exact.scale()) == pytest.approx(100 / 127)
    assert float(percentile.scale()) < 1.01 / 127


def test_mse_has_no_larger_error_than_max():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50_000, generator=generator) ** 3
    scales = {}
    for method in ("max", "mse"):
        observer = Observer(method)
        observer(x)
        scales[method] = observer.scale()
    error = {m: float(((quantise(x, s) * s - x) ** 2).mean()) for m, s in scales.items()}
    assert error["mse"] < error["max"]


def test_bad_input():
    with pytest.raises(InputError, match=r"unknown calibration 'mex'.*max"):
        Observer("mex")


@pytest.mark.parametrize("method", CALIBRATION_METHODS)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_finite_is_refused(method, bad, place):
    observer = Observer(method)
    batches = [torch.ones(3), torch.ones(3), torch.ones(3)]
    batches[place][place] = bad
    for batch in batches:
        observer(batch)
    with pytest.raises(InputError, match="infinite or not a number"):
        observer.scale()
