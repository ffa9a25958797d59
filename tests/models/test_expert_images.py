"""Calibration images that reach every expert."""

import torch
from torch import nn

from models import Split
from models.networks import ExpertLayer
from models.training import expert_images


class ByMean(ExpertLayer):
    """Sends an image to the expert that its mean falls to."""

    def __init__(self, limits):
        super().__init__([nn.Identity() for _ in range(len(limits) + 1)], granularity="image")
        self.limits = torch.tensor(limits)

    def forward(self, x):
        chosen = torch.bucketize(x.mean(dim=(1, 2, 3)), self.limits)[:, None]
        return self.dispatch(x, chosen, None)

    def overhead_macs(self, items):
        return 0


class ByToken(ByMean):
    """The same, token by token."""

    def __init__(self, limits):
        super().__init__(limits)
        self.granularity = "token"

    def forward(self, x):
        tokens = self.to_items(x)
        chosen = torch.bucketize(tokens.mean(dim=1), self.limits)[:, None]
        return self.dispatch(tokens, chosen, None).reshape(x.shape)


def with_parameter(layer):
    return nn.Sequential(layer, nn.Conv2d(1, 1, 1))


def split(values):
    images = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Split(images.contiguous(), torch.zeros(len(values), dtype=torch.int64))


RARE = [0.0] * 900 + [1.0] * 80 + [2.0] * 20  # shares of 90, 8 and 2 %


def shuffled():
    order = torch.randperm(len(RARE), generator=torch.Generator().manual_seed(0))
    return split([RARE[i] for i in order])


def test_a_seldom_used_expert_gets_as_many_images_as_there_are():
    network = with_parameter(ByMean([0.5, 1.5]))
    chosen = expert_images(network, shuffled(), 150)
    assert len(chosen.images) == 150
    counts = [int((chosen.images.images.mean(dim=(1, 2, 3)) == value).sum()) for value in range(3)]
    assert chosen.items == {"0": tuple(counts)}
    assert counts[2] == 20  # all there are
    assert min(counts[:2]) >= 60
    assert chosen.starved(60) == {"0": (2,)}
    assert chosen.starved(20) == {}
    assert network[0].choices is None


def test_two_layers_share_the_images():
    network = nn.Sequential(ByMean([0.5, 1.5]), ByMean([0.5]), nn.Conv2d(1, 1, 1))
    chosen = expert_images(network, shuffled(), 100)
    assert min(chosen.items["0"]) == 20
    assert min(chosen.items["1"]) >= 40
    assert sum(chosen.items["0"]) == sum(chosen.items["1"]) == 100


def test_tokens_are_counted_as_items():
    network = with_parameter(ByToken([0.5]))
    pixels = torch.zeros(300, 1, 2, 2)
    pixels[::10, :, 1] = 1.0  # one of two tokens of every tenth image
    images = Split(pixels, torch.zeros(300, dtype=torch.int64))
    chosen = expert_images(network, images, 40)
    assert chosen.items == {"0": (50, 30)}


def test_dense_networks_take_the_first_images():
    network, images = nn.Conv2d(1, 1, 1), shuffled()
    chosen = expert_images(network, images, 64)
    assert torch.equal(chosen.images.images, images.take(64).images)
    assert chosen.items == {}
    assert chosen.starved(10) == {}


def test_all_images_where_there_are_no_more():
    chosen = expert_images(with_parameter(ByMean([0.5, 1.5])), shuffled(), 5000)
    assert chosen.items == {"0": (900, 80, 20)}
