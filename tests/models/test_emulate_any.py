import copy
import itertools
import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from luts import EXACT
from models import TrainingRecipe, emulate, evaluate, fit, load_data, sites
from models.emulation._attention import ExposedAttention
from models.networks._timm import timm
from tests.models.foreign import CLASSES, SIDE, Encoder, ResNet18, mobile_net


def conv_next():
    arguments = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32), "patch_size": 1}
    return timm().create_model("convnext_tiny", num_classes=CLASSES, **arguments)


def mixer():
    shape = {"img_size": SIDE, "patch_size": 4, "embed_dim": 32, "num_blocks": 2}
    return timm().models.MlpMixer(num_classes=CLASSES, **shape)


def vision_transformer():
    shape = {"img_size": SIDE, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
    shape |= {"class_token": False, "global_pool": "avg"}
    return timm().create_model("vit_tiny_patch16_224", num_classes=CLASSES, **shape)


# Sites, counted by hand.
NETWORKS = {
    ResNet18: 1 + 16 + 3 + 1,  # stem, eight blocks of two, three shortcuts, fc
    mobile_net: 1 + 3 * 3 + 1,  # stem, three blocks of three, head
    Encoder: 1 + 2 * 6 + 1,  # patches, two layers of in, q·kᵀ, attn·v, out, 1, 2, and head
    conv_next: 1 + 4 * 3 + 3 + 1,  # stem, four blocks of dw, fc1, fc2, three downsamplings, head
    mixer: 1 + 2 * 4 + 1,  # patches, two blocks of two layers for tokens and channels, head
    vision_transformer: 1 + 2 * 6 + 1,  # as Encoder
}
EPOCHS = {ResNet18: 3, conv_next: 3, vision_transformer: 10}
RECIPE = TrainingRecipe(
    epochs=6, batch_size=32, optimizer="adamw", lr=4e-3, weight_decay=0.05, schedule="one-cycle"
)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", seed=0, image_size=SIDE)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_exact_emulation_of_anybodys_network_agrees_with_it(make, digits):
    torch.manual_seed(0)
    network = make()
    epochs = EPOCHS.get(make, RECIPE.epochs)
    fit(network, digits, replace(RECIPE, epochs=epochs), seed=0)
    state = copy.deepcopy(network.state_dict())
    calibration = [digits.train.take(256).images]
    emulated = emulate(network, EXACT, calibration=calibration)

    assert len(emulated.sites) == NETWORKS[make]
    assert emulated.sites == sites(network, calibration[0][:1])
    assert evaluate(network, digits.test).accuracy > 0.8
    images = digits.test.images
    with torch.no_grad():
        agreed = (network(images).argmax(1) == emulated(images).argmax(1)).float().mean()
    assert agreed >= 0.98

    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    emulated.train()(images[:8]).square().sum().backward()
    for site in emulated.sites:
        layer = emulated.layer(site.name)
        if site.weights:
            assert layer.weight.grad.abs().max() > 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_encoder_takes_no_fast_path_past_its_sites(norm_first):
    with warnings.catch_warnings():
        # PyTorch says that it will not use nested tensors.
        warnings.filterwarnings("ignore", message="enable_nested_tensor")
        network = Encoder(norm_first=norm_first).eval()
    images = torch.randn(4, 3, SIDE, SIDE)
    emulated = emulate(network, EXACT, calibration=[images], method="max")
    called = set()
    for site in emulated.sites:
        layer = emulated.layer(site.name)
        layer.register_forward_hook(lambda *_, name=site.name: called.add(name))
    with torch.no_grad():
        assert torch.allclose(emulated(images), network(images), atol=0.1)
    assert called == {site.name for site in emulated.sites}
    assert torch.backends.mha.get_fastpath_enabled()


def test_padding_masks_reach_the_emulated_encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x):
            padding = torch.arange(x.shape[1]).expand(len(x), -1) >= 3
            return self.encoder(x, src_key_padding_mask=padding)[:, :3]

    network, x = Masked().eval(), torch.randn(2, 5, 16)
    emulated = emulate(network, EXACT, calibration=[x], method="max")
    other = x.clone()
    other[:, 3:] = torch.rand(2, 2, 16)
    with torch.no_grad():
        assert torch.equal(emulated(x), emulated(other))
        # The float network would go through nested tensors, a prototype that warns.
        network.encoder.use_nested_tensor = False
        assert torch.allclose(emulated(x), network(x), atol=0.2)


OPTIONS = list(itertools.product([True, False], [True, False], [True, False], [None, 6]))


