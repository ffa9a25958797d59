import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from luts import EXACT
from luts.errors import InputError
from models import build, emulate, sites
from models.emulation._attention import ExposedAttention
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._layers import EmulatedLinear

X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)).eval()


def differs(emulated, network, x):
    """Relative difference of the outputs."""
    with torch.no_grad():
        return float((emulated(x) - network(x)).norm() / network(x).norm())


PARAMETRISED = {
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(6, 6)), X),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(6, 6)), X),
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Conv2d(3, 6, 1)), IMAGES),
}


@pytest.mark.parametrize("name", PARAMETRISED)
def test_the_original_keeps_its_parametrisation(name):
    make, x = PARAMETRISED[name]
    network = nn.Sequential(make()).eval()
    state = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        before = network(x)
    assert len(sites(network, x[:1])) == 1
    emulated = emulate(network, EXACT, calibration=[x])
    with torch.no_grad():
        assert torch.equal(network(x), before)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert differs(emulated, network, x) < 0.02
    assert nn.utils.parametrize.is_parametrized(network[0])


def test_hooks_of_layers_are_called():
    network = plain()
    network[0].register_forward_hook(lambda module, args, output: 2 * output)
    network[2].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    emulated = emulate(network, EXACT, calibration=[X])
    assert differs(emulated, network, X) < 0.03
    assert differs(emulated, plain(), X) > 0.3


class ByClass(nn.Module):
    """Asks what its layers are, and how large."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding="same", bias=False)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 5)
        self.conv.note = 0.5

    def forward(self, x):
        if isinstance(self.conv, nn.Conv2d) and self.conv.padding == "same":
            x = self.conv.note * self.conv(x[:, : self.conv.in_channels])
        x = x.flatten(2).transpose(1, 2)
        x = x * self.attention.in_proj_weight.mean() + self.attention.in_proj_bias.sum()
        x, _ = self.attention(x, x, x)
        return self.head(x[:, 0]) if isinstance(self.head, nn.Linear) else x


def test_emulated_layers_look_like_those_in_whose_place_they_are():
    torch.manual_seed(0)
    network = ByClass().eval()
    emulated = emulate(network, EXACT, calibration=[IMAGES])
    assert differs(emulated.in_float(), network, IMAGES) < 1e-5
    old_and_new = (
        (nn.Conv2d(3, 8, 3), EmulatedConv2d(nn.Conv2d(3, 8, 3))),
        (nn.Linear(4, 4), EmulatedLinear(nn.Linear(4, 4))),
        (
            nn.MultiheadAttention(8, 2),
            ExposedAttention(nn.MultiheadAttention(8, 2), is_self_attention=True),
        ),
    )
    for old, new in old_and_new:
        assert isinstance(new, type(old))
        public = [name for name in (*vars(old), *old._parameters) if name[0] != "_"]
        assert all(hasattr(new, name) for name in public if getattr(old, name) is not None)


class ByExactClass(nn.Module):
    """Asks in a way that no subclass can answer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(x) if type(self.layer) is nn.Linear else x + self.layer(x)


def test_a_network_that_computes_something_else_once_emulated_is_refused():
    with pytest.raises(InputError, match="ByExactClass computes something else"):
        emulate(ByExactClass(), EXACT, calibration=[X])


