import pytest
import torch
from torch import nn

from models.networks import SoftMoE, WeightedExperts

EXPERTS, SLOTS, WIDTH, TOKENS = 3, 2, 8, 5


def soft(**options):
    experts = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU()) for _ in range(EXPERTS)]
    layer = SoftMoE(experts, features=WIDTH, tokens=TOKENS, slots=SLOTS, **options)
    with torch.no_grad():
        layer.scale.fill_(3.0)
    return layer


def one_image(layer, x):
    """The paper's Eq. 1-3 for one image ``(m, d)``, with plain matrices and loops over slots."""
    phi = layer.phi.detach().reshape(WIDTH, EXPERTS * SLOTS)
    unit_x = x / (x.norm(dim=1, keepdim=True).square() + 1e-6).sqrt()
    unit_phi = phi / (phi.norm(dim=0, keepdim=True).square() + 1e-6).sqrt()
    logits = 3.0 * unit_x @ unit_phi
    dispatch = logits.exp() / logits.exp().sum(dim=0, keepdim=True)
    combine = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    slots = dispatch.t() @ x
    worked = torch.stack([layer.experts[i // SLOTS](slots[i]) for i in range(EXPERTS * SLOTS)])
    return combine @ worked


def test_equals_the_equations_image_by_image():
    layer, x = soft(), torch.randn(4, TOKENS, WIDTH)
    expected = torch.stack([one_image(layer, image) for image in x])
    assert torch.allclose(layer(x), expected, atol=1e-5)
    assert torch.allclose(layer(x[0]), expected[0], atol=1e-5)
    assert torch.allclose(layer(x[:, None]), expected[:, None], atol=1e-5)


def test_images_do_not_mix():
    layer, x = soft(), torch.randn(3, TOKENS, WIDTH)
    before = layer(x)
    x[1] += 1
    after = layer(x)
    assert torch.equal(before[0], after[0])
    assert torch.allclose(before[2], after[2], atol=1e-6)
    assert not torch.allclose(before[1], after[1])


def test_slots_are_made_of_tokens_as_they_are():
    layer, seen = soft(), []
    layer.experts[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.randn(1, TOKENS, WIDTH)
    layer(x)
    layer(10 * x)  # the weights see directions only, so slots grow with the tokens
    assert torch.allclose(seen[1], 10 * seen[0], rtol=1e-4, atol=1e-4)


def test_work_and_overhead():
    layer = soft()
    layer(torch.randn(4, TOKENS, WIDTH))
    assert layer.work.tolist() == [4 * SLOTS] * EXPERTS
    assert layer.items == 4 * TOKENS
    # Logits, dispatch and combine: three products of tokens × slots × features.
    assert layer.overhead_macs(TOKENS) == 3 * TOKENS * EXPERTS * SLOTS * WIDTH
    assert layer.executions == EXPERTS * SLOTS / TOKENS


@pytest.mark.parametrize(("tokens", "slots"), [(5, 2), (65, 22), (1, 1)])
def test_default_slots_are_about_as_many_as_tokens(tokens, slots):
    layer = SoftMoE([nn.Identity() for _ in range(EXPERTS)], features=WIDTH, tokens=tokens)
    assert layer.slots == slots


def test_everything_learns():
    layer = soft()
    layer(torch.randn(2, TOKENS, WIDTH)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in layer.parameters())


def test_images_are_weighted_by_a_softmax_of_pooled_features():
    convolutions = [nn.Conv2d(WIDTH, 6, 3, padding=1) for _ in range(EXPERTS)]
    layer, x = WeightedExperts(convolutions, features=WIDTH).eval(), torch.randn(4, WIDTH, 3, 3)
    with torch.no_grad():
        layer.router.weight.mul_(100)
    # A fresh standardisation has mean 0 and variance 1, plus its own small constant.
    pooled = x.flatten(2).mean(dim=2) / (1 + layer.standardise.eps) ** 0.5
    gates = torch.softmax(torch.einsum("bc,ec->be", pooled, layer.router.weight), dim=1)
    expected = torch.einsum("be,ebchw->bchw", gates, torch.stack([c(x) for c in convolutions]))
    assert torch.allclose(layer(x), expected, atol=1e-5)
    assert layer.work.tolist() == [4.0] * EXPERTS
    layer.train()(x).square().sum().backward()
    assert layer.router.weight.grad.abs().max() > 0
    assert layer.train()(x[:1]).shape == (1, 6, 3, 3)