@pytest.mark.parametrize(("batch_first", "bias", "extras", "width"), OPTIONS)
def test_exposed_attention_computes_what_pytorch_does(batch_first, bias, extras, width):
    options = {"add_bias_kv": extras, "add_zero_attn": extras, "kdim": width, "vdim": width}
    source = nn.MultiheadAttention(8, 2, bias=bias, batch_first=batch_first, **options).eval()
    made = ExposedAttention(source, is_self_attention=False)
    q, k = torch.randn(3, 5, 8), torch.randn(3, 7, width or 8)
    if not batch_first:
        q, k = q.transpose(0, 1), k.transpose(0, 1)
    padding = torch.arange(7).expand(3, -1) >= torch.tensor([[7], [4], [6]])
    future = torch.ones(5, 7, dtype=torch.bool).triu(4)
    for arguments in (
        {},
        {"key_padding_mask": padding},
        {"attn_mask": future, "key_padding_mask": padding},
        {"attn_mask": torch.randn(5, 7)},
        {"attn_mask": torch.randn(6, 5, 7), "average_attn_weights": False},
        {"attn_mask": future, "need_weights": False},
    ):
        for x, y in ((q, k), (q[:, 0], k[:, 0])) if len(arguments) == 0 else ((q, k),):
            expected, got = source(x, y, y, **arguments), made(x, y, y, **arguments)
            assert torch.allclose(got[0], expected[0], atol=1e-5)
            assert (got[1] is None) == (expected[1] is None)
            assert got[1] is None or torch.allclose(got[1], expected[1], atol=1e-5)


@pytest.mark.parametrize("need_weights", [True, False])
def test_exposed_attention_agrees_where_a_query_sees_no_key(need_weights):
    source = nn.MultiheadAttention(8, 2, batch_first=True)
    made, x = ExposedAttention(source, is_self_attention=True), torch.randn(3, 5, 8)
    future = torch.ones(5, 5, dtype=torch.bool).triu()
    nobody = torch.tensor([[False], [True], [False]]).expand(3, 5)
    for arguments in (
        {"key_padding_mask": nobody},
        {"attn_mask": future},
        {"attn_mask": torch.zeros(5, 5).masked_fill(future, -math.inf)},
        {"attn_mask": future.T, "key_padding_mask": torch.arange(5).expand(3, 5) == 4},
    ):
        expected = source(x, x, x, need_weights=need_weights, **arguments)[0]
        got = made(x, x, x, need_weights=need_weights, **arguments)[0]
        assert torch.allclose(got, expected, atol=1e-5, equal_nan=need_weights)


class Masked(nn.Module):
    """Attention by function, with a mask."""

    def __init__(self, mask):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.mask = mask

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (6, 4)).transpose(1, 2).chunk(3, dim=1)
        return nn.functional.scaled_dot_product_attention(q, k, v, self.mask)


@pytest.mark.parametrize("kind", [torch.bool, torch.float])
def test_a_query_that_sees_no_key_gets_zeros(kind):
    seen = torch.ones(5, 5, dtype=torch.bool).tril(-1)
    mask = seen if kind == torch.bool else torch.zeros(seen.shape).masked_fill(~seen, -math.inf)
    network, x = Masked(mask).eval(), torch.randn(2, 5, 8)
    emulated = emulate(network, EXACT, calibration=[x], method="max")
    y, expected = emulated(x), network(x)
    assert torch.allclose(y, expected, atol=0.05)
    assert not expected[:, :, 0].any() and not y[:, :, 0].any()
    y.square().sum().backward()
    assert emulated.layer("qkv").weight.grad.isfinite().all()


class Cross(nn.Module):
    """Attends to itself and to a memory."""

    def __init__(self):
        super().__init__()
        self.memory = nn.Parameter(torch.randn(1, 6, 8))
        self.own = nn.MultiheadAttention(8, 2, batch_first=True)
        self.other = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.own(x, x, value=x)[0]
        memory = self.memory.expand(len(x), -1, -1)
        return self.other(x, memory, memory)[0]


def test_projections_of_self_and_cross_attention():
    network, x = Cross().eval(), torch.randn(2, 5, 8)
    found = {site.name: site.macs for site in sites(network, x)}
    assert found == {
        **{"own.in_proj": 5 * 8 * 24, "own.qk": 5 * 5 * 8, "own.av": 5 * 5 * 8},
        **{"own.out_proj": 5 * 64, "other.q_proj": 5 * 64, "other.k_proj": 6 * 64},
        **{"other.v_proj": 6 * 64, "other.qk": 5 * 6 * 8, "other.av": 5 * 6 * 8},
        "other.out_proj": 5 * 64,
    }
    emulated = emulate(network, EXACT, calibration=[x], method="max")
    with torch.no_grad():
        assert torch.allclose(emulated(x), network(x), atol=0.05)


