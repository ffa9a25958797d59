"""Codes from site to site: the same bits, whatever the network does with its activations."""

import contextlib
import copy
import io
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._pytree import tree_leaves

from luts import isa
from models import Assignment, Choice, NetworkConfig, build, emulate
from models.emulation import EmulatedConv2d, _site_output
from models.emulation._fusion import VECTORISED, Fusion
from models.emulation._layers import EmulatedWeightSite
from models.emulation._site_output import SiteOutput
from tests.models.test_fold import shake_

pytestmark = [
    pytest.mark.filterwarnings("ignore:no input reached"),
    pytest.mark.filterwarnings("ignore:one scale serves calls"),
]

CIRCUITS = ("mul8s_1KV8", "mul8s_1L2H", "mul8s_1KX2")


def fused_sites(emulated):
    """What sites give, by name, of those that do not give plain float32."""
    return {
        name: str(module.fusion)
        for name, module in emulated.network.named_modules()
        if isinstance(module, EmulatedWeightSite) and module.fusion.is_planned
    }


def whatever_size(emulated):
    """The same network, which gives codes of small outputs too."""
    emulated._folding.least = 0
    return emulated


def images(seed, *shape):
    return torch.randn(*(shape or (4, 3, 12, 12)), generator=torch.Generator().manual_seed(seed))


def bits(outputs):
    leaves = [x for x in tree_leaves(outputs) if isinstance(x, torch.Tensor)]
    assert not any(isinstance(x, SiteOutput) for x in leaves)
    return [x.contiguous().numpy().tobytes() for x in leaves]


def assert_same(emulated, x, mode=torch.inference_mode):
    """Fused and unfused outputs agree in every bit."""
    whatever_size(emulated)
    with mode():
        got = emulated(x)
        with emulated.unfused():
            expected = emulated(x)
        assert bits(got) == bits(expected)
        assert bits(emulated(x)) == bits(expected)


@contextlib.contextmanager
def counting_codes():
    """How often a site was fed codes that another one had made."""
    calls = []
    original = SiteOutput.codes_for

    def counted(self, site):
        codes = original(self, site)
        calls.append(codes is not None)
        return codes

    SiteOutput.codes_for = counted
    try:
        yield calls
    finally:
        SiteOutput.codes_for = original


@pytest.mark.parametrize("topology", ["dense", "hard", "soft", "cluster"])
def test_resnets_are_the_same(topology):
    net = shake_(build(NetworkConfig("resnet20", topology), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 4, 3, 32, 32)])
    sites = fused_sites(emulated)
    assert sites["conv1"] == "codes and float32 after ReLU"
    assert sites["layer1.0.conv1"] == "codes after ReLU"
    assert sites["layer1.0.conv2"] == "codes and float32 after sum, ReLU"
    branches = [name for name in sites if name.startswith("layer3") and "conv1" in name]
    assert len(branches) == (3 if topology == "dense" else 12)
    for circuit in CIRCUITS:
        emulated.assign_(circuit)
        with counting_codes() as calls:
            assert_same(emulated, images(2, 3, 3, 32, 32))
        assert sum(calls) > 20
    assert_same(emulated, images(3, 1, 3, 32, 32), torch.no_grad)


def test_vgg_is_the_same_with_pooling_between():
    net = shake_(build(NetworkConfig("vgg11_bn"), seed=0), 1)
    emulated = emulate(net, "mul8s_1L2H", calibration=[images(1, 2, 3, 32, 32)])
    assert fused_sites(emulated)["features.0"] == "codes after ReLU, pooling"
    assert len(fused_sites(emulated)) == 9
    assert_same(emulated, images(2, 3, 3, 32, 32))


def test_transformers_are_the_same():
    net = build(NetworkConfig("vit_small"), seed=0)
    emulated = emulate(net, "mul8s_1L2H", calibration=[images(1, 2, 3, 32, 32)])
    assert_same(emulated, images(2, 2, 3, 32, 32))


def test_small_outputs_are_given_as_they_were():
    net = shake_(build(NetworkConfig("resnet20"), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 2, 3, 32, 32)])
    with counting_codes() as calls, torch.inference_mode():
        emulated(images(2, 1, 3, 32, 32))
    assert not any(calls)
    with counting_codes() as calls, torch.inference_mode():
        emulated(images(2, 16, 3, 32, 32))
    assert any(calls) == (isa() in VECTORISED)