class Random(nn.Module):
    """Adds noise in evaluation too."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(x + 0.1 * torch.randn_like(x))


def test_a_random_forward_is_no_difference():
    assert len(emulate(Random(), EXACT, calibration=[X]).sites) == 1


class ReadsLayout(nn.Module):
    """Looks at how the image of a convolution lies in memory."""

    def __init__(self, read):
        super().__init__()
        self.conv, self.norm, self.read = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), read

    def forward(self, x):
        return self.read(self.norm(self.conv(x)))


READS = {
    "view": lambda x: x.view(len(x), -1),
    "as_strided": lambda x: x.as_strided((len(x), 4, 16), (64, 16, 1)),
    "one image": lambda x: x[0].view(-1),
}


@pytest.mark.parametrize("name", READS)
def test_outputs_lie_in_memory_as_those_of_pytorch(name):
    torch.manual_seed(0)
    network = ReadsLayout(READS[name]).eval()
    emulated = emulate(network, EXACT, calibration=[IMAGES])
    assert differs(emulated, network, IMAGES) < 0.03
    # With channels last in the input, PyTorch's output has them last too.
    last = IMAGES.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        strides = [each.conv(last).stride() for each in (network, emulated.network)]
    assert strides[0] == strides[1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_numbers_are_refused_when_they_arrive(dtype):
    attention = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    for network, x in ((plain(), X), (nn.Sequential(nn.Conv2d(3, 4, 3)), IMAGES)):
        emulated = emulate(network, EXACT, calibration=[x])
        with torch.no_grad(), pytest.raises(InputError, match=f"not {dtype}"):
            emulated(x.to(dtype))
        with torch.no_grad(), pytest.raises(InputError, match=f"not {dtype}"):
            emulated.to(dtype)(x.to(dtype))
        with pytest.raises(InputError, match=f"not {dtype}"):
            emulate(network, EXACT, calibration=[x.to(dtype)])
    emulated = emulate(nn.Sequential(attention), EXACT, calibration=[X[:, None]])
    with torch.no_grad(), pytest.raises(InputError, match=f"not {dtype}"):
        emulated.to(dtype)(X[:, None].to(dtype))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tracing_and_exporting_are_refused():
    emulated = emulate(plain(), EXACT, calibration=[X])
    for record in (torch.jit.trace, lambda net, x: torch.export.export(net, (x,))):
        with pytest.raises(InputError, match=r"do that with what emulated\.in_float\(\) gives"):
            record(emulated, X)
        record(emulated.in_float(), X)


def test_compiled_networks_are_those_that_they_were_made_from():
    network = plain()
    compiled = torch.compile(plain(), backend="eager")
    part = nn.Sequential(torch.compile(network[0], backend="eager"), *network[1:])
    in_place = plain()
    in_place.compile(backend="eager")
    for each in (compiled, part, in_place):
        emulated = emulate(each, EXACT, calibration=[X])
        assert [site.name for site in emulated.sites] == ["0", "2"]
        assert differs(emulated, network, X) < 0.02


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_networks_without_layers_are_refused_with_the_remedy():
    scripted = torch.jit.script(plain())
    exported = torch.export.export(plain(), (X,)).module()
    quantised = torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear})
    cases = ((scripted, "scripted"), (exported, "exported"), (quantised, "quantised already"))
    for network, reason in cases:
        with pytest.raises(InputError, match=f"is {reason}"):
            emulate(network, EXACT, calibration=[X])
        with pytest.raises(InputError, match=f"is {reason}"):
            sites(network, X)
    with torch.inference_mode():
        made, inputs = plain(), X + 1
    with pytest.raises(InputError, match="parameters made in"):
        emulate(made, EXACT, calibration=[X])
    with pytest.raises(InputError, match="inputs were made in"):
        emulate(plain(), EXACT, calibration=[inputs])
    with pytest.raises(InputError, match=r"not torch\.uint8"):
        emulate(plain(), EXACT, calibration=[X.to(torch.uint8)])


class Exits(nn.Module):
    """Inputs of a large sum go through a layer of their own."""

    def __init__(self):
        super().__init__()
        self.easy, self.hard, self.spare = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        y = self.easy(x)
        rows = (x.sum(1) > 100).nonzero()[:, 0]
        y = y.index_put((rows,), self.hard(x[rows]))
        return self.spare(y) if self.training else y


def test_a_layer_that_calibration_did_not_reach_refuses_what_reaches_it():
    with pytest.warns(UserWarning, match="no input reached hard, spare"):
        emulated = emulate(Exits(), EXACT, calibration=[X])
    assert [site.name for site in emulated.sites] == ["easy"]
    emulated(X)
    with pytest.raises(InputError, match="hard runs, but no calibration input had reached it"):
        emulated(X + 100)
    emulated.in_float()(X + 100)
    emulated.train()(X)


class Shared(nn.Module):
    """One layer, used before and after a large gain."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(50 * F.relu(self.layer(x)) + 1)