class Shared(nn.Module):
    """One block under two names, and one called twice."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.alias = self.block
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.again = nn.ModuleList([self.attention])
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.alias(self.block(x))
        x = self.again[0](*[self.attention(x, x, x)[0]] * 3)[0]
        return self.head(x)


def test_a_shared_module_is_emulated_under_all_its_names():
    network, x = Shared().eval(), torch.randn(4, 5, 8)
    emulated = emulate(network, EXACT, calibration=[x], method="max")
    assert [site.name for site in emulated.sites] == [
        "block.0",
        *(f"attention.{name}" for name in ("in_proj", "qk", "av", "out_proj")),
        "head",
    ]
    inner = emulated.network
    assert inner.alias[0] is inner.block[0] is emulated.layer("block.0")
    assert inner.again[0] is inner.attention
    assert not any(type(module) in (nn.Linear, nn.MultiheadAttention) for module in inner.modules())
    # Its range covers both calls.
    with torch.no_grad():
        assert torch.allclose(emulated(x), network(x), atol=0.05)


def test_unfused_attention_of_timm_has_its_products():
    network = vision_transformer().eval()
    for block in network.blocks:
        block.attn.fused_attn = False
    images = torch.randn(2, 3, SIDE, SIDE)
    found = sites(network, images)
    assert len(found) == NETWORKS[vision_transformer]
    assert not network.blocks[0].attn.fused_attn
    emulated = emulate(network, EXACT, calibration=[images], method="max")
    with torch.no_grad():
        assert torch.allclose(emulated(images), network(images), atol=0.05)


def weight_normed(layer):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*weight_norm.*deprecated")
        return nn.utils.weight_norm(layer)


WEIGHTS_BY_HOOK = {
    "weight_norm": weight_normed,
    "spectral_norm": nn.utils.spectral_norm,
    "pruned": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
}


@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize("kind", WEIGHTS_BY_HOOK)
def test_weights_that_a_hook_makes_are_baked(kind, with_gradient):
    made = WEIGHTS_BY_HOOK[kind]
    network = nn.Sequential(made(nn.Conv2d(3, 4, 3)), nn.Flatten(), made(nn.Linear(4 * 16, 2)))
    images = torch.randn(4, 3, 6, 6)
    with torch.set_grad_enabled(with_gradient):  # if so, autograd's weight stays in the layer
        expected = network.eval()(images).detach()
    state = copy.deepcopy(network.state_dict())
    emulated = emulate(network, EXACT, calibration=[images], method="max")
    with torch.no_grad():
        torch.testing.assert_close(emulated.in_float()(images), expected)
        assert torch.allclose(emulated(images), expected, atol=0.03 * float(expected.abs().max()))
    emulated.train()(images).square().sum().backward()
    for name in ("0", "2"):
        weight = emulated.layer(name).weight
        assert isinstance(weight, nn.Parameter) and weight.grad.abs().max() > 0
    assert set(emulated.network.state_dict()) >= {"0.weight", "2.weight"}
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert len(network[0]._forward_pre_hooks) == 1
    assert torch.equal(network(images), expected)


IN_PLACE = {
    "+=": lambda y: y.add_(1),
    "relu_": lambda y: y.relu_(),
    "F.relu": lambda y: functional.relu(y, inplace=True),
    "dropout": lambda y: functional.dropout(y, 0.5, True, inplace=True),
}


@pytest.mark.parametrize("change", IN_PLACE.values(), ids=IN_PLACE)
@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3), nn.Linear(8, 4)], ids=["conv", "linear"])
def test_what_a_site_gives_may_be_changed_in_place_in_training(change, layer):
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            change(y)
            return y

    images = torch.randn(2, 3, 8, 8)
    emulated = emulate(Network(), EXACT, calibration=[images])
    emulated(images).square().sum().backward()
    assert emulated.layer("layer").weight.grad.abs().max() > 0


def test_scores_of_attention_may_be_changed_in_place_in_training():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = self.query(x) @ x.transpose(-2, -1)
            scores /= 8
            return scores.softmax(-1) @ x

    x = torch.randn(2, 5, 8)
    emulated = emulate(Network(), EXACT, calibration=[x])
    emulated(x).square().sum().backward()
    assert emulated.layer("query").weight.grad.abs().max() > 0


def test_the_input_of_a_frozen_layer_may_be_changed_in_place_in_training():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.frozen = nn.LayerNorm(8), nn.Linear(8, 4)
            self.frozen.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm(x)
            y = self.frozen(h)
            h += 100
            return y

    x = torch.randn(2, 5, 8)
    network = Network()
    emulated = emulate(network, EXACT, calibration=[x])
    for each in (network, emulated):
        each(x).sum().backward()
    expected, given = network.norm.bias.grad, emulated.network.norm.bias.grad
    assert torch.allclose(given, expected, atol=0.05 * float(expected.abs().max()))


def test_relu_in_place_right_after_a_convolution_trains():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())
    images = torch.randn(2, 3, 8, 8)
    emulated = emulate(network, EXACT, calibration=[images]).train()
    emulated(images).square().sum().backward()
    assert emulated.layer("0").weight.grad.abs().max() > 0