def test_scales_are_read_when_they_are_used():
    net = shake_(build(NetworkConfig("resnet20"), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 2, 3, 32, 32)])
    for step, name in enumerate(("layer2.0.conv1", "layer1.1.conv1", "layer1.0.conv2")):
        # The first is one of two that read the same activation.
        emulated.layer(name).rescale_(torch.tensor([0.7 + 0.1 * step]))
        assert_same(emulated, images(2, 2, 3, 32, 32))
    mixed = {site.name: Choice(CIRCUITS[i % 3]) for i, site in enumerate(emulated.sites)}
    emulated.assign_(Assignment.of(mixed))
    assert_same(emulated, images(2, 2, 3, 32, 32))
    emulated.assign_("mul8s_1L2D")
    emulated.layer("layer1.0.conv2").learn_scale_(True)
    with torch.no_grad():
        emulated.layer("layer1.0.conv2").log_scale += 0.3
    assert_same(emulated, images(2, 2, 3, 32, 32))


def test_weights_and_statistics_that_change_are_followed():
    net = shake_(build(NetworkConfig("vgg11_bn"), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 2, 3, 32, 32)])
    assert_same(emulated, images(2, 2, 3, 32, 32))
    shake_(emulated.network, 7)
    with torch.no_grad():
        emulated.layer("features.8").weight.mul_(-1)
        emulated.layer("features.8").correction += 0.1
    assert_same(emulated, images(2, 2, 3, 32, 32))


class Net(nn.Module):
    """Convolutions a, b and c of three channels each, a BatchNorm, and what ``steps`` does."""

    def __init__(self, steps):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.wide = nn.Conv2d(3, 70, 1)
        self.narrow = nn.Conv2d(70, 5, 3, stride=2)
        self.bn = nn.BatchNorm2d(3)
        self.relu = nn.ReLU()
        self.relu_ = nn.ReLU(inplace=True)
        self.fc, self.fc2 = nn.Linear(3 * 36, 11), nn.Linear(11, 4)
        self.steps = steps
        self.kept = None

    def forward(self, x):
        return self.steps(self, x)


def _residual(n, x):
    x = F.relu(n.a(x))
    return F.relu(n.b(x) + x).mean((2, 3)), n.c(F.relu(n.wide(x)[:, :3]))


def _residual_chain(n, x):
    x = n.relu(n.bn(n.a(x)))
    x = n.relu(n.b(x) + x)
    x = n.relu(x + n.c(x))
    return n.narrow(n.relu(n.wide(x)))


def _added_in_place(n, x):
    x = n.relu(n.a(x))
    y = n.b(x)
    y += x
    return n.c(n.relu_(y)), x


def _shortcut_changes_later(n, x):
    x = n.relu(n.a(x))
    y = n.b(x) + x
    x.mul_(0)
    return n.c(F.relu(y)), x, y


def _plain_shortcut_changes_later(n, x):
    s = x * 2
    y = n.relu(n.b(n.relu(n.a(x))) + s)
    s.zero_()
    return n.c(y) + y


def _input_changes_later(n, x):
    h = x + 1
    y = n.a(h)
    h.zero_()
    return n.b(n.relu(y)), y.sum()


def _view_then_in_place(n, x):
    y = n.a(x)
    v = y.flatten(1)
    y.relu_()
    return n.b(y), v


def _read_before_and_after(n, x):
    y = n.a(x)
    return n.b(n.relu(y)), n.c(y), y.mean(), y


def _in_place_base(n, x):
    y = n.a(x)
    r = n.relu(y)
    y.mul_(2)
    return n.b(r), y, r


def _two_readers(n, x):
    y = n.relu(n.a(x))
    return n.b(y), n.wide(y), n.c(n.b(y))


def _twice(n, x):
    y = n.relu(n.a(x))
    return n.b(n.relu(n.a(y)))


def _twice_differently(n, x):
    return n.b(n.relu(n.a(x))) + n.a(x).tanh()


def _both_summands_are_sites(n, x):
    return n.c(n.relu(n.a(x) + n.b(x)))


def _sum_of_itself(n, x):
    y = n.a(x)
    return n.b(n.relu(y + y))


def _scaled_sum(n, x):
    return n.b(n.relu(torch.add(n.a(x), x, alpha=2))), n.c(n.relu(n.a(x) + 1.5))


def _broadcast_sum(n, x):
    return n.b(n.relu(n.a(x) + x.mean((2, 3), keepdim=True)))


