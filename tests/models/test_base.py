"""The float network that a search starts from, and the cache that it comes from."""

import pytest
import torch
from PIL import Image
from torch import nn

from models import NetworkConfig
from models.networks import ARCHITECTURES, Architecture
from models.training import TrainingRecipe, base_network, load_data

RECIPE = TrainingRecipe(epochs=1, batch_size=8)


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    def build(*, num_classes, image_size, patch_size, in_channels):
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

    architecture = Architecture(
        build=build,
        expert_sites=lambda network: (),
        default_expert_blocks=None,
        granularity="token",
    )
    monkeypatch.setitem(ARCHITECTURES, "tiny", architecture)
    monkeypatch.setenv("AXDSE_CACHE", str(tmp_path / "cache"))


def write_images(root, brightness):
    for part, count in (("train", 20), ("test", 4)):
        for number, name in enumerate(("ant", "bee")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (4, 4), (brightness + i, 40 * number, 7)).save(folder / f"{i}.png")


def trained_on(data):
    config = NetworkConfig(arch="tiny", topology="dense", num_classes=2, image_size=4)
    return base_network(config, data, seed=0, recipe=RECIPE)


def test_other_images_of_one_relative_name_are_learnt_anew(tmp_path, monkeypatch):
    data, networks = [], []
    for place, brightness in (("here", 10), ("there", 150)):
        write_images(tmp_path / place / "pets", brightness)
        monkeypatch.chdir(tmp_path / place)
        data.append(load_data("imagefolder:pets", seed=0))
        networks.append(trained_on(data[-1]))
    assert data[0].name == data[1].name
    assert data[0].making != data[1].making
    assert not torch.equal(networks[0][1].weight, networks[1][1].weight)
    kept = list((tmp_path / "cache" / "weights").iterdir())
    assert len(kept) == 2
    assert torch.equal(trained_on(data[0])[1].weight, networks[0][1].weight)
    assert sorted((tmp_path / "cache" / "weights").iterdir()) == sorted(kept)
