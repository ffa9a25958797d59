"""Products that are called as functions, each against the layer or the formula it stands for."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from luts import EXACT
from luts.errors import InputError
from models import (
    Assignment,
    Choice,
    channel_means,
    correct_bias_,
    emulate,
    sample_operands,
    sites,
)
from models.emulation import EmulatedMatmul
from models.emulation._canonical import READERS
from models.emulation._functional import form_of, macs_of, read
from tests.models.counting import counted

D = 6
X = torch.randn(8, D, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(4, 5, D, generator=torch.Generator().manual_seed(1))


def rand(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


A, B = rand(3, 4, 5), rand(3, 5, 6)
IMAGE, LINE, VOLUME = rand(2, 4, 7, 6), rand(2, 4, 9), rand(2, 4, 5, 6, 7)

CALLS = {
    "linear": (F.linear, (TOKENS, rand(7, D), rand(7)), {}),
    "linear by name": (F.linear, (), {"input": X, "weight": rand(7, D), "bias": rand(7)}),
    "addmm by name": (torch.addmm, (rand(6),), {"mat1": A[0], "mat2": B[0]}),
    "linear of one": (F.linear, (X[0], rand(7, D)), {}),
    "linear to one": (F.linear, (X, rand(D)), {}),
    "matmul": (torch.matmul, (A, B), {}),
    "matmul broadcast": (torch.matmul, (rand(2, 3, 4, 5), B), {}),
    "matmul by a matrix": (torch.matmul, (A, B[0]), {}),
    "a matrix by many": (torch.matmul, (A[0], B), {}),
    "row by matrix": (torch.matmul, (A[0, 0], B), {}),
    "matrix by column": (torch.matmul, (A, B[0, :, 0]), {}),
    "row by column": (torch.matmul, (A[0, 0], B[0, :, 0]), {}),
    "mv": (torch.mv, (A[0], B[0, :, 0]), {}),
    "bmm": (torch.bmm, (A, B), {}),
    "addmm": (torch.addmm, (rand(6), A[0], B[0]), {"beta": 0.5, "alpha": 2}),
    "addmm of nothing": (torch.addmm, (torch.full((6,), torch.nan), A[0], B[0]), {"beta": 0}),
    "addmv": (torch.addmv, (rand(4), A[0], B[0, :, 0]), {"beta": 0.5, "alpha": 2}),
    "addbmm": (torch.addbmm, (rand(4, 6), A, B), {"beta": 0.5, "alpha": 2}),
    "baddbmm": (torch.baddbmm, (rand(3, 4, 6), A, B), {}),
    "tensordot": (torch.tensordot, (rand(2, 3, 4), rand(4, 3, 5)), {"dims": ([2, 1], [0, 1])}),
    "tensordot 1": (torch.tensordot, (A, B[0]), {"dims": 1}),
    "inner": (torch.inner, (A, rand(2, 5)), {}),
}
for equation, shapes in {
    "bik,bkj->bij": ((3, 4, 5), (3, 5, 6)),
    "bhid, bhjd -> bhij": ((2, 3, 4, 5), (2, 3, 6, 5)),
    "byhwc,hkc->byhwk": ((2, 3, 4, 5, 6), (4, 7, 6)),
    "...ij,jk->...ik": ((2, 3, 4, 5), (5, 6)),
    "ij,jk": ((3, 4), (4, 5)),
    "...j,jk": ((2, 3, 4), (4, 5)),
    "...ij,...jk": ((2, 3, 4, 5), (2, 3, 5, 6)),
    "kij,jl->lik": ((2, 3, 4), (4, 5)),
    "ijk,kl->il": ((2, 3, 4), (4, 5)),
    "nc,nc->n": ((3, 4), (3, 4)),
}.items():
    CALLS[equation] = (torch.einsum, (equation, *(rand(*shape) for shape in shapes)), {})
for groups, stride, dilation in ((1, 1, 1), (2, 2, 1), (4, 1, 2)):
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    name = f"{groups} groups, steps of {stride}, gaps of {dilation}"
    for count, image, size in ((1, LINE, (3,)), (2, IMAGE, (3, 2)), (3, VOLUME, (2, 3, 3))):
        conv = (F.conv1d, F.conv2d, F.conv3d)[count - 1]
        back = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[count - 1]
        w = rand(8, 4 // groups, *size)
        CALLS[f"conv{count}d {name}"] = (conv, (image, w, rand(8)), {**options, "padding": 1})
        w = rand(4, 6 // groups if 6 % groups == 0 else 2, *size)
        bias = rand(w.shape[1] * groups)
        more = {"padding": 1, "output_padding": max(stride, dilation) - 1}
        CALLS[f"transposed {count}d {name}"] = (back, (image, w, bias), {**options, **more})
CALLS["conv2d same"] = (F.conv2d, (IMAGE, rand(2, 4, 2, 3)), {"padding": "same", "dilation": 2})
CALLS["conv2d valid"] = (F.conv2d, (IMAGE[0], rand(2, 4, 2, 3)), {"padding": "valid"})


def computed(form):
    """What a layer makes of a form, in float."""
    if form.kind == "matmul":
        return form.restore(form.x @ form.y)
    if form.geometry is None:
        return form.restore(F.linear(form.x, form.y, form.bias))
    stride, dilation, groups = form.geometry
    return form.restore(F.conv2d(form.x, form.y, form.bias, stride, 0, dilation, groups))


@pytest.mark.parametrize("held", ["second", "first", None])
@pytest.mark.parametrize("name", CALLS)
def test_every_form_computes_what_was_asked_for(name, held):
    func, args, kwargs = CALLS[name]
    call = read(func, args, kwargs)
    if held == "first" and not hasattr(call, "y"):
        pytest.skip("an image is no weight")
    expected = func(*args, **kwargs)
    for holds_bias in (False, True):
        form = form_of(call, held, holds_bias=holds_bias)
        torch.testing.assert_close(computed(form), expected, rtol=1e-4, atol=1e-4)
    if not (expected.numel() and "nc,nc" in name):
        assert macs_of(call, expected) == counted(lambda: func(*args, **kwargs))[0]


def test_every_reader_is_tested():
    assert {name for name, *_ in READERS.values()} == {READERS[c[0]][0] for c in CALLS.values()}


class Calls(nn.Module):
    """A function of the input and parameters, and a linear layer."""

    def __init__(self, compute, **parameters):
        super().__init__()
        self.compute = compute
        for name, value in parameters.items():
            setattr(self, name, value if isinstance(value, nn.Module) else nn.Parameter(value))
        self.head = nn.Linear(D, 3)

    def forward(self, x):
        return self.head(self.compute(self, x))


W = rand(D, D) / 2
NETWORKS = {
    # compute, what it holds, sites beside the head: (name, kind, MACs of one input, weights)
    "F.linear": (
        lambda m, x: F.linear(x, m.proj.weight, m.proj.bias + 1),
        {"proj": nn.Linear(D, D)},
        [("linear_0", "linear", 5 * D * D, D * D)],
    ),
    "x @ w": (lambda m, x: x @ m.w, {"w": W}, [("matmul_0", "linear", 5 * D * D, D * D)]),
    "w @ x": (lambda m, x: m.w @ x, {"w": W[:5, :5]}, [("matmul_0", "linear", 25 * D, 25)]),
    "addmm": (
        lambda m, x: torch.addmm(m.b, x.view(-1, D), m.w).view(x.shape),
        {"w": W, "b": rand(D)},
        [("addmm_0", "linear", 5 * D * D, D * D)],
    ),
    "attention by hand": (
        lambda m, x: (x @ x.transpose(-2, -1)).softmax(-1) @ x,
        {},
        [("matmul_0", "matmul", 25 * D, 0), ("matmul_1", "matmul", 25 * D, 0)],
    ),
    "weights per head": (
        lambda m, x: torch.einsum("nthc,hcd->nthd", x.unflatten(-1, (2, 3)), m.w).flatten(2),
        {"w": rand(2, 3, 3)},
        [("einsum_0", "linear", 5 * 2 * 9, 18)],
    ),
    "positions by a weight": (
        lambda m, x: x + torch.arange(5.0 * D).view(5, D).cos() @ (m.w * torch.ones(D)),
        {"w": W},
        [("matmul_0", "linear", 5 * D * D, D * D)],
    ),
    "tensordot": (
        lambda m, x: torch.tensordot(x, m.w, 1),
        {"w": W},
        [("tensordot_0", "linear", 5 * D * D, D * D)],
    ),
    "conv1d": (
        lambda m, x: F.conv1d(x.transpose(1, 2), m.w, padding=1).transpose(1, 2),
        {"w": rand(D, D, 3) / 3},
        [("conv1d_0", "conv", 5 * D * D * 3, D * D * 3)],
    ),
    "weights of the data": (  # as CondConv mixes its kernels
        lambda m, x: (
            F.conv1d(
                x.transpose(1, 2).reshape(1, -1, 5),
                (x.mean(1)[:, :2].softmax(-1) @ m.w.flatten(1)).view(-1, D, 3),
                padding=1,
                groups=len(x),
            )
            .view(len(x), D, 5)
            .transpose(1, 2)
        ),
        {"w": rand(2, D, D, 3) / 3},
        [("conv1d_0", "matmul", 15 * D * D, 0), ("matmul_0", "linear", 6 * D * D, 6 * D * D)],
    ),
    "nn.Conv1d": (
        lambda m, x: m.conv(x.transpose(1, 2)).transpose(1, 2),
        {"conv": nn.Conv1d(D, D, 3, padding=1)},
        [("conv.conv1d_0", "conv", 5 * D * D * 3, D * D * 3)],
    ),
    "nn.Conv3d": (
        lambda m, x: m.conv(x[:, None, None]).flatten(1, 3),
        {"conv": nn.Conv3d(1, 1, (1, 3, 3), padding=(0, 1, 1))},
        [("conv.conv3d_0", "conv", 5 * D * 9, 9)],
    ),
    "nn.ConvTranspose2d": (
        lambda m, x: m.conv(x[:, None])[:, 0, :5, :D],
        {"conv": nn.ConvTranspose2d(1, 1, 2, stride=2)},
        [("conv.conv_transpose2d_0", "conv", 5 * D * 4, 4)],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_functions_are_sites_of_the_module_that_calls_them(name):
    compute, held, expected = NETWORKS[name]
    torch.manual_seed(0)
    network = Calls(compute, **copy.deepcopy(held)).eval()
    found = sites(network, TOKENS)
    emulated = emulate(network, EXACT, calibration=[TOKENS], method="max")
    assert emulated.sites == found
    assert found.coverage == 1 and not found.unreached
    got = {(s.name, s.kind, s.macs, s.weights) for s in found if s.name != "head"}
    assert got == set(expected)
    with torch.no_grad():
        want, exact = network(TOKENS), emulated(TOKENS)
        assert torch.allclose(emulated.in_float()(TOKENS), want, atol=1e-5)
        assert 0 < (exact - want).norm() / want.norm() < 0.05
        # Each site multiplies by its circuit.
        for site in found:
            choices = dict.fromkeys((s.name for s in found), Choice(EXACT))
            emulated.assign_(Assignment.of(choices | {site.name: Choice("mul8s_1KR3")}))
            assert (emulated(TOKENS) - exact).abs().max() > 1e-4


def test_a_function_by_a_weight_is_the_layer_with_that_weight():
    torch.manual_seed(0)
    network = Calls(lambda m, x: x @ m.w.t() + m.b, w=W, b=rand(D)).eval()
    layer = nn.Linear(D, D)
    layer.weight.data, layer.bias.data = W, torch.zeros(D)
    twin = Calls(lambda m, x: m.proj(x) + m.b, proj=layer, b=rand(D)).eval()
    twin.head = network.head
    both = [emulate(n, "mul8s_1L1G", calibration=[TOKENS]) for n in (network, twin)]
    with torch.no_grad():
        assert torch.equal(both[0](TOKENS), both[1](TOKENS))
    # Backward too, straight through.
    for emulated in both:
        emulated.train()(TOKENS).square().sum().backward()
    first, second = both[0].layer("matmul_0").weight.grad, both[1].layer("proj").weight.grad
    assert torch.allclose(first, second)


class Nested(nn.Module):
    """The outer module and the inner one multiply, around each other's calls."""

    def __init__(self):
        super().__init__()
        self.inner = Calls(lambda m, x: x @ m.w, w=W)
        self.v = nn.Parameter(rand(3, D))
        self.plain = nn.Linear(D, D)

    def forward(self, x):
        y = self.inner(self.plain(x) @ self.v.t() @ self.v)
        return (y @ self.v) @ self.v.t()


