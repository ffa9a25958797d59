import torch
from torch import nn

import models
from models import channel_means, correct_bias_


def chain():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 6 * 6, 12),
        nn.ReLU(),
        nn.Linear(12, 4),
    )


def test_channel_means_become_those_of_the_exact_network():
    x = torch.rand(32, 3, 6, 6)
    emulated = models.emulate(chain(), "mul8s_1KV8", calibration=[x])
    exact = channel_means(emulated, x)
    assert set(exact) == {"0", "3", "5"}
    emulated.assign_("mul8s_1KR3")
    before = channel_means(emulated, x)
    assert max(float((before[n] - exact[n]).abs().max()) for n in exact) > 0.01
    correct_bias_(emulated, x, exact)
    after = channel_means(emulated, x)
    for name, mean in exact.items():
        torch.testing.assert_close(after[name], mean, atol=1e-5, rtol=1e-5)


def test_correction_brings_the_output_closer():
    x = torch.rand(64, 3, 6, 6)
    network = chain()
    emulated = models.emulate(network, "mul8s_1KV8", calibration=[x])
    exact, reference = channel_means(emulated, x), emulated(x)
    emulated.assign_("mul8s_1L1G")
    before = (emulated(x) - reference).square().mean()
    correct_bias_(emulated, x, exact)
    assert (emulated(x) - reference).square().mean() < before / 2


def test_assigning_again_forgets_the_correction():
    x = torch.rand(16, 3, 6, 6)
    emulated = models.emulate(chain(), "mul8s_1KV8", calibration=[x])
    exact, reference = channel_means(emulated, x), emulated(x)
    emulated.assign_("mul8s_1KR3")
    correct_bias_(emulated, x, exact)
    emulated.assign_("mul8s_1KV8")
    assert torch.equal(emulated(x), reference)


def test_an_expert_without_items_is_left_alone():
    torch.manual_seed(5)
    network = models.build("vit_small", topology="hard").eval()
    for name, layer in network.named_modules():
        if name.endswith("mlp.router"):
            layer.weight.data.zero_()  # a tie, and every token goes to the same expert
    x = torch.randn(2, 3, 32, 32)
    emulated = models.emulate(network, "mul8s_1KV8", calibration=[x])
    exact = channel_means(emulated, x)
    assert sum(name.startswith("blocks.1.mlp.experts.") for name in exact) == 2  # fc1 and fc2
    emulated.assign_("mul8s_1KR3")
    correct_bias_(emulated, x, exact)
    assert torch.isfinite(emulated(x)).all()
