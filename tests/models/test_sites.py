import math

import pytest
import torch
from torch import nn

from luts.errors import InputError
from models import build, sites
from tests.models.counting import count_macs

IMAGE = torch.zeros(1, 3, 32, 32)
# Counted by hand. vit_small: 12 blocks of qkv, q·kᵀ, attn·v, proj, fc1, fc2, and patches and head;
# resnet20: 19 convolutions 3×3, two shortcuts, fc; VGG: convolutions and three linear layers.
DENSE = {"vit_small": 12 * 6 + 2, "resnet20": 22, "vgg11_bn": 11, "vgg19_bn": 19}
# Expert layers, and sites of one expert.
EXPERTS = {"vit_small": (6, 2), "resnet20": (3, 2), "vgg11_bn": (2, 1), "vgg19_bn": (4, 1)}


@pytest.mark.parametrize("arch", DENSE)
def test_dense_networks(arch):
    network = build(arch)
    found = sites(network, IMAGE)
    assert len(found) == DENSE[arch]
    macs = sum(site.macs for site in found if site.kind in ("conv", "linear"))
    assert macs == count_macs(network, IMAGE)
    for site in found:
        if site.kind in ("conv", "linear"):
            module = network.get_submodule(site.name)
            assert (site.weights, site.fan_in) == (module.weight.numel(), module.weight[0].numel())


@pytest.mark.parametrize("arch", DENSE)
@pytest.mark.parametrize("topology", ["hard", "soft", "cluster"])
def test_each_layer_of_each_expert_is_a_site(arch, topology):
    network = build(arch, topology=topology, experts=3)
    found = sites(network, IMAGE)
    layers, own = EXPERTS[arch]
    routers = layers if topology == "hard" or (topology == "soft" and arch != "vit_small") else 0
    assert len(found) == DENSE[arch] + layers * own * 2 + routers
    assert sum(site.kind == "router" for site in found) == routers
    # Each expert as if every item went to it, so each has the dense block's MACs.
    dense = {site.macs for site in sites(build(arch), IMAGE)}
    experts = [site for site in found if site.expert is not None]
    assert len(experts) == layers * own * 3
    assert {site.macs for site in experts} <= dense
    assert all(site.name.startswith(f"{site.expert_layer}.experts.") for site in experts)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("topology", ["dense", "hard", "soft", "cluster"])
def test_counts_are_for_one_image(topology, batch):
    network = build("resnet20", topology=topology)
    assert sites(network, IMAGE.expand(batch, -1, -1, -1)) == sites(network, IMAGE)


def test_attention_products():
    network = build("vit_small", image_size=64, patch_size=8)
    found = {site.name: site for site in sites(network, torch.zeros(2, 3, 64, 64))}
    qk, av = found["blocks.0.attn.qk"], found["blocks.0.attn.av"]
    assert (qk.kind, qk.macs, qk.fan_in, qk.weights) == ("qk", 65 * 65 * 384, 64, 0)
    assert (av.kind, av.macs, av.fan_in, av.weights) == ("av", 65 * 65 * 384, 65, 0)


def test_the_network_stays_as_it_is():
    network = build("vit_small", topology="hard").train()
    network.head.eval()
    before = [(name, module.training, type(module)) for name, module in network.named_modules()]
    sites(network, IMAGE)
    after = [(name, module.training, type(module)) for name, module in network.named_modules()]
    assert before == after
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_a_network_without_sites_and_an_empty_batch_are_refused():
    with pytest.raises(InputError, match="Sequential has no site"):
        sites(nn.Sequential(nn.Flatten(), nn.ReLU()), IMAGE)
    with pytest.raises(InputError, match="not 0"):
        sites(build("resnet20"), IMAGE[:0])
    with pytest.raises(InputError, match=r"put it into nn\.Sequential"):
        sites(nn.Linear(3, 3), torch.zeros(1, 3))


class Twice(nn.Module):
    """One layer under two names and called three times; two attentions in one module."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first
        self.tail = nn.Sequential(self.first, nn.Linear(8, 2))

    def forward(self, x):
        x = self.second(self.first(x))
        for _ in range(2):
            x = nn.functional.scaled_dot_product_attention(x, x, x)
        return self.tail(x)


def test_shared_modules_and_repeated_calls_are_one_site_each():
    found = {site.name: site for site in sites(Twice(), torch.zeros(2, 5, 8))}
    assert list(found) == ["first", "qk", "av", "tail.1"]
    assert found["first"].macs == 3 * 5 * 8 * 8
    assert found["first"].weights == 64
    assert found["qk"].macs == found["av"].macs == 2 * 5 * 5 * 8


class Mixed(nn.Module):
    """Products that are no site, beside some that are."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(4, 4, 1)
        self.far, self.own = Distances(4, 4), Own(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.one(x).transpose(1, 2)
        x = self.own(self.far(x)[0])[None]
        return self.head(torch.linalg.multi_dot([(x @ x.transpose(1, 2))[0], x[0]]))


class Distances(nn.Linear):
    """How far its rows are."""

    def forward(self, x):
        return torch.cdist(x, self.weight)


class Own(nn.Linear):
    """Calls itself linear but asks the dispatcher."""

    def forward(self, x):
        return torch.ops.aten.mm(x, self.weight.abs())


def test_products_that_are_no_site_are_counted_and_named_once():
    with pytest.warns(UserWarning, match="are sites'") as caught:
        found = sites(Mixed(), torch.zeros(1, 4, 6))
    assert [site.name for site in found] == ["one.conv1d_0", "matmul_0", "head"]
    uncovered = {piece.name: piece.macs for piece in found.uncovered}
    hand = {"far": 6 * 16, "own": 6 * 16, "": 6 * 6 * 4}
    assert uncovered == hand
    assert found.coverage == pytest.approx(288 / (288 + sum(hand.values())))
    (warning,) = caught
    assert str(warning.message) == (
        "46.2% of the multiply-accumulates are sites'; the rest is no site, in float, and charged "
        "as exact: the network itself (Mixed) 23.1%, far (Distances) 15.4%, own (Own) 15.4%"
    )
    assert warning.filename == __file__


class EarlyExit(nn.Module):
    """Only inputs with a positive sum go through the second layer; ``spare`` never runs."""

    def __init__(self):
        super().__init__()
        self.hard = nn.Linear(4, 4)
        self.easy = nn.Linear(4, 4)
        self.spare = nn.Linear(4, 4)
        self.table = nn.Linear(3, 4)

    def forward(self, x):
        rows = (x.sum(1) > 0).nonzero()[:, 0]
        x = self.easy(x) + self.table(torch.eye(3)).sum(0)
        return x.index_put((rows,), self.hard(x[rows])) if len(rows) else x


@pytest.mark.parametrize("size", [1, 3, 8])
def test_sites_do_not_depend_on_the_order_or_the_batches_of_the_inputs(size):
    torch.manual_seed(0)
    network, x = EarlyExit(), torch.randn(24, 4)
    reached = int((x.sum(1) > 0).sum())
    assert 0 < reached < 24
    with pytest.warns(UserWarning, match="no input reached spare"):
        found = sites(network, list(x[torch.randperm(24)].split(size)))
    macs = {site.name: site.macs for site in found}
    # The table is computed once for a batch, and so for a single input.
    assert macs == {"hard": math.ceil(16 * reached / 24), "easy": 16, "table": 36}
    assert found.unreached == ("spare",)


def test_parametrised_weights_are_sites():
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))
    (site,) = sites(network, torch.zeros(1, 4))
    assert (site.kind, site.macs) == ("linear", 12)