def test_one_layer_on_different_ranges_is_warned_of():
    with pytest.warns(UserWarning, match=r"very different range: layer \(2 calls"):
        emulate(Shared(), EXACT, calibration=[X])


def test_a_network_of_timm_that_does_not_take_the_image_size_is_refused():
    with pytest.raises(InputError, match="made for images of 224 pixels, cannot be built"):
        build("timm:maxvit_tiny_tf_224", image_size=30)
    with pytest.raises(InputError, match=r"does not take images of 8 pixels .* --image-size 224"):
        build("timm:inception_next_atto", image_size=8)


class TwoInputs(nn.Module):
    """Takes two inputs, and an option."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x, y, gain=1.0):
        return gain * self.a(x) + self.b(y)


@pytest.mark.parametrize(
    "batch",
    [
        (X, X),
        (X, X, torch.zeros(16)),
        {"x": X, "y": X},
        {"x": X, "y": X, "labels": torch.zeros(16)},
        ((X, X), {"gain": 2.0}),
    ],
)
def test_batches_come_in_many_forms(batch):
    emulated = emulate(TwoInputs(), EXACT, calibration=[batch])
    assert [site.name for site in emulated.sites] == ["a", "b"]
    assert emulated(X, y=X).shape == (16, 4)


def test_a_tensor_by_itself_is_one_batch():
    assert emulate(plain(), EXACT, calibration=X).sites == sites(plain(), X)


def test_batches_that_do_not_fit_are_refused():
    for batch, reason in (
        ((X,), "demands 2 inputs, but the batch holds 1"),
        ({"x": X, "z": X}, "not 'z'"),
        ("text", "not str"),
        ([["text"]], "begins with"),
    ):
        with pytest.raises(InputError, match=reason):
            emulate(TwoInputs(), EXACT, calibration=[batch])


def test_a_layer_with_a_forward_of_its_own_keeps_it():
    network = plain()
    original = network[0].forward
    network[0].forward = lambda x: original(x) + 1  # as accelerate and adapters by hand do
    emulated = emulate(network, EXACT, calibration=[X])
    assert [site.name for site in emulated.sites] == ["0.linear_0", "2"]
    assert differs(emulated, network, X) < 0.02


class Scaled(nn.Linear):
    """A linear layer that holds more than PyTorch's."""

    def __init__(self):
        super().__init__(6, 6)
        self.gain = nn.Parameter(torch.tensor(3.0))
        self.register_buffer("shift", torch.tensor(2.0))
        self.act = nn.ReLU()


class UsesMore(nn.Module):
    """Reads what its layer holds."""

    def __init__(self):
        super().__init__()
        self.layer = Scaled()

    def forward(self, x):
        return self.layer.act(self.layer(x)) * self.layer.gain + self.layer.shift


def test_what_a_layer_holds_besides_stays_with_it():
    network = UsesMore().eval()
    emulated = emulate(network, EXACT, calibration=[X])
    assert differs(emulated, network, X) < 0.02
    assert {"gain", "shift"} < dict(emulated.layer("layer").state_dict()).keys()


def test_a_padded_batch_is_compared_with_what_the_network_computes_unfused():
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.TransformerEncoder(layer, 1)

        def forward(self, x):
            padding = torch.arange(x.shape[1]).expand(len(x), -1) >= 3
            return self.encoder(x, src_key_padding_mask=padding)

    assert len(emulate(Padded().eval(), EXACT, calibration=[X.view(4, 4, 6)]).sites) == 6


def test_a_batch_that_the_network_does_not_take_is_refused_by_name():
    for compute in (lambda x: sites(plain(), x), lambda x: emulate(plain(), EXACT, calibration=x)):
        with pytest.raises(InputError, match=r"fails on a batch of shapes \(1, 5\), in 0 \(Linear"):
            compute(torch.zeros(3, 5))


class Attends(nn.Module):
    """Attention by name."""

    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x)


def test_fan_in_does_not_depend_on_the_order_of_lengths():
    network = nn.Sequential(Attends())
    short, long = torch.zeros(2, 3, 6), torch.zeros(2, 4, 6)
    first, second = sites(network, [short, long]), sites(network, [long, short])
    assert first == second
    assert {site.name: site.fan_in for site in first}["0.av"] == 4
