"""Mixtures of others: the same function, known experts."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import energy
from luts import EXACT
from luts.errors import InputError
from models import adapt, emulate, expert_work, measure_routing, sites
from models.networks import check_experts

D, H, E = 8, 12, 4
X = torch.randn(6, 5, D, generator=torch.Generator().manual_seed(0))
ITEMS = X.shape[:-1].numel()


def mlp():
    return nn.Sequential(nn.Linear(D, H), nn.GELU(), nn.Linear(H, D))


class Looping(nn.Module):
    """Each token goes to its best expert; a list of experts and a gate, as in many repositories."""

    def __init__(self, held=nn.ModuleList, experts=E):
        super().__init__()
        self.gate = nn.Linear(D, experts, bias=False)
        each = [mlp() for _ in range(experts)]
        keyed = held is nn.ModuleDict
        self.experts = held({f"e{i}": e for i, e in enumerate(each)} if keyed else each)
        self.shared = nn.Linear(D, D)

    def forward(self, x):
        items = x.reshape(-1, D)
        gate, index = self.gate(items).softmax(-1).max(-1)
        y = self.shared(items)
        each = self.experts.values() if isinstance(self.experts, nn.ModuleDict) else self.experts
        for number, expert in enumerate(each):
            rows = (index == number).nonzero()[:, 0]
            if len(rows):
                y = y.index_add(0, rows, expert(items[rows]))
        return (y * gate[:, None]).view(x.shape)


class Dispatching(nn.Module):
    """The two best experts, chosen by a parameter, all run on what is sent to them."""

    def __init__(self):
        super().__init__()
        self.w_gate = nn.Parameter(torch.randn(D, E))
        self.experts = nn.ModuleList(mlp() for _ in range(E))

    def forward(self, x):
        items = x.reshape(-1, D)
        top, chosen = (items @ self.w_gate).topk(2)
        gates = torch.zeros(len(items), E).scatter(1, chosen, top.softmax(-1))
        y = torch.zeros_like(items)
        for number, expert in enumerate(self.experts):
            rows = gates[:, number].nonzero()[:, 0]
            y = y.index_add(0, rows, expert(items[rows]) * gates[rows, number, None])
        return y.view(x.shape)


class Experts(nn.Module):
    """As in the package ``mixture-of-experts``."""

    def __init__(self):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(E, D, H) / 3)
        self.w2 = nn.Parameter(torch.randn(E, H, D) / 3)
        self.act = nn.GELU()

    def forward(self, x):
        hidden = self.act(torch.einsum("...nd,...dh->...nh", x, self.w1))
        return torch.einsum("...nh,...hd->...nd", hidden, self.w2)


class Capacity(nn.Module):
    """Each expert has three slots, which the first tokens that choose it fill."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(D, E, bias=False), Experts()

    def forward(self, x):
        chosen = F.one_hot(self.gate(x).argmax(-1), E)
        place = F.one_hot((chosen.cumsum(1) * chosen).clamp(max=4), 5)[..., 1:4]
        sent = (chosen[..., None] * place).float()
        slots = torch.einsum("bnd,bnec->ebcd", x, sent)
        y = self.experts(slots.flatten(1, 2)).view_as(slots)
        return torch.einsum("ebcd,bnec->bnd", y, sent)


class Around(nn.Module):
    """A mixture inside a network."""

    def __init__(self, mixture):
        super().__init__()
        self.first, self.mixture, self.head = nn.Linear(D, D), mixture, nn.Linear(D, 3)

    def forward(self, x):
        return self.head(self.mixture(self.first(x))).mean(1)


