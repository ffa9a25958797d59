"""What hardware is told of a site, against what the network computes there."""

import numpy as np
import pytest
import torch
from torch import nn

import luts
from luts import Arithmetic
from models import Assignment, Choice, emulate
from models.emulation import best_weight_map, golden_vectors, site_parameters
from models.networks._hard import HardMoE
from tests.dse.tiny_network import tiny


class Expert(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


def convolutions():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=(1, 2), padding_mode="circular"),
        nn.BatchNorm2d(6),
        nn.Conv2d(6, 6, 3, padding=1, groups=3, dilation=2),
        nn.ReLU(),
        HardMoE([Expert(), Expert(), Expert()], features=6, granularity="image"),
        nn.Flatten(),
        nn.LazyLinear(4),
    )
    x = torch.randn(6, 3, 9, 8)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.weight)
    net.eval()(x)
    return net, x


def transformer():
    torch.manual_seed(4)
    return tiny(5, 8).eval(), torch.randn(4, 3, 16, 16)


NETWORKS = {"convolutions": convolutions, "transformer": transformer}
CHOICES = [
    Choice("mul8s_1KVL", swapped=True),
    Choice("array:a3b5d0", rounded=True),
    Choice("array:a5b0d0", swapped=True, rounded=True),
    Choice("mul8s_1L1G", rounded=True),
    Choice("mul8s_1KV8"),
]


@pytest.fixture(params=NETWORKS)
def emulated(request):
    """A network with another choice at each site, corrected, rescaled and code-tuned."""
    net, x = NETWORKS[request.param]()
    made = emulate(net, "mul8s_1KV8", calibration=[x])
    names = [site.name for site in made.sites]
    choices = {name: CHOICES[index % len(CHOICES)] for index, name in enumerate(names)}
    made.assign_(Assignment.of(choices))
    for index, name in enumerate(names):
        layer = made.layer(name)
        layer.rescale_(torch.full_like(layer.x_scale, 0.8))
        if hasattr(layer, "correction"):
            layer.correction.normal_(std=0.1)
            if index % 2:
                shares = np.full(256, 1 / 256)
                layer.map_weights_(best_weight_map(layer.arithmetic, shares))
    return made, x


def brute(tile, multiplier, swapped):
    """Sums of single products, looked up one by one."""
    sums = np.zeros(tile.sums.shape, np.int64)
    for m, k, n in np.ndindex(*tile.activations.shape, tile.weights.shape[1]):
        x, w = int(tile.activations[m, k]) & 255, int(tile.weights[k, n]) & 255
        sums[m, n] += multiplier.signed_table[(w, x) if swapped else (x, w)]
    return sums


def test_tiles_are_sums_of_single_products_of_the_codes_that_are_fed(emulated):
    network, x = emulated
    names = [site.name for site in network.sites]
    vectors = golden_vectors(network, x, names, positions=3, channels=2)
    assert list(vectors) == names
    for name, mine in vectors.items():
        arithmetic: Arithmetic = network.layer(name).arithmetic
        expected = brute(mine.tile, arithmetic.multiplier, arithmetic.swapped)
        assert np.array_equal(mine.tile.sums, expected)
        ignored = luts.ignored_bits(arithmetic.multiplier)
        if arithmetic.rounded:
            first, second = reversed(ignored) if arithmetic.swapped else ignored
            assert not (mine.tile.activations.astype(int) % (1 << first)).any()
            assert not (mine.tile.weights.astype(int) % (1 << second)).any()
        flat = mine.accumulators
        if flat.ndim == 4 and network.layer(name).operands == 1:
            flat = np.moveaxis(flat, 1, -1)
        rows = flat.reshape(-1, flat.shape[-1])[mine.tile.positions]
        assert np.array_equal(rows[:, : mine.tile.sums.shape[1]], mine.tile.sums)


@torch.no_grad()
def test_outputs_are_what_the_network_computes(emulated):
    network, x = emulated
    names = [site.name for site in network.sites]
    seen, handles = {}, []
    followed = {}
    for name in names:
        layer = network.layer(name)
        followers = getattr(layer, "follower", None)
        watched = followers[0] if followers else layer
        followed[name] = bool(followers)

        def keep(module, operands, output, name=name):
            seen.setdefault(name, output.clone())

        handles.append(watched.register_forward_hook(keep))
    # A hook after a BatchNorm would keep it from being folded: compare with its own result.
    network(x)
    for handle in handles:
        handle.remove()
    vectors = golden_vectors(network, x, names, positions=1, channels=1)
    for name in names:
        mine, parameters = vectors[name], site_parameters(network, name)
        assert parameters.folds_batchnorm == followed[name]
        if name in seen and mine.is_routed:
            torch.testing.assert_close(
                torch.from_numpy(mine.outputs), seen[name], rtol=1e-5, atol=1e-5
            )
        channel = (-1, 1, 1) if parameters.geometry is not None else (-1,)
        scaled = mine.accumulators.astype(np.float32) * parameters.factor.reshape(channel)
        if parameters.offset is not None:
            scaled = scaled + parameters.offset.reshape(channel)
        assert np.array_equal(scaled, mine.outputs)
        codes = np.clip(np.rint(mine.outputs / mine.output_scale), -127, 127)
        assert np.array_equal(codes, mine.output_codes) and np.abs(codes).max() == 127


def test_the_network_is_left_as_it_was(emulated):
    network, x = emulated
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        output = network(x)
        golden_vectors(network, x, [s.name for s in network.sites], positions=1, channels=1)
        assert torch.equal(network(x), output)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_an_expert_without_items_gets_those_of_its_layer():
    net, x = convolutions()
    network = emulate(net, "mul8s_1KV8", calibration=[x])
    names = [site.name for site in network.sites if site.expert is not None]
    vectors = golden_vectors(network, x[:1], names, positions=1, channels=1)
    assert list(vectors) == names
    assert [mine.is_routed for mine in vectors.values()].count(True) == 1
    assert {len(mine.input_codes) for mine in vectors.values()} == {1}
