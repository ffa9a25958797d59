import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import luts
import models.emulation._widened as widened
from models.emulation import Arithmetic, EmulatedConv2d, EmulatedLinear, EmulatedMatmul
from models.emulation._widened import _PRODUCTS, WidenedProducts, has_bfloat16
from models.training import quick_products
from tests.models._gradients import difference, gradients, seeded  # noqa: F401

ROUNDING = 2.0**-8  # of a number of bfloat16: half the distance to the next is at most this share


class Watching(TorchDispatchMode):
    """Notes the types of what is multiplied."""

    def __init__(self):
        super().__init__()
        self.types = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in _PRODUCTS:
            self.types += [part.dtype for part in args if isinstance(part, Tensor)]
        return func(*args, **(kwargs or {}))


def low(*shape):
    return torch.randn(*shape).bfloat16()


PRODUCTS = {
    "matrices": (torch.mm, (5, 70), (70, 9)),
    "matrices and a bias": (torch.addmm, (9,), (5, 70), (70, 9)),
    "batches": (torch.bmm, (3, 5, 70), (3, 70, 9)),
    "batches and a bias": (torch.baddbmm, (3, 5, 9), (3, 5, 70), (3, 70, 9)),
    "a vector": (torch.mv, (5, 70), (70,)),
    "vectors": (torch.dot, (70,), (70,)),
    "linear": (F.linear, (2, 5, 70), (9, 70), (9,)),
    "convolution": (F.conv2d, (2, 8, 6, 6), (4, 8, 3, 3), (4,)),
    "convolution of rows": (F.conv1d, (2, 8, 16), (4, 8, 3)),
    "convolution turned round": (F.conv_transpose2d, (2, 8, 6, 6), (8, 4, 3, 3)),
    "attention": (F.scaled_dot_product_attention, (2, 2, 9, 8), (2, 2, 9, 8), (2, 2, 9, 8)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_the_exact_ones_rounded(name):
    product, *shapes = PRODUCTS[name]
    parts = [low(*shape) for shape in shapes]
    with Watching() as watching, WidenedProducts():
        found = product(*parts)
    assert found.dtype == torch.bfloat16
    assert set(watching.types) == {torch.float32}
    exact = product(*(part.double() for part in parts))
    torch.testing.assert_close(found.double(), exact, rtol=ROUNDING, atol=1e-5)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.Linear(16, 48)

    def forward(self, x):
        return F.scaled_dot_product_attention(*self.heads(x).unsqueeze(1).chunk(3, dim=-1))


NETWORKS = {
    "convolution": (nn.Conv2d(8, 6, 3, padding=1), (4, 8, 6, 6)),
    "grouped convolution": (nn.Conv2d(8, 8, 3, groups=4), (4, 8, 6, 6)),
    "linear": (nn.Linear(32, 12), (2, 5, 32)),
    "attention": (Attention(), (2, 150, 16)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_pytorch_but_for_rounding(name):
    network, shape = NETWORKS[name]
    x = torch.randn(*shape)
    with Watching() as watching:
        ours = gradients(network, x, WidenedProducts(), low=True)
    assert set(watching.types) == {torch.float32}
    assert difference(ours, gradients(network, x, torch.enable_grad(), low=True)) < 2e-2


def test_other_types_are_left_to_pytorch():
    x, y = torch.randn(3, 5), torch.randn(5, 4)
    with Watching() as watching, WidenedProducts():
        assert (x @ y).dtype == torch.float32
        assert (x.double() @ y.double()).dtype == torch.float64
    assert watching.types == 2 * [torch.float32] + 2 * [torch.float64]


@pytest.mark.parametrize("has_it", [False, True])
def test_training_widens_where_the_processor_has_no_bfloat16(has_it, monkeypatch):
    monkeypatch.setattr(widened, "has_bfloat16", lambda: has_it)
    x, y = low(3, 5), low(5, 4)
    with Watching() as watching, quick_products():
        assert (x @ y).dtype == torch.bfloat16
    assert set(watching.types) == {torch.bfloat16 if has_it else torch.float32}


def test_a_build_without_onednn_has_no_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_bfloat16()


SITES = {
    "linear": (lambda: EmulatedLinear(nn.Linear(12, 5)), [(6, 12)]),
    "convolution": (lambda: EmulatedConv2d(nn.Conv2d(4, 6, 3, groups=2)), [(2, 4, 6, 6)]),
    "activations": (EmulatedMatmul, [(3, 4, 5), (3, 5, 2)]),
}


@pytest.mark.parametrize("name", SITES)
def test_gradients_of_a_site_need_no_mode_of_training(name, monkeypatch):
    """A loop of the user's own knows nothing of it."""
    monkeypatch.setattr(widened, "has_bfloat16", lambda: False)
    make, shapes = SITES[name]
    site, operands = make(), [torch.randn(*shape, requires_grad=True) for shape in shapes]
    site.x_scale.fill_(0.02)
    site.assign_(Arithmetic(luts.catalog["mul8s_1L1G"]))
    with torch.autocast("cpu", torch.bfloat16):
        y = site(*operands)
    with Watching() as watching:
        y.sum().backward()
    assert watching.types
    assert set(watching.types) == {torch.float32}
