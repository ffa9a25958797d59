import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.emulation._counter import NO_SITE, UNSEEN, ProductCounter
from models.emulation._sites import sites
from tests.models.counting import counted

D, B = 8, 4


X = torch.randn(B, D)
W = torch.randn(D, D)
V = torch.randn(D)
IMAGE = torch.randn(2, 4, 6, 6)
ONE = torch.tensor([B], dtype=torch.int32)
SPARSE = W * (W > 0)
NONZEROS = int((SPARSE != 0).sum())
CELL = B * 2 * D * D
SQUARE = B * D * D

PRODUCTS = {
    "linear": (lambda: F.linear(X, W, V), SQUARE),
    "linear of tokens": (lambda: F.linear(X[None], W), SQUARE),
    "@": (lambda: X @ W, SQUARE),
    "bmm": (lambda: torch.bmm(X[None], W[None]), SQUARE),
    "baddbmm": (lambda: torch.baddbmm(X[None], X[None], W[None]), SQUARE),
    "addmm": (lambda: torch.addmm(V, X, W), SQUARE),
    "addmm_": (lambda: (0 * X).addmm_(X, W), SQUARE),
    "addbmm": (lambda: torch.addbmm(X, X.expand(3, B, D), W.expand(3, D, D)), 3 * SQUARE),
    "mv": (lambda: W @ V, D * D),
    "addmv": (lambda: torch.addmv(V, W, V), D * D),
    "dot": (lambda: V @ V, D),
    "tensordot": (lambda: torch.tensordot(X, W, 1), SQUARE),
    "inner": (lambda: torch.inner(X, W), SQUARE),
    "einsum": (lambda: torch.einsum("bi,oi->bo", X, W), SQUARE),
    "multi_dot": (lambda: torch.linalg.multi_dot([X, W, W]), 2 * SQUARE),
    "linalg.matmul": (lambda: torch.linalg.matmul(X, W), SQUARE),
    "aten": (lambda: torch.ops.aten.mm(X, W), SQUARE),
    "grouped_mm": (lambda: F.grouped_mm(X, W[None], offs=ONE), SQUARE),
    "int8": (lambda: torch._int_mm(*2 * [torch.ones(32, 32, dtype=torch.int8)]), 32**3),
    "conv1d": (lambda: F.conv1d(X[:, None], W[:2, None, :3], padding=1), B * D * 2 * 3),
    "conv2d": (lambda: F.conv2d(IMAGE, torch.randn(6, 2, 3, 3), groups=2), 2 * 6 * 16 * 18),
    "conv3d": (lambda: F.conv3d(IMAGE[None], torch.randn(3, 2, 1, 1, 1)), 3 * 4 * 36 * 2),
    "convolution": (
        lambda: torch.convolution(X[:, None], W[None, :1, :3], None, [1], [1], [1], False, [0], 1),
        B * D * 3,
    ),
    "transposed": (lambda: F.conv_transpose2d(IMAGE, torch.randn(4, 3, 2, 2)), 2 * 4 * 36 * 12),
    "attention": (lambda: F.scaled_dot_product_attention(*3 * [X[None, None]]), 2 * B * B * D),
    "attention of 3": (lambda: F.scaled_dot_product_attention(*3 * [X[None]]), 2 * B * B * D),
    "bilinear": (
        lambda: F.bilinear(X, X[:, :3], torch.randn(5, D, 3)),
        B * (5 * D * 3 + 5 * 3),
    ),
    "cdist": (lambda: torch.cdist(X, W), SQUARE),
    "cdist of many": (lambda: torch.cdist(torch.randn(40, D), torch.randn(30, D)), 1200 * D),
    "sparse": (lambda: torch.sparse.mm(SPARSE.to_sparse(), X.t()), NONZEROS * B),
    "sparse rows": (lambda: SPARSE.to_sparse_csr() @ X.t(), NONZEROS * B),
    "LSTM": (lambda: nn.LSTM(D, D, 2, bidirectional=True)(X[None]), 2 * 4 * (CELL + 3 * CELL // 2)),
    "GRU": (lambda: nn.GRU(D, D)(X[None]), 3 * CELL),
    "RNN": (lambda: nn.RNN(D, D)(X[None]), CELL),
    "LSTMCell": (lambda: nn.LSTMCell(D, D)(X), 4 * CELL),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(D, 2)(X, X, X),
        4 * SQUARE + 2 * B * B * D,
    ),
}


@pytest.mark.filterwarnings("ignore:.*[Ss]parse:UserWarning")
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_counted_whatever_function_asks_for_them(name):
    compute, macs = PRODUCTS[name]
    assert counted(compute) == (macs, set())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_products_of_quantised_layers_are_counted():
    quantisation = torch.ao.quantization
    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("PyTorch quantises for x86 here alone")
    for layer, macs in ((nn.Linear(D, 5), B * D * 5), (nn.LSTM(D, D, 2), 2 * 4 * CELL)):
        network = nn.Sequential(layer)
        quantised = quantisation.quantize_dynamic(network, {type(layer)})
        assert counted(lambda network=quantised: network(X[None]))[0] == macs
    network = nn.Sequential(quantisation.QuantStub(), nn.Conv2d(4, 6, 3, groups=2)).eval()
    network.qconfig = quantisation.default_qconfig
    prepared = quantisation.prepare(copy.deepcopy(network))
    prepared(IMAGE)
    assert counted(lambda: quantisation.convert(prepared)(IMAGE))[0] == 2 * 6 * 16 * 18


UNCOUNTED = {
    "elementwise products that are summed": lambda: (X[:, :, None] * W).sum(1),
    "products without a sum": lambda: torch.outer(V, V),
    "transforms and solvers": lambda: torch.linalg.solve(W, V),
    "interpolation and pooling": lambda: F.grid_sample(IMAGE, torch.rand(2, 3, 3, 2)),
    "products of two sparse matrices": lambda: torch.sparse.mm(W.to_sparse(), W.to_sparse()),
    "weighted look-ups": lambda: F.embedding_bag(
        torch.tensor([[1, 2]]), W, mode="sum", per_sample_weights=torch.ones(1, 2)
    ),
}


@pytest.mark.filterwarnings("ignore:Default grid_sample:UserWarning")
@pytest.mark.parametrize("what", UNSEEN)
def test_what_is_not_counted_is_listed(what):
    assert counted(UNCOUNTED[what]) == (0, set())


class Beside(nn.Module):
    """A linear layer, and products that are no site."""

    def __init__(self, compute):
        super().__init__()
        self.head, self.compute = nn.Linear(D, D), compute

    def forward(self, x):
        return self.head(x) + self.compute(x).sum()


COUNTED_ONLY = {
    "torch.cdist": (lambda x: torch.cdist(x, W), SQUARE),
    "F.grouped_mm": (lambda x: F.grouped_mm(x, W[None], offs=ONE), SQUARE),
    "torch.linalg.multi_dot": (lambda x: torch.linalg.multi_dot([x, W, W]), 2 * SQUARE),
    "torch.sparse.mm": (lambda x: torch.sparse.mm(SPARSE.to_sparse(), x.t()), B * NONZEROS),
    "torch.dot": (lambda x: torch.dot(x[0], V), D),
}


@pytest.mark.filterwarnings("ignore:.*are sites':UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("what", NO_SITE)
def test_what_is_counted_but_no_site_is_listed(what):
    compute, macs = COUNTED_ONLY[what]
    assert counted(lambda: compute(X)) == (macs, set())
    if what == "F.grouped_mm":  # how many rows there are is part of its arguments
        return
    found = sites(Beside(compute), X)
    assert [site.name for site in found] == ["head"]
    assert found.coverage < 1 and found.uncovered[0].module == "Beside"


def test_operators_of_other_libraries_are_named():
    library = torch.library.Library("somebodys", "DEF")
    library.define("product(Tensor x, Tensor y) -> Tensor")
    library.impl("product", torch.matmul, "CPU")
    assert counted(lambda: torch.ops.somebodys.product(X, W)) == (0, {"somebodys::product"})


def test_counting_is_attributed_to_who_is_at_work():
    who = iter(["first", "second"])
    counter = ProductCounter(lambda: next(who))
    with counter:
        X @ W
        X @ W[:, :2]
    assert counter.macs == {"first": SQUARE, "second": B * D * 2}
    assert math.prod(X.shape) == B * D
