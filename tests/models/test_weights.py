import os
import struct

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from luts.console import Reporter
from luts.errors import InputError
from models.networks._timm import timm
from models.networks.resnet_cifar import resnet20
from models.training import _weights, fits, load_pretrained_, load_weights_, read_weights
from models.training._download import Checksum
from models.training._weights import _adapt_and_load


class Notes(Reporter):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def other_weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value + 1 for key, value in net.state_dict().items()}


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth", "th"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict"])
def test_every_kind_of_file_is_loaded(tmp_path, net, suffix, prefix, wrapper):
    state, path = other_weights(net), tmp_path / f"weights.{suffix}"
    saved = {prefix + key: value for key, value in state.items()}
    if suffix == "safetensors":
        # Tensors only, so nothing wraps them.
        save_file(saved, path)
    else:
        torch.save({wrapper: saved, "epoch": 3} if wrapper else saved, path)
    load_weights_(net, path)
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_a_url_is_fetched(tmp_path, net):
    torch.save(other_weights(net), tmp_path / "weights.pt")
    load_weights_(net, (tmp_path / "weights.pt").as_uri())
    assert float(net.state_dict()["1.running_mean"][0]) == 1.0
    with pytest.raises(InputError, match="cannot fetch"):
        load_weights_(net, (tmp_path / "none.pt").as_uri())


def test_a_mismatch_lists_the_keys_and_changes_nothing(tmp_path, net):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = other_weights(net)
    state["0.weight"] = torch.zeros(4, 5)
    state["2.extra"] = state.pop("1.bias")
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(InputError) as error:
        load_weights_(net, tmp_path / "weights.pt")
    for words in ("missing: 1.bias", "unknown: 2.extra", "0.weight [4, 5] instead of [4, 3]"):
        assert words in str(error.value)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert not fits(net, state)


def test_another_number_of_classes_is_a_mismatch(tmp_path):
    torch.save(resnet20(100).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"fc\.weight \[100, 64\] instead of \[10, 64\]"):
        load_weights_(resnet20(10), tmp_path / "weights.pt")


class Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_refused_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged") as error:
        read_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("left", [0.0, 0.01, 0.03, 0.06, 0.5, 0.9, 0.999])
def test_cut_files_are_refused_in_one_line(tmp_path, is_zip, left):
    path, net = tmp_path / "weights.pth", nn.Sequential(nn.Linear(30, 40), nn.BatchNorm1d(40))
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=is_zip)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(left * len(raw))])
    with pytest.raises(InputError, match="damaged") as error:
        read_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [OSError, IndexError, struct.error])
def test_whatever_a_damaged_file_raises_is_one_line(tmp_path, monkeypatch, kind):
    def fail(*_, **__):
        raise kind()

    (tmp_path / "weights.pt").write_bytes(b"x")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(InputError, match=rf"damaged or holds more than weights \({kind.__name__}"):
        read_weights(tmp_path / "weights.pt")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_interruption_while_reading_is_no_damage(tmp_path, monkeypatch, kind):
    def fail(*_, **__):
        raise kind

    (tmp_path / "weights.pt").write_bytes(b"x")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(kind):
        read_weights(tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [{"net": Attack()}, [1, 2], {}, {"epoch": 3}, nn.Linear(2, 2)])
def test_files_that_hold_more_or_less_than_weights_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="save"):
        read_weights(tmp_path / "weights.pt")


def test_missing_files_and_other_endings_are_refused(tmp_path):
    (tmp_path / "weights.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match="no weights at"):
        read_weights(tmp_path / "none.pt")
    with pytest.raises(InputError, match=r"they end in \.safetensors"):
        read_weights(tmp_path / "weights.onnx")


def test_published_weights_with_other_classes_get_a_fresh_head(tmp_path, monkeypatch):
    monkeypatch.setenv("AXDSE_CACHE", str(tmp_path / "cache"))
    published, net, notes = resnet20(100), resnet20(7), Notes()
    torch.save(published.state_dict(), tmp_path / "weights.pt")

    class Local(_weights.Release):
        url = (tmp_path / "weights.pt").as_uri()
        checksum = Checksum("sha256", "")

    monkeypatch.setitem(_weights._RELEASES, ("resnet20", 100), Local("x", "weights.pt"))
    head = net.fc.weight.detach().clone()
    load_pretrained_(net, "resnet20", num_classes=7, reporter=notes)
    assert torch.equal(net.fc.weight, head)
    assert torch.equal(net.layer3[2].conv2.weight, published.layer3[2].conv2.weight)
    assert "the head starts anew" in notes.lines[0]


def test_a_transformer_of_another_size_gets_resized_embeddings():
    VisionTransformer = timm().models.vision_transformer.VisionTransformer
    shape = {"embed_dim": 16, "depth": 1, "num_heads": 2}
    published = VisionTransformer(img_size=224, patch_size=16, num_classes=1000, **shape)
    net = VisionTransformer(img_size=32, patch_size=8, num_classes=10, **shape)
    notes = Notes()
    _adapt_and_load(net, published.state_dict(), "vit_small", notes)
    assert torch.equal(net.blocks[0].attn.qkv.weight, published.blocks[0].attn.qkv.weight)
    assert [line.split()[0] for line in notes.lines] == [
        "patch_embed.proj.weight",
        "pos_embed",
        "the",
    ]
    # The class token's embedding is no position and stays.
    assert torch.allclose(net.pos_embed[:, 0], published.pos_embed[:, 0])


FETCHED = "published weights are fetched for resnet20, vgg11_bn, vgg19_bn, vit_small only"


def test_architectures_whose_published_weights_are_not_fetched_say_so():
    with pytest.raises(InputError, match=f"{FETCHED}, not for net.py:mlp: give --weights"):
        load_pretrained_(nn.Linear(2, 2), "net.py:mlp", num_classes=2)


def test_a_timm_network_is_told_where_its_published_weights_come_from():
    with pytest.raises(InputError, match=f"{FETCHED}, not for timm:resnet18: ") as error:
        load_pretrained_(nn.Linear(2, 2), "timm:resnet18", num_classes=7)
    said = str(error.value)
    assert "timm.create_model('resnet18', pretrained=True, num_classes=7).state_dict()" in said
    assert "--weights FILE" in said and "\n" not in said


def test_releases_are_checked_by_the_digits_in_their_names():
    release = _weights._RELEASES["resnet20", 10]
    assert release.checksum == Checksum("sha256", "4118986f")
    assert release.url.endswith("/releases/download/resnet/cifar10_resnet20-4118986f.pt")
