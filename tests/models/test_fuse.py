"""Codes from site to site: the same bits, whatever the network does with its activations."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models import emulate
from models.emulation import EmulatedConv2d, _site_output
from models.emulation._fusion import Fusion
from models.emulation._site_output import SiteOutput
from tests.models.steps import (
    CIRCUITS,
    STEPS,
    Net,
    Random,
    assert_same,
    counting_codes,
    fused_sites,
    images,
    programs,
    whatever_size,
)
from tests.models.test_fold import shake_

pytestmark = [
    pytest.mark.filterwarnings("ignore:no input reached"),
    pytest.mark.filterwarnings("ignore:one scale serves calls"),
]


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
    emulated = whatever_size(emulate(Net(STEPS["_stashed"]), "mul8s_1KV8", calibration=[images(1)]))
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
    emulated = whatever_size(
        emulate(Net(STEPS["_residual"]), "mul8s_1KV8", calibration=[images(1)])
    )
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
    emulated = emulate(
        shake_(Net(STEPS["_residual_chain"]), 1), "mul8s_1KV8", calibration=[images(1)]
    )
    whatever_size(emulated)
    emulated.network.bn.train()
    with torch.no_grad():
        state = copy.deepcopy(emulated.state_dict())
        got = emulated(images(2))
        emulated.load_state_dict(state)
        with emulated.unfused():
            assert torch.equal(emulated(images(2)), got)


def test_autocast_is_left_alone():
    emulated = whatever_size(
        emulate(Net(STEPS["_residual"]), "mul8s_1KV8", calibration=[images(1)])
    )
    with counting_codes() as calls, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = emulated(images(2))
        with emulated.unfused():
            expected = emulated(images(2))
    assert not calls
    assert all(torch.equal(x, y) for x, y in zip(got, expected, strict=True))


def test_values_that_are_no_numbers_are_the_same():
    emulated = emulate(Net(STEPS["pool 2"]), "mul8s_1KV8", calibration=[images(1)])
    residual = emulate(Net(STEPS["_residual_chain"]), "mul8s_1KV8", calibration=[images(1)])
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
    emulated = emulate(
        shake_(Net(STEPS["_residual_chain"]), 1), "mul8s_1KV8", calibration=[images(1)]
    )
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
    emulated = emulate(Net(STEPS["_residual_chain"]), "mul8s_1KV8", calibration=[images(1)])
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
    emulated = emulate(
        shake_(Net(STEPS["_residual_chain"]), 1), "mul8s_1KV8", calibration=[images(1)]
    )
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
    usual = emulate(Net(STEPS["_residual_chain"]), "mul8s_1KV8", calibration=[images(1)])
    assert not usual.plan().failed


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


@settings(max_examples=60, deadline=None)
@given(programs(), st.sampled_from(CIRCUITS), st.booleans())
def test_random_networks_are_the_same(program, circuit, channels_last):
    emulated = emulate(shake_(Random(program), 1), circuit, calibration=[images(1, 2, 3, 6, 6)])
    x = images(2, 3, 3, 7, 7)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    assert_same(emulated, x)


def test_convolutions_keep_their_class():
    emulated = emulate(Net(STEPS["_residual"]), "mul8s_1KV8", calibration=[images(1)])
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