def test_nested_modules_have_products_of_their_own():
    torch.manual_seed(0)
    network = Nested().eval()
    emulated = emulate(network, EXACT, calibration=[TOKENS], method="max")
    names = {"plain", "inner.matmul_0", "inner.head", *(f"matmul_{i}" for i in range(4))}
    assert {site.name for site in emulated.sites} == names
    with torch.no_grad():
        want = network(TOKENS)
        assert (emulated(TOKENS) - want).norm() / want.norm() < 0.1
        assert torch.allclose(emulated.in_float()(TOKENS), want, atol=1e-4)
        twice = copy.deepcopy(emulated)
        assert torch.equal(twice(TOKENS), emulated(TOKENS))


def test_constants_by_constants_and_outer_products_are_no_sites():
    def rotary(m, x):
        angles = m.w[:1].t() @ torch.arange(5.0)[None]  # nothing is summed
        table = (m.w @ m.w.t())[:1]  # the hardware would hold the result
        return x + angles.t().sin() + table

    with pytest.warns(UserWarning, match="are sites'"):
        found = sites(Calls(rotary, w=W).eval(), TOKENS)
    assert [site.name for site in found] == ["head"]
    assert {str(piece) for piece in found.uncovered} == {"the network itself (Calls)"}


def test_a_weight_that_the_data_choose_is_refused_with_the_remedy():
    def chosen(m, x):
        return x @ m.w[int(x.sum() > 0)]

    ups, downs = TOKENS.abs(), -TOKENS.abs()
    network = Calls(chosen, w=rand(2, D, D)).eval()
    with pytest.raises(InputError, match="one of several weights in matmul_0, as the data decide"):
        emulate(network, EXACT, calibration=[ups, downs])


