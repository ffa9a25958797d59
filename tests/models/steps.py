"""Networks that do with their activations whatever a network may do."""

import contextlib
import copy
import pickle

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn
from torch.utils._pytree import tree_leaves

from models.emulation._layers import EmulatedWeightSite
from models.emulation._site_output import SiteOutput

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
