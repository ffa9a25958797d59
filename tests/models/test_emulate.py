import copy

import numpy as np
import pytest
import torch
from torch import nn

import luts
import models
from luts import InputError
from models import Assignment, Choice
from models.emulation import EmulatedMatmul


class Tiny(nn.Module):
    """Two layers, batch normalisation free."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.second = nn.Linear(16, 3)

    def forward(self, x):
        return self.second(self.first(x).relu())


@pytest.fixture
def batch():
    return torch.randn(64, 6)


@pytest.fixture
def vit():
    return models.build("vit_small", topology="hard", num_classes=10).eval()


def test_the_original_is_left_alone(batch):
    network = Tiny()
    before = copy.deepcopy(network.state_dict())
    emulated = models.emulate(network, "mul8s_1KR3", calibration=[batch])
    assert isinstance(network.first, nn.Linear)
    assert not network.first._forward_hooks
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    emulated.network.first.weight.data.zero_()
    assert torch.equal(network.first.weight, before["first.weight"])


def test_exact_emulation_is_close_to_float_and_approximation_moves_it(batch):
    network = Tiny()
    emulated = models.emulate(network, "mul8s_1KV8", calibration=[batch], method="max")
    error = (emulated(batch) - network(batch)).abs().max()
    emulated.assign_("mul8s_1KR3")
    worse = (emulated(batch) - network(batch)).abs().max()
    assert error < 0.03 < worse


def test_weights_may_have_one_scale_a_layer(batch):
    network = Tiny()
    network.first.weight.data[0] *= 20
    by_channel = models.emulate(network, "mul8s_1KV8", calibration=batch)
    by_tensor = models.emulate(network, "mul8s_1KV8", calibration=batch, weight_scales="tensor")
    codes, scale = by_tensor.layer("first").weight_codes()
    largest = network.first.weight.detach().abs().max()
    assert torch.allclose(scale, (largest / 127).expand(16))
    expected = (network.first.weight.detach() / scale[:, None]).round()
    assert torch.equal(codes.float(), expected)
    assert (
        scale.unique().numel() == 1 < by_channel.layer("first").weight_codes()[1].unique().numel()
    )
    # As fine as before only where the largest weight is.
    errors = [(e(batch) - network(batch)).square().mean() for e in (by_channel, by_tensor)]
    assert errors[0] < errors[1]
    assert copy.deepcopy(by_tensor).layer("second").scales_of == "tensor"
    with pytest.raises(InputError, match="unknown weight scales 'tensors'; did you mean tensor"):
        models.emulate(network, "mul8s_1KV8", calibration=batch, weight_scales="tensors")


def test_one_route_for_the_whole_image_is_emulated():
    config = models.NetworkConfig(
        "resnet20", topology="cluster", image_size=8, experts=2, cluster_route="image"
    )
    network, images = models.build("resnet20", image_size=8).eval(), torch.randn(32, 3, 8, 8)
    models.upcycle_(network, config, images=[images], seed=0)
    emulated = models.emulate(network, "mul8s_1KV8", calibration=images)
    routing = models.measure_routing(emulated, [images], source="test")
    first, *later = routing.rates.values()
    assert later and all(rates == first for rates in later)
    assert sum(first) == pytest.approx(1)
    work = models.expert_work(emulated, images)
    assert [layer.overhead_macs > 0 for layer in work] == [True] + [False] * len(later)
    error = (emulated(images) - network(images)).abs().max()
    assert error < 0.2 * network(images).abs().max()


def test_batches_may_carry_labels_and_come_from_any_iterable(batch):
    labelled = [(batch[:32], torch.zeros(32)), (batch[32:], torch.zeros(32))]
    plain = models.emulate(Tiny(), "mul8s_1KV8", calibration=iter([batch[:32], batch[32:]]))
    with_labels = models.emulate(Tiny(), "mul8s_1KV8", calibration=labelled)
    scales = [e.network.first.x_scale for e in (plain, with_labels)]
    assert torch.equal(*scales)


def test_an_assignment_decides_each_site(batch):
    emulated = models.emulate(Tiny(), "mul8s_1KV8", calibration=[batch])
    mixed = Assignment.of(
        {"first": Choice("mul8s_1KR3", swapped=True), "second": Choice("mul8s_1L2H")}
    )
    emulated.assign_(mixed)
    assert emulated.layer("first").arithmetic.multiplier.name == "mul8s_1KR3"
    assert emulated.layer("first").arithmetic.swapped
    assert emulated.layer("second").arithmetic.multiplier.name == "mul8s_1L2H"
    again = models.emulate(Tiny(), mixed, calibration=[batch])
    assert again.assignment == mixed


def test_plan_has_a_row_a_site_and_prints_as_a_table(batch):
    emulated = models.emulate(Tiny(), "mul8s_1KVA", calibration=[batch])
    plan = emulated.plan()
    assert [row.site for row in plan.rows] == ["first", "second"]
    text = str(plan).splitlines()
    assert len(text) == 3
    assert "mul8s_1KVA" in text[1]


def test_every_site_of_a_vit_hard(vit):
    x = torch.randn(2, 3, 32, 32)
    found = models.sites(vit, x)
    kinds = [site.kind for site in found]
    # 12 qkv, 12 proj, 6 × 2 dense MLP layers, 6 × 4 × 2 expert layers, the head
    assert kinds.count("linear") == 12 + 12 + 12 + 48 + 1
    assert kinds.count("qk") == kinds.count("av") == 12
    assert kinds.count("router") == 6
    assert kinds.count("conv") == 1
    by_name = {site.name: site for site in found}
    tokens, width = 5, 384
    assert by_name["blocks.0.attn.qkv"].macs == tokens * width * 3 * width
    assert by_name["blocks.0.attn.qk"].macs == tokens * tokens * width
    assert by_name["blocks.1.mlp.experts.3.fc1"].macs == tokens * width * 4 * width
    assert by_name["blocks.1.mlp.experts.3.fc1"].expert == 3
    assert by_name["blocks.1.mlp.router"].macs == tokens * width * 4
    assert by_name["patch_embed.proj"].macs == 4 * 3 * 16 * 16 * width


@torch.no_grad()
def test_vit_hard_emulates_with_every_expert_calibrated(vit):
    x = torch.randn(8, 3, 32, 32)
    emulated = models.emulate(vit, "mul8s_1KV8", calibration=[x], method="max")
    assert (emulated(x) - vit(x)).abs().max() < 0.1
    assert all(bool((emulated.layer(s.name).x_scale != 1).all()) for s in emulated.sites)
    assert emulated.assignment.choices["blocks.1.mlp.router"] == Choice(luts.EXACT)


def test_emulation_can_be_fine_tuned_and_copied(vit):
    x = torch.randn(8, 3, 32, 32)
    emulated = models.emulate(vit, "mul8s_1L1G", calibration=[x])
    copied = copy.deepcopy(emulated)
    copied.train()
    loss = copied(x).square().mean()
    loss.backward()
    missing = [n for n, p in copied.named_parameters() if p.grad is None and "experts" not in n]
    assert not missing
    assert all(p.grad is None for p in emulated.parameters())
    with torch.no_grad():
        copied.network.head.weight.add_(1.0)
        assert not torch.equal(copied.eval()(x), emulated(x))


def test_bad_input(batch):
    with pytest.raises(InputError, match="at least one input"):
        models.emulate(Tiny(), "mul8s_1KV8", calibration=[])
    with pytest.raises(luts.UnknownMultiplierError, match="mul8s_1L2H"):
        models.emulate(Tiny(), "mul8s_1L2h", calibration=[batch])
    with pytest.raises(InputError, match="has no site"):
        models.emulate(nn.ReLU(), "mul8s_1KV8", calibration=[batch])
    with pytest.raises(InputError, match="a batch is a tensor"):
        models.emulate(Tiny(), "mul8s_1KV8", calibration=[["x", 1]])
    with pytest.raises(InputError, match="no choice for site 'second'"):
        only = Assignment.of({"first": Choice("mul8s_1KV8")})
        models.emulate(Tiny(), only, calibration=[batch])


@pytest.mark.parametrize("method", models.emulation.CALIBRATION_METHODS)
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_what_is_not_finite_is_refused(batch, method, bad):
    spoilt = batch.clone()
    spoilt[5, 1] = bad
    with pytest.raises(InputError, match="met an activation that is infinite or not a number"):
        models.emulate(Tiny(), "mul8s_1KV8", calibration=[spoilt], method=method)
    for name in ("second.weight", "second.bias", "first.weight"):
        network = Tiny()
        network.get_parameter(name).data[..., 2] = bad
        with pytest.raises(InputError, match=f"weight that is infinite or not a number, in {name}"):
            models.emulate(network, "mul8s_1KV8", calibration=[batch], method=method)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_are_refused(batch, kind):
    network = Tiny().to(kind)
    refused = pytest.raises(InputError, match=rf"first\.weight is {kind}.*network\.float\(\)")
    for x in (batch, batch.to(kind)):
        with refused:
            models.emulate(network, "mul8s_1KV8", calibration=[x])
        with refused:
            models.sites(network, x)
    attention = nn.Sequential(nn.MultiheadAttention(6, 2)).to(kind)
    with pytest.raises(InputError, match=rf"0\.in_proj_weight is {kind}"):
        models.sites(attention, batch)
    assert len(models.emulate(network.float(), "mul8s_1KV8", calibration=[batch]).sites) == 2


def test_more_products_than_32_bits_hold_are_refused():
    wide = nn.Sequential(nn.Flatten(), nn.Linear(luts.MAX_K + 1, 1, bias=False))
    x = torch.ones(1, 1, luts.MAX_K + 1)
    with pytest.raises(InputError, match="1 sums 65,537 products into an output"):
        models.emulate(wide, "mul8s_1KV8", calibration=[x])
    widest = nn.Sequential(nn.Flatten(), nn.Linear(luts.MAX_K, 1, bias=False))
    nn.init.ones_(widest[1].weight)
    emulated = models.emulate(widest, "mul8s_1KV8", calibration=[x[..., 1:]])
    with torch.no_grad():
        assert emulated(x[..., 1:]).item() == pytest.approx(luts.MAX_K, rel=1e-5)


def test_a_circuit_of_large_products_is_refused_where_its_sums_may_leave_32_bits():
    table = np.multiply.outer(np.arange(256), np.arange(256)).clip(max=65_535)
    table[128, 128] = 40_000
    catalog = luts.evoapprox_catalog()
    catalog.add(luts.Multiplier("coarse", table, 0.2, 300, 1, "test", signed=False))
    most = (2**31 - 1) // 40_000
    network = nn.Sequential(nn.Flatten(), nn.Linear(most + 1, 1))
    x = torch.ones(1, 1, most + 1)
    emulated = models.emulate(network, "mul8s_1KV8", calibration=[x], catalog=catalog)
    with pytest.raises(InputError, match=f"1 sums {most + 1:,} products.*coarse .*to {most:,}"):
        emulated.assign_("coarse", catalog=catalog)
    fitting = nn.Sequential(nn.Flatten(), nn.Linear(most, 1))
    models.emulate(fitting, "coarse", calibration=[x[..., 1:]], catalog=catalog)(x[..., 1:])


def test_a_sequence_that_grew_too_long_is_refused():
    product = EmulatedMatmul()
    product.assign_(luts.Arithmetic(luts.catalog["mul8s_1KV8"]))
    long = torch.ones(1, 1, luts.MAX_K + 1)
    with pytest.raises(InputError, match="attention product sums 65,537"):
        product(long, long.transpose(1, 2))
