import dataclasses

import pytest
import torch
from torch import nn

from luts.console import Reporter
from luts.errors import InputError
from models.networks import NetworkConfig, build
from models.training import (
    Data,
    Split,
    cache_folder,
    check_trained_on,
    read_making,
    trained,
    weights_path,
)
from models.training._cache import check_making, save_weights
from models.training._files import atomically

MAKING = {"arch": "toy", "topology": "dense", "seed": 0}


class Notes(Reporter):
    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def note(self, text):
        self.lines.append(text)


class Trainer:
    """Counts how often it trains."""

    def __init__(self):
        self.runs = 0

    def __call__(self, net):
        self.runs += 1
        with torch.no_grad():
            net.weight.fill_(7.0)


def make() -> nn.Linear:
    return nn.Linear(3, 2)


def test_weights_are_trained_once_and_loaded_after(tmp_path):
    train = Trainer()
    first = trained(make, MAKING, train, cache_dir=tmp_path)
    second = trained(make, MAKING, train, cache_dir=tmp_path)
    assert train.runs == 1
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
    assert not second.training


def test_another_making_is_another_network(tmp_path):
    train = Trainer()
    trained(make, MAKING, train, cache_dir=tmp_path)
    trained(make, {**MAKING, "seed": 1}, train, cache_dir=tmp_path)
    assert train.runs == 2


def test_the_making_is_in_the_file(tmp_path):
    trained(make, MAKING, Trainer(), cache_dir=tmp_path)
    making = read_making(weights_path(MAKING, cache_dir=tmp_path))
    assert making["arch"] == "toy" and set(making["versions"]) == {"torch", "timm"}


@pytest.mark.parametrize("damage", [b"", b"not weights", "half", "other network"])
def test_a_damaged_file_is_made_again_with_a_note(tmp_path, damage):
    train, notes, path = Trainer(), Notes(), weights_path(MAKING, cache_dir=tmp_path)
    trained(make, MAKING, train, cache_dir=tmp_path)
    if damage == "other network":
        path.unlink()
        trained(lambda: nn.Linear(4, 2), MAKING, train, cache_dir=tmp_path)
        train.runs = 1
    else:
        path.write_bytes(path.read_bytes()[:60] if damage == "half" else damage)
    net = trained(make, MAKING, train, cache_dir=tmp_path, reporter=notes)
    assert train.runs == 2 and bool((net.weight == 7.0).all())
    assert "made again" in notes.lines[0]
    trained(make, MAKING, train, cache_dir=tmp_path)
    assert train.runs == 2


def test_interrupted_training_leaves_nothing(tmp_path):
    def stop(net):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(make, MAKING, stop, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomically(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("AXDSE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    trained(make, MAKING, Trainer())
    assert weights_path(MAKING).is_relative_to(tmp_path) and weights_path(MAKING).exists()


def test_weights_say_what_their_tensors_do_not(tmp_path):
    config = NetworkConfig("vit_small", "hard", experts=2, expert_blocks=(1,), top_k=2)
    path = tmp_path / "net.safetensors"
    save_weights(build(config), path, {"top_k": 2})
    check_making(str(path), config)
    with pytest.raises(InputError, match="was trained with top_k 2, not 1: say --top-k 2"):
        check_making(str(path), dataclasses.replace(config, top_k=1))
    save_weights(build(config), path, {})  # one that says nothing is taken at its word
    check_making(str(path), dataclasses.replace(config, top_k=1))


def data_of(name="cifar100", *, images=4, **more):
    split = Split(torch.zeros(images, 3, 8, 8), torch.zeros(images, dtype=torch.int64))
    return Data(name, split, split, split, 2, **more)


@pytest.mark.parametrize(
    ("theirs", "mine", "complaint"),
    [
        (data_of("cifar10"), data_of(), "with name cifar10, not cifar100"),
        (data_of(images=3), data_of(), "with train 3, not 4"),
        (data_of(), data_of(part_of=(8, 8)), r"with part_of None, not \{'train': 8, 'test': 8\}"),
        (
            data_of("imagefolder:a", content_sha256="ab"),
            data_of("imagefolder:a", content_sha256="cd"),
            "with content_sha256 ab, not cd",
        ),
    ],
)
def test_weights_of_other_data_are_refused(tmp_path, theirs, mine, complaint):
    path = tmp_path / "net.safetensors"
    save_weights(make(), path, {"data": theirs.making})
    check_trained_on(path, theirs)
    with pytest.raises(InputError, match=complaint) as error:
        check_trained_on(path, mine)
    assert "\n" not in str(error.value)


def test_the_same_images_in_another_folder_and_what_says_nothing_pass(tmp_path):
    path = tmp_path / "net.safetensors"
    save_weights(make(), path, {"data": data_of("imagefolder:a").making})
    check_trained_on(path, data_of("imagefolder:b", content_sha256="cd"))
    save_weights(make(), path, {})
    check_trained_on(path, data_of())
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="does not say in a readable way"):
        check_trained_on(path, data_of())


def test_weights_of_another_route_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    config = NetworkConfig("resnet20", topology="cluster", image_size=8)
    by_image = dataclasses.replace(config, cluster_route="image")
    save_weights(make(), path, dataclasses.asdict(config))
    check_making(str(path), config)
    with pytest.raises(InputError, match="cluster_route layer, not image"):
        check_making(str(path), by_image)
    # From before there was a choice.
    save_weights(make(), path, {"arch": "resnet20", "topology": "cluster"})
    check_making(str(path), config)
    with pytest.raises(InputError, match="cluster_route layer, not image"):
        check_making(str(path), by_image)