def _sum_before_relu_is_read(n, x):
    y = n.a(x) + x
    return n.b(n.relu(y)), y, n.c(y)


def _pool(**options):
    def steps(n, x):
        return n.b(F.max_pool2d(n.relu(n.bn(n.a(x))), **options))

    return steps


def _pool_then_relu(n, x):
    return n.b(n.relu(F.max_pool2d(n.a(x), 2)))


def _pool_without_relu(n, x):
    return n.b(F.max_pool2d(n.a(x), 3, 1, 1))


def _pool_indices(n, x):
    y, at = F.max_pool2d(n.relu(n.a(x)), 2, return_indices=True)
    return n.b(F.max_unpool2d(y, at, 2)), n.c(y), at


def _pool_of_sum(n, x):
    return n.b(F.max_pool2d(n.relu(n.a(x) + x), 2))


def _other_poolings(n, x):
    y = n.relu(n.a(x))
    return n.b(F.avg_pool2d(y, 2)), n.c(F.adaptive_max_pool2d(y, 3))


def _other_activations(n, x):
    y = n.b(F.relu6(n.a(x)))
    return n.c(y.clamp(min=0)), n.wide(F.leaky_relu(n.c(F.gelu(y))))


def _dropout(n, x):
    return n.b(F.dropout(n.relu(n.a(x)), 0.5, training=False))


def _classifier(n, x):
    y = F.max_pool2d(n.relu(n.a(x)), 2)
    return n.fc2(F.relu(n.fc(y.view(y.size(0), -1))))


def _linear_residual(n, x):
    y = F.relu(n.fc(F.max_pool2d(x, 2).flatten(1)))
    return n.fc2(F.relu(y)), n.fc2(y + 1)


def _stashed(n, x):
    n.kept = n.relu(n.a(x))
    return n.b(n.kept)


def _through_numpy(n, x):
    y = n.relu(n.a(x))
    return n.b(torch.from_numpy(np.asarray(y) * 2)), n.c(torch.tensor(y.tolist()))


def _item(n, x):
    y = n.relu(n.a(x))
    return n.b(y) * y.max().item()


def _concatenated(n, x):
    y = n.relu(n.a(x))
    return n.b(torch.cat([y, n.relu(n.c(y))])), torch.stack([n.a(x), n.b(x)])


def _written_into(n, x):
    y = n.a(x)
    y[:, 0] = 1
    y.clamp_(-1, 1)
    return n.b(n.relu(y))


def _layout(n, x):
    y = n.relu(n.a(x))
    return n.b(y), y.view(len(x), -1), torch.tensor(y.stride())


def _metadata(n, x):
    y = n.a(x)
    size = torch.tensor([*y.shape, y.dim(), y.numel(), y.is_contiguous(), y.element_size()])
    return n.b(n.relu(y)), size, torch.zeros_like(y), y.new_zeros(2)


def _nested(n, x):
    y = n.relu(n.a(x))
    return {"deep": [n.b(y), (y, {"y": n.c(y)})], "text": "same"}


def _single(n, x):
    return torch.stack([n.b(n.relu(n.a(one))) for one in x])


def _grad_inside(n, x):
    y = n.relu(n.a(x))
    with torch.enable_grad():
        return n.b(y).detach(), n.c(y.detach()).detach()


def _copied(n, x):
    y = n.relu(n.a(x))
    return n.b(copy.deepcopy(y)), n.c(pickle.loads(pickle.dumps(y)))


def _out(n, x):
    y = n.relu(n.a(x))
    z = torch.empty_like(x)
    torch.mul(y, 2, out=z)
    return n.b(y), z


def _detached_then_in_place(n, x):
    y = n.a(x)
    y.detach().zero_()
    return n.b(n.relu(y))


STEPS = {
    steps.__name__: steps for name, steps in globals().items() if callable(steps) and name[0] == "_"
}
STEPS |= {
    "pool 2": _pool(kernel_size=2),
    "pool 3/2 padded": _pool(kernel_size=3, stride=2, padding=1),
    "pool ceil": _pool(kernel_size=(3, 2), stride=(2, 3), ceil_mode=True),
    "pool dilated": _pool(kernel_size=2, dilation=2),
}
STEPS = {k: v for k, v in STEPS.items() if k not in ("_pool", "steps") and not k.startswith("__")}


