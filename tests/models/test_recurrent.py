"""Recurrent and bilinear layers, taken apart, compute what PyTorch's do."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from luts import EXACT
from models import emulate, sites
from models.emulation._recurrent import exposed_recurrent
from tests.models.counting import counted

D, H, T, B = 5, 4, 6, 3
X = torch.randn(T, B, D, generator=torch.Generator().manual_seed(0))
KINDS = {
    "LSTM": (nn.LSTM, {}),
    "LSTM that projects": (nn.LSTM, {"proj_size": 2}),
    "GRU": (nn.GRU, {}),
    "RNN": (nn.RNN, {}),
    "RNN of relu": (nn.RNN, {"nonlinearity": "relu"}),
}
SHAPES = list(itertools.product([1, 2], [False, True], [False, True]))


def flat(outputs):
    """All tensors of an output."""
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def assert_alike(one, other):
    for x, y in zip(flat(one), flat(other), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("layers", "both_ways", "batch_first"), SHAPES)
def test_sequences_of_every_form(name, layers, both_ways, batch_first):
    torch.manual_seed(0)
    kind, options = KINDS[name]
    shape = {"num_layers": layers, "bidirectional": both_ways, "batch_first": batch_first}
    source = kind(D, H, bias=layers == 1, **shape, **options).eval()
    made = exposed_recurrent(source)
    x = X.transpose(0, 1) if batch_first else X
    h = torch.randn(layers * (1 + both_ways), B, options.get("proj_size", H))
    first = (h, torch.randn(len(h), B, H)) if kind is nn.LSTM else h
    with torch.no_grad():
        assert_alike(made(x), source(x))
        assert_alike(made(x, first), source(x, first))
        one = (first[0][:, 0], first[1][:, 0]) if kind is nn.LSTM else first[:, 0]
        assert_alike(made(X[:, 0]), source(X[:, 0]))
        assert_alike(made(X[:, 0], one), source(X[:, 0], one))
        for lengths, is_sorted in (([6, 4, 1], True), ([2, 6, 3], False)):
            packed = pack_padded_sequence(x, lengths, batch_first, is_sorted)
            for state in (None, first):
                (y, last), (want, final) = made(packed, state), source(packed, state)
                assert_alike(pad_packed_sequence(y), pad_packed_sequence(want))
                assert_alike(last, final)
    assert torch.equal(made.weight_hh_l0, source.weight_hh_l0)
    assert made.hidden_size == H and made.batch_first == batch_first
    assert counted(lambda: made(x))[0] == counted(lambda: source(x))[0]


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells(kind):
    source = kind(D, H)
    made = exposed_recurrent(source)
    h = torch.randn(B, H)
    state = (h, torch.randn(B, H)) if kind is nn.LSTMCell else h
    one = (h[0], state[1][0]) if kind is nn.LSTMCell else h[0]
    with torch.no_grad():
        for args in ((X[0],), (X[0], state), (X[0, 0],), (X[0, 0], one)):
            assert_alike(made(*args), source(*args))


def test_bilinear():
    source = nn.Bilinear(D, 3, 4)
    made = exposed_recurrent(source)
    y = torch.randn(T, B, 3)
    with torch.no_grad():
        assert_alike(made(X, y), source(X, y))
    assert torch.equal(made.weight, source.weight)
    assert counted(lambda: made(X, y))[0] == counted(lambda: source(X, y))[0]


class Reader(nn.Module):
    """Reads a sequence, and scores its end."""

    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(D, H, num_layers=2, batch_first=True)
        self.cell, self.score = nn.GRUCell(H, H), nn.Bilinear(H, D, 3)

    def forward(self, x):
        y = self.memory(x)[0][:, -1]
        return self.score(self.cell(y), x[:, 0])


def test_a_network_of_them_has_sites_for_every_product():
    torch.manual_seed(0)
    network, x = Reader().eval(), torch.randn(16, T, D)
    found = sites(network, x)
    macs = {site.name: site.macs for site in found}
    assert macs == {
        "memory.ih_l0": T * 4 * H * D,
        "memory.hh_l0": T * 4 * H * H,
        "memory.ih_l1": T * 4 * H * H,
        "memory.hh_l1": T * 4 * H * H,
        "cell.ih": 3 * H * H,
        "cell.hh": 3 * H * H,
        "score.inner": 3 * H * D,
        "score.outer": 3 * D,
    }
    assert found.coverage == 1 and sum(macs.values()) == counted(lambda: network(x))[0] // 16
    emulated = emulate(network, EXACT, calibration=[x], method="max")
    assert emulated.sites == found
    with torch.no_grad():
        want = network(x)
        assert torch.allclose(emulated.in_float()(x), want, atol=1e-5)
        exact = emulated(x)
        assert (exact - want).norm() / want.norm() < 0.05
        emulated.assign_("mul8s_1KR3")
        assert (emulated(x) - exact).norm() / want.norm() > 0.05
    emulated.train()(x).sum().backward()
    assert all(p.grad is not None for p in emulated.parameters())