def test_weights_cut_to_the_length_of_the_input_are_activations():
    network = Calls(lambda m, x: m.w[: x.shape[1], : x.shape[1]] @ x, w=W).eval()
    emulated = emulate(network, EXACT, calibration=[TOKENS, TOKENS[:, :3]], method="max")
    assert isinstance(emulated.layer("matmul_0"), EmulatedMatmul)
    with torch.no_grad():
        for x in (TOKENS, TOKENS[:, :3]):
            assert (emulated(x) - network(x)).norm() / network(x).norm() < 0.05


def test_more_calls_than_in_calibration_are_refused():
    def loop(m, x):
        for _ in range(1 + int(x[0, 0, 0] > 100)):
            x = x @ m.w
        return x

    emulated = emulate(Calls(loop, w=W).eval(), EXACT, calibration=[TOKENS])
    with torch.no_grad(), pytest.raises(InputError, match="the network calls matmul more often"):
        emulated(TOKENS + 200)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_are_refused(dtype):
    emulated = emulate(Calls(lambda m, x: x @ m.w, w=W).eval(), EXACT, calibration=[TOKENS])
    with torch.no_grad(), pytest.raises(InputError, match=f"not {dtype}"):
        emulated.to(dtype)(TOKENS.to(dtype))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert emulated.float()(TOKENS).shape == (4, 5, 3)