@pytest.mark.parametrize("name", sorted(STEPS))
def test_whatever_a_network_does_it_is_the_same(name):
    emulated = emulate(shake_(Net(STEPS[name]), 1), "mul8s_1KV8", calibration=[images(1)])
    for circuit in ("mul8s_1KX2", "mul8s_1L2H"):
        emulated.assign_(circuit)
        # PyTorch computes no gradients from tensors of inference mode.
        for mode in (torch.no_grad, torch.inference_mode)[: 1 + (name != "_grad_inside")]:
            assert_same(emulated, images(2), mode)
            assert_same(emulated, images(3, 1, 3, 12, 12), mode)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("_residual_chain", {"a": "codes and float32 after ReLU", "wide": "codes after ReLU"}),
        ("_added_in_place", {"b": "codes and float32 after sum, ReLU"}),
        ("pool 3/2 padded", {"a": "codes after ReLU, pooling"}),
        ("_pool_then_relu", {"a": "codes after ReLU, pooling"}),
        ("_two_readers", {"a": "codes after ReLU"}),
        ("_dropout", {"a": "codes after ReLU"}),
        ("_stashed", {"a": "codes after ReLU"}),
        ("_layout", {"a": "codes and float32 after ReLU"}),
        ("_twice_differently", {"b": "float32 after sum"}),
        ("_twice", {}),
        ("_sum_before_relu_is_read", {}),
        ("_scaled_sum", {}),
    ],
)
def test_what_is_given_is_what_is_read(name, given):
    emulated = emulate(shake_(Net(STEPS[name]), 1), "mul8s_1KV8", calibration=[images(1)])
    assert fused_sites(emulated).items() >= given.items()
    if not given:
        assert not fused_sites(emulated)


def test_what_is_kept_outlives_the_forward():
    emulated = whatever_size(emulate(Net(_stashed), "mul8s_1KV8", calibration=[images(1)]))
    with torch.no_grad():
        emulated(images(2))
        kept = emulated.network.kept
        with emulated.unfused():
            emulated(images(2))
        assert isinstance(kept, SiteOutput)
        assert torch.equal(torch.from_numpy(kept.numpy()), emulated.network.kept)
        assert repr(kept) == repr(emulated.network.kept)
        assert torch.equal(copy.deepcopy(emulated).network.kept, emulated.network.kept)


def test_a_network_that_departs_from_what_was_seen_is_the_same():
    def steps(n, x):
        y = n.a(x)
        if x[0, 0, 0, 0] > 0:
            return n.b(n.relu(y))
        if x[0, 0, 0, 1] > 0:
            return n.c(y) + y.abs()
        return n.c(n.relu(n.b(n.relu(y)) + x)), n.narrow(n.wide(y * y))

    x = images(1)
    x[0, 0, 0, 0] = 1
    other, third = -x, -x
    third[0, 0, 0, 1] = 1
    emulated = emulate(Net(steps), "mul8s_1KV8", calibration=[x, other, third])
    assert fused_sites(emulated) == {"a": "codes after ReLU"}
    for each in (x, other, third, x):
        assert_same(emulated, each)


def test_hooks_observers_watchers_gradients_and_training_see_floats():
    emulated = whatever_size(emulate(Net(_residual), "mul8s_1KV8", calibration=[images(1)]))
    seen = []

    def look(module, args, *rest):
        seen.extend(args)
        seen.extend(rest)

    a, b = emulated.layer("a"), emulated.layer("b")
    for register in (a.register_forward_hook, b.register_forward_pre_hook):
        handle = register(look)
        assert_same(emulated, images(2))
        handle.remove()
        assert seen and all(type(x) is torch.Tensor for x in seen)
        seen.clear()
    a.watcher = lambda means: seen.append(means)
    assert_same(emulated, images(2))
    a.watcher = None
    assert seen
    with counting_codes() as calls:
        emulated(images(2))[0].sum().backward()
        emulated.zero_grad()
        b.start_calibration("max")
        with torch.no_grad():
            emulated(images(2))
        b.finish_calibration()
    assert not any(calls)
    with counting_codes() as calls, torch.no_grad():
        emulated(images(2))
        assert any(calls)
        calls.clear()
        emulated.train()
        emulated(images(2))
        a(images(2))
    assert not any(calls)


