"""Sampled operand steps, against every step that a layer really makes."""

import collections
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from luts import quantise
from luts.errors import InputError

N = 60_000


class Attending(nn.Module):
    """One attention over tokens, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)[0]


def emulated(network, x):
    return models.emulate(network, "mul8s_1KV8", calibration=[x])


def counted(steps):
    return collections.Counter(zip(steps.before, steps.after, steps.held, strict=True))


def byte(codes):
    return codes.contiguous().view(torch.uint8).numpy()


def assert_drawn_from(found, every):
    """``found`` are about as frequent as in ``every`` step, a counter, and nothing else occurs."""
    total = sum(every.values())
    assert sum(found.values()) == N
    assert set(found) <= set(every)
    keys = list(every)
    expected = np.array([every[k] for k in keys]) / total * N
    seen = np.array([found[k] for k in keys])
    chi2 = ((seen - expected) ** 2 / expected).sum() / len(keys)
    assert chi2 < 1.5


OPTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "padding": (0, 1), "dilation": (1, 2)},
    {"kernel_size": (1, 3), "groups": 2, "padding": "same"},
    {"padding": 1, "padding_mode": "circular"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_steps_of_a_convolution_are_those_of_its_windows(options):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 2, **{"kernel_size": 2, **options})
    x = torch.randn(2, 2, 4, 5)
    network = emulated(nn.Sequential(layer), x)
    sample = models.sample_operands(network, [x], seed=0, source="test", steps=N)
    site = network.layer("0")
    weight = byte(site.calibrated_codes()[0])
    # Every window of every channel, by unfolding what the original layer pads.
    padded = quantise(site.padded(x), site.x_scale).float()
    windows = F.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
    windows = byte(windows.to(torch.int8)).reshape(2, 2, *layer.kernel_size, -1)
    # Its own padding must be what this reference unfolds.
    assert windows.shape[-1] == layer(x)[0, 0].numel()
    every = collections.Counter()
    for out in range(2):
        for channel in range(weight.shape[1]):
            source = out if layer.groups == 2 else channel
            for i, j in np.ndindex(*layer.kernel_size):
                stream = windows[:, source, i, j].ravel()
                held = weight[out, channel, i, j]
                every.update(zip(stream[:-1], stream[1:], [held] * len(stream), strict=False))
    assert_drawn_from(counted(sample.sites["0"]), every)


def test_steps_of_a_linear_layer_go_from_token_to_token_and_from_batch_to_batch():
    torch.manual_seed(1)
    x = torch.randn(2, 4, 3)
    network = emulated(nn.Sequential(nn.Linear(3, 2)), x)
    sample = models.sample_operands(network, [x[:1], x], seed=0, source="test", steps=N)
    site = network.layer("0")
    weight, codes = byte(site.calibrated_codes()[0]), byte(quantise(x, site.x_scale))
    every = collections.Counter()
    for rows in (codes[:1].reshape(-1, 3), codes.reshape(-1, 3)):
        for before, after in itertools.pairwise(rows):
            for k, out in np.ndindex(3, 2):
                every[before[k], after[k], weight[out, k]] += 1
    assert_drawn_from(counted(sample.sites["0"]), every)
    assert sample.sites["0"].seen == (3 + 7) * 3


def test_attention_holds_its_second_operand():
    torch.manual_seed(2)
    x = torch.randn(1, 3, 8)
    network = emulated(Attending(), x)
    seen = {}
    hooks = [
        network.layer(site.name).register_forward_pre_hook(
            lambda m, o, name=site.name: seen.update({name: o})
        )
        for site in network.sites
        if site.kind in ("qk", "av")
    ]
    sample = models.sample_operands(network, [x], seed=0, source="test", steps=N)
    for hook in hooks:
        hook.remove()
    for name, operands in seen.items():
        scales = torch.split(network.layer(name).x_scale, 1)
        first, second = (byte(quantise(o, s)) for o, s in zip(operands, scales, strict=True))
        every = collections.Counter()
        rows = first.reshape(-1, first.shape[-1])
        for at in range(len(rows) - 1):
            held = second.reshape(-1, *second.shape[-2:])[at // first.shape[-2]]
            for k, n in np.ndindex(*held.shape):
                every[rows[at, k], rows[at + 1, k], held[k, n]] += 1
        assert_drawn_from(counted(sample.sites[name]), every)
    assert {site.kind for site in network.sites} >= {"qk", "av"}


def test_a_sample_repeats_and_survives_its_file(tmp_path):
    x = torch.randn(3, 2, 4, 4)
    network = emulated(nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 4)), x)
    first, again, other = (
        models.sample_operands(network, [x], seed=seed, source="test") for seed in (0, 0, 1)
    )
    assert counted(first.sites["0"]) == counted(again.sites["0"]) != counted(other.sites["0"])
    (tmp_path / "operands.npz").write_bytes(first.to_bytes())
    read = models.SampledOperands.read(tmp_path / "operands.npz")
    assert list(read.sites) == ["0", "2"] and read.source == "test"
    for name, steps in first.sites.items():
        assert read.sites[name].seen == steps.seen
        for part in ("before", "after", "held"):
            np.testing.assert_array_equal(
                getattr(read.sites[name], part), getattr(steps, part), strict=True
            )


def test_what_is_no_sample_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"nothing")
    for name in ("x.npz", "missing.npz"):
        with pytest.raises(InputError, match="holds no sampled operands"):
            models.SampledOperands.read(tmp_path / name)
    x = torch.randn(1, 3)
    with pytest.raises(InputError, match="at least two inputs"):
        models.sample_operands(
            emulated(nn.Sequential(nn.Linear(3, 2)), x), [x], seed=0, source="one row"
        )
    steps = models.OperandSteps(*np.zeros((3, 64), dtype=np.uint8), 1)
    fewer = models.OperandSteps(*np.zeros((3, 4), dtype=np.uint8), 1)
    with pytest.raises(InputError, match=r"not \[4, 64\]"):
        models.SampledOperands({"a": steps, "b": fewer}, "by hand")