MIXTURES = {
    # what makes it, runs of an expert for one token, of which module the router is
    "a list": (Looping, 1, "mixture.block.gate"),
    "a dictionary": (lambda: Looping(nn.ModuleDict), 1, "mixture.block.gate"),
    "a gate of its own": (Dispatching, 2, "mixture.block.matmul_0"),
    "slots": (Capacity, E * 3 / 5, "mixture.block.gate"),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_keep_their_function_and_their_experts_are_known(name):
    make, runs, router = MIXTURES[name]
    torch.manual_seed(0)
    network = Around(make()).eval()
    adapted = adapt(network)
    with torch.no_grad():
        assert torch.allclose(adapted(X), network(X), atol=1e-6)
    found = sites(adapted, X)
    assert found.coverage == 1 and not found.unreached
    by_name = {site.name: site for site in found}
    assert by_name[router].kind == "router"
    experts = [site for site in found if site.expert is not None]
    assert len(experts) == 2 * E
    assert all(site.macs == 5 * D * H and site.expert_layer == "mixture" for site in experts)
    routing = measure_routing(adapted, [X], source="tokens")
    work = expert_work(adapted, X)
    assert work[0].executions == pytest.approx(runs) and work[0].items == 5
    cost = energy.cost(energy.Workload(found, routing, work), EXACT)
    macs = sum(row.macs_expected for row in cost.rows if row.expert is not None)
    assert macs == pytest.approx(runs * 5 * 2 * D * H)
    emulated = emulate(adapted, EXACT, calibration=[X], method="max")
    assert emulated.sites == found
    again = measure_routing(emulated.network, [X], source="tokens")
    assert sum(again.rates["mixture"]) == pytest.approx(runs)
    copied = copy.deepcopy(adapted)
    assert measure_routing(copied, [X], source="tokens") == routing


def test_experts_that_no_item_reaches_are_sites_calibrated_by_all_items():
    torch.manual_seed(0)
    network = Around(Looping()).eval()
    network.mixture.gate.weight.data = torch.zeros(E, D)  # the first expert is the best of equals
    emulated = emulate(adapt(network), EXACT, calibration=[X])
    assert all(emulated.layer(f"mixture.experts.{e}.0").x_scale != 1 for e in range(E))


def test_a_mixture_may_be_named():
    class Odd(Looping):
        def __init__(self):
            super().__init__()
            self.specialists, self.chooses = self.experts, self.gate
            del self.experts, self.gate

        experts = property(lambda self: self.specialists)
        gate = property(lambda self: self.chooses)

    network = nn.Sequential(nn.Linear(D, D), Odd()).eval()
    adapted = adapt(network, {"1": "specialists"})
    with torch.no_grad():
        assert torch.equal(adapted(X), network(X))
    assert {s.expert for s in sites(adapted, X)} == {None, *range(E)}


def test_fused_experts_may_be_named():
    class Banked(Capacity):
        def __init__(self):
            super().__init__()
            self.bank = self.experts
            del self.experts

        def forward(self, x):
            # As that of the parent, which looks for another name.
            self.__dict__["experts"] = self.bank
            try:
                return super().forward(x)
            finally:
                del self.__dict__["experts"]

    network = nn.Sequential(nn.Linear(D, D), Banked()).eval()
    adapted = adapt(network, {"1": "bank"})
    with torch.no_grad():
        assert torch.allclose(adapted(X), network(X), atol=1e-6)
    assert {s.expert for s in sites(adapted, X)} == {None, *range(E)}


def test_what_cannot_be_adapted_is_refused():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.num_experts, self.weights = E, nn.Parameter(torch.zeros(E, D, D))

    for network, given, message in (
        (nn.Sequential(nn.Linear(D, D)), None, "no mixture of experts that is recognised"),
        (nn.Sequential(Fused()), None, r"0\.weights \(Fused\) looks like the weights of experts"),
        (Around(Looping()), {"mixture": "expert"}, r"no mixture\.expert"),
        (Around(Looping()), {"mixture": "gate"}, "Linear, which holds no experts"),
    ):
        with pytest.raises(InputError, match=message):
            adapt(network, given)
    for ask in (lambda net, x: sites(net, x), lambda net, x: emulate(net, EXACT, calibration=[x])):
        with pytest.raises(InputError, match=r"0\.weights \(Fused\) .* models\.adapt\(network\)"):
            ask(nn.Sequential(Fused()), torch.zeros(2, D))


class Held(nn.Module):
    """A module with parameters of the given shapes, and other attributes."""

    def __init__(self, *shapes, **attributes):
        super().__init__()
        for number, shape in enumerate(shapes):
            self.register_parameter(f"w{number}", nn.Parameter(torch.zeros(shape)))
        for name, value in attributes.items():
            setattr(self, name, value)


class NestedExperts(Held):
    """As in lucidrains' hierarchical mixture, whose experts are called with four dimensions."""


class ViTMoE(Held):
    """A network that is called after its experts, with a class token and places of its own."""


class ExpertBlock(Held):
    """One of several experts, with a scale for each channel."""


class SoftMoE(Held):
    """Slots of each expert are weights too, and the experts are modules."""


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (Around(Capacity()), r"mixture\.experts\.w1 \(Experts\)"),
        (nn.Sequential(NestedExperts((2, 3, D, H))), r"0\.w0 \(NestedExperts\)"),
        (ExpertBlock((1, D, 1, 1), (E, D, H)), r"w1 \(ExpertBlock\)"),
        # how many there are is said by the module around, or by its router
        (Held(held=Held((E, D, H)), num_experts=E), r"held\.w0 \(Held\)"),
        (Held((E, D, H), router=nn.Linear(D, E)), r"w0 \(Held\)"),
        (Held(held=Held((E, D, H)), gate=nn.Linear(D, E)), r"held\.w0 \(Held\)"),
        # one below the other, as DBRX has them
        (Held((E * H, D), (E * H, D), moe_num_experts=E), r"w0 \(Held\)"),
    ],
)
def test_weights_in_the_shape_of_experts_are_refused_until_they_are_adapted(network, found):
    with pytest.raises(InputError, match=rf"^{found} looks .* give models\.adapt\(network\)"):
        sites(network, X)


def test_other_tensors_of_three_dimensions_are_no_experts():
    experts = nn.ModuleList(nn.Linear(D, D) for _ in range(E))
    for network in (
        nn.Conv1d(D, E, 1),
        Held(router=nn.Conv1d(D, E, 1), num_experts=E),
        SoftMoE((D, E, 3), experts=experts),
        SoftMoE((E, 3, D), experts=experts, num_experts=E),
        SoftMoE((E, 3, D), held=nn.Sequential(experts), num_experts=E),
        Held((E, D, H)),
        Held((E, D), (E, D), num_experts=E),
        Held((E * H, D), num_experts=E),
        ViTMoE((1, 1, D), (1, 7, D)),
        ExpertBlock((1, D, 1, 1)),
        ExpertBlock((D, 1, 1)),
        nn.Sequential(nn.Linear(D, D), ExpertBlock((1, D, 1, 1))),
    ):
        check_experts(network)