def test_batchnorm_in_training_mode_is_no_part_of_it():
    emulated = emulate(shake_(Net(_residual_chain), 1), "mul8s_1KV8", calibration=[images(1)])
    whatever_size(emulated)
    emulated.network.bn.train()
    with torch.no_grad():
        state = copy.deepcopy(emulated.state_dict())
        got = emulated(images(2))
        emulated.load_state_dict(state)
        with emulated.unfused():
            assert torch.equal(emulated(images(2)), got)


def test_autocast_is_left_alone():
    emulated = whatever_size(emulate(Net(_residual), "mul8s_1KV8", calibration=[images(1)]))
    with counting_codes() as calls, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = emulated(images(2))
        with emulated.unfused():
            expected = emulated(images(2))
    assert not calls
    assert all(torch.equal(x, y) for x, y in zip(got, expected, strict=True))


def test_values_that_are_no_numbers_are_the_same():
    emulated = emulate(Net(STEPS["pool 2"]), "mul8s_1KV8", calibration=[images(1)])
    residual = emulate(Net(_residual_chain), "mul8s_1KV8", calibration=[images(1)])
    for value in (float("nan"), float("inf"), float("-inf"), 1e38, -0.0):
        for network in (emulated, residual):
            with torch.no_grad():
                network.layer("a").bias[1] = value
                network.network.bn.weight[2] = value
            assert_same(network, images(2))
            x = images(3)
            x[0, 1, 2] = value
            assert_same(network, x)


def test_a_copy_has_its_own_sites():
    emulated = emulate(shake_(Net(_residual_chain), 1), "mul8s_1KV8", calibration=[images(1)])
    assert_same(emulated, images(2))
    copied = copy.deepcopy(emulated)
    assert copied.layer("a").fusion.readers[0] is copied.layer("b")
    copied.layer("b").rescale_(torch.tensor([0.5]))
    assert_same(copied, images(2))
    assert_same(emulated, images(2))
    in_float = emulated.in_float()
    with torch.no_grad():
        assert not torch.equal(in_float(images(2)), emulated(images(2)))
    buffer = io.BytesIO()
    torch.save(emulated.state_dict(), buffer)
    buffer.seek(0)
    copied.load_state_dict(torch.load(buffer))
    assert_same(copied, images(2))


def test_sites_of_any_backend_pass_codes():
    emulated = emulate(Net(_residual_chain), "mul8s_1KV8", calibration=[images(1)])
    grouped = nn.Sequential(
        *(nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(4 * 81, 3)),
    )
    narrow = emulate(grouped, "mul8s_1KX2", calibration=[images(1, 2, 6, 9, 9)])
    assert narrow.plan().rows[0].backend == "table"
    assert "0" in fused_sites(narrow)
    assert_same(narrow, images(2, 3, 6, 9, 9))
    assert_same(emulated, images(2))


def test_the_plan_says_what_sites_give():
    emulated = emulate(shake_(Net(_residual_chain), 1), "mul8s_1KV8", calibration=[images(1)])
    gives = {row.site: row.gives for row in emulated.plan().rows}
    assert gives["a"] == "codes and float32 after ReLU"
    assert gives["narrow"] == "float32"
    assert "codes after ReLU" in str(emulated.plan())


def test_the_plan_says_why_a_network_cannot_run_with_codes():
    def particular(n, x):
        y = n.a(x)
        if type(y) is not torch.Tensor:
            raise TypeError("tensors only, please\nand nothing like them")
        return n.narrow(n.relu(n.wide(n.relu(y))))

    emulated = emulate(Net(particular), "mul8s_1KV8", calibration=[images(1)])
    plan = emulated.plan()
    assert {row.gives for row in plan.rows} == {"float32"}
    assert plan.failed == "TypeError: tensors only, please"
    assert str(plan).endswith(f"all sites give float32, as the network raised {plan.failed}")
    assert not emulate(Net(_residual_chain), "mul8s_1KV8", calibration=[images(1)]).plan().failed


def test_what_differs_is_not_fused(monkeypatch):
    def wrong(codes, *args, **kwargs):
        return right(codes, *args, **kwargs).clamp(max=3)

    def steps(n, x):
        return n.narrow(n.relu(n.wide(F.max_pool2d(n.relu(n.a(x)), 2))))

    right = _site_output.max_pool
    monkeypatch.setattr(_site_output, "max_pool", wrong)
    emulated = emulate(Net(steps), "mul8s_1KV8", calibration=[images(1)])
    assert fused_sites(emulated) == {"wide": "codes after ReLU"}
    assert_same(emulated, images(2))