def test_a_convolution_called_as_a_function_is_folded_with_its_batchnorm():
    network = Calls(
        lambda m, x: m.norm(F.conv2d(x[:, None], m.w, padding=1)).mean(1),
        w=rand(4, 1, 3, 3),
        norm=nn.BatchNorm2d(4),
    ).eval()
    network.norm.running_mean.add_(1)
    emulated = emulate(network, EXACT, calibration=[TOKENS], method="max")
    assert emulated.layer("conv2d_0").follower == (emulated.network.norm,)
    with torch.no_grad():
        folded, want = emulated(TOKENS), network(TOKENS)
        emulated.network.norm.register_forward_hook(lambda *_: None)
        assert torch.allclose(emulated(TOKENS), folded, atol=1e-5)
    assert (folded - want).norm() / want.norm() < 0.05


@pytest.mark.parametrize("through_a_view", [False, True])
def test_a_buffer_that_the_input_is_written_into_is_no_weight(through_a_view):
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", rand(5, D))

        def forward(self, x):
            if through_a_view:
                self.kept[1:].copy_(x[0, 1:])
            else:
                self.kept[:] = x[0]
            return (x @ self.kept.t()).mean(1)

    network = Keeping().eval()
    emulated = emulate(network, EXACT, calibration=[TOKENS], method="max")
    assert [site.kind for site in emulated.sites] == ["matmul"]
    other = rand(*TOKENS.shape).clamp(TOKENS.min(), TOKENS.max())
    with torch.no_grad():
        found, want = emulated(other), network(other)
    assert (found - want).norm() / want.norm() < 0.05


def test_a_scalar_times_a_vector_is_no_product():
    assert read(torch.inner, (torch.tensor(2.0), rand(4)), {}) is None


def test_recovery_and_sampling_know_these_sites():
    network = Calls(
        lambda m, x: (
            torch.einsum("bi,bj->bij", x[:, 0], x[:, 1]).transpose(1, 2) @ m.w
            + (x[:, 0] @ x[:, 1].t())[0, 0]
        ),
        w=W,
    ).eval()
    emulated = emulate(network, "mul8s_1L1G", calibration=[TOKENS])
    assert {"matmul_0", "matmul_1", "head"} == {site.name for site in emulated.sites}
    with emulated.exactly():
        reference = channel_means(emulated, TOKENS)
    correct_bias_(emulated, TOKENS, reference)
    after = channel_means(emulated, TOKENS)
    for name in ("matmul_0", "head"):
        assert emulated.layer(name).correction.abs().sum() > 0
        assert torch.allclose(after[name], reference[name], atol=1e-4)
    sample = sample_operands(emulated, [TOKENS], seed=0, source="tokens", steps=64)
    assert list(sample.sites) == [site.name for site in emulated.sites]