def test_a_network_whose_outputs_differ_from_call_to_call_is_not_fused():
    class Noisy(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            Noisy.calls += 1e-7 if torch.is_grad_enabled() else 1e-6
            return self.b(F.relu(self.a(x))) * (1 + Noisy.calls)

    emulated = emulate(Noisy(), "mul8s_1KV8", calibration=[images(1)])
    assert fused_sites(emulated) == {}


def test_a_fusion_without_a_plan_does_nothing():
    assert not Fusion(None).is_planned
    assert str(Fusion(None)) == "float32"


@st.composite
def programs(draw):
    """Steps of a random network over a pool of activations of one shape."""
    kinds = ["conv", "conv", "relu", "relu", "relu_", "add", "add_", "pool", "bn", "mean", "half"]
    count = draw(st.integers(3, 10))
    step = st.tuples(st.sampled_from(kinds), st.integers(0, 99), st.integers(0, 99))
    return draw(st.lists(step, min_size=count, max_size=count))


class Random(nn.Module):
    """Runs a program; every value may be read again, in place or not."""

    def __init__(self, program):
        super().__init__()
        torch.manual_seed(0)
        self.program = program
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.bns = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(2))

    def forward(self, x):  # noqa: C901 - one branch a kind of step
        values = [self.convs[0](x)]
        for kind, first, second in self.program:
            # Mostly the latest, so that chains come about.
            y = values[-1 if first < 60 else first % len(values)]
            other = values[second % len(values)]
            if kind == "conv":
                values.append(self.convs[second % 4](y))
            elif kind == "relu":
                values.append(F.relu(y))
            elif kind == "relu_":
                values.append(y.relu_())
            elif kind == "add":
                values.append(y + other)
            elif kind == "add_" and y is not other:
                values.append(y.add_(other))
            elif kind == "pool":
                values.append(F.max_pool2d(y, 3, 1, 1))
            elif kind == "bn":
                values.append(self.bns[second % 2](y))
            elif kind == "mean":
                values.append(y - y.mean())
            elif kind == "half":
                y[: len(y) // 2] *= 0.5
        return values[-1], values[len(values) // 2]


@settings(max_examples=60, deadline=None)
@given(programs(), st.sampled_from(CIRCUITS), st.booleans())
def test_random_networks_are_the_same(program, circuit, channels_last):
    emulated = emulate(shake_(Random(program), 1), circuit, calibration=[images(1, 2, 3, 6, 6)])
    x = images(2, 3, 3, 7, 7)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    assert_same(emulated, x)


def test_convolutions_keep_their_class():
    emulated = emulate(Net(_residual), "mul8s_1KV8", calibration=[images(1)])
    assert isinstance(emulated.layer("a"), EmulatedConv2d)


def _chain(length: int) -> nn.Sequential:
    layers = [nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(length)]
    return nn.Sequential(*layers).eval()


def test_a_deep_network_can_be_copied_and_its_copy_fuses_alike():
    x = torch.randn(2, 4, 6, 6)
    emulated = emulate(_chain(150), "mul8s_1L2H", calibration=[x])
    copied = copy.deepcopy(emulated)
    assert str(copied.plan()) == str(emulated.plan())
    switch = emulated.weighted[0].fusion.switch
    for mine, theirs in zip(emulated.weighted, copied.weighted, strict=True):
        assert theirs.fusion.switch is copied.weighted[0].fusion.switch is not switch
        for reader in theirs.fusion.readers:
            assert reader in copied.weighted and reader not in emulated.weighted
        assert len(theirs.fusion.readers) == len(mine.fusion.readers)
    with torch.no_grad():
        assert torch.equal(copied(x), emulated(x))
    alone = copy.deepcopy(emulated.weighted[0])
    assert not alone.fusion.is_planned


@pytest.mark.parametrize("name", ["apply_", "map_"])
def test_functions_of_python_work_on_what_a_site_gives(name):
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            if name == "apply_":
                y.apply_(lambda value: max(value, 0.0))
            else:
                y.map_(torch.zeros(y.shape), max)
            return self.second(y)

    x = torch.randn(2, 3, 8, 8)
    emulated = emulate(Network().eval(), "mul8s_1L2H", calibration=[x])
    with torch.no_grad():
        given = emulated(x)
        with emulated.unfused():
            assert torch.equal(given, emulated(x))
