"""The bound on what experts with circuits of their own save: by construction, and on a network."""

import numpy as np
import pandas as pd
import pytest
import torch

import luts
import models
from dse import Evaluator, SearchSpace
from luts import InputError
from luts.console import SILENT
from models.networks import NetworkConfig, build, upcycle_
from models.training import load_data
from models.training._files import CACHE_VARIABLE
from studies.expert_freedom import __main__ as study
from studies.expert_freedom._bound import HalfModel, bound, half_model, savings
from studies.expert_freedom._imbalance import imbalanced

EXPERTS = 4
NAMES = luts.catalog.names("paper")


@pytest.fixture(scope="module")
def network():
    made = build("resnet20", image_size=8).eval()
    config = NetworkConfig(
        "resnet20", topology="hard", image_size=8, experts=EXPERTS, expert_blocks=(4, 7)
    )
    upcycle_(made, config, images=[torch.randn(64, 3, 8, 8)], noise=0.3, seed=0)
    return made.eval()


@pytest.fixture(scope="module")
def space(network):
    sites = models.sites(network, torch.randn(8, 3, 8, 8))
    return SearchSpace.of(sites, NAMES)


def model_of(space, sensitivity):
    """Damage falls with power as a power law does, times how much a site minds; energy is power."""
    site_of = {site.name: site for site in space.sites}
    power = np.array([luts.catalog[choice.multiplier].power_mw for choice in space.choices])
    power /= power.max()
    damage = 1 / power**2 - 1
    rows = [site_of[name] for name in space.free]
    macs = np.array([r.macs / (EXPERTS if r.expert is not None else 1) for r in rows], dtype=float)
    macs /= macs.sum()
    minds = np.array([sensitivity(row) for row in rows])
    return HalfModel(np.outer(minds * macs, damage), np.outer(macs, power), 0.0, 100)


def alike(site):
    return 1.0


def differing(site):
    return 1.0 if site.expert is None else 40.0 ** (site.expert - 1.5)


def by_row(found):
    return {(each.tie, each.control): each for each in found}


def test_experts_that_are_alike_gain_nothing_from_freedom(space):
    model = model_of(space, alike)
    for saving in savings(space, model, model, permutations=3, seed=0):
        assert abs(saving.mean_pct) < 0.5, saving


def test_experts_that_differ_gain_and_lose_when_exchanged(space):
    model = model_of(space, differing)
    found = by_row(savings(space, model, model, permutations=3, seed=0))
    assert found["none", False].mean_pct > 1
    assert found["none", True].mean_pct < 0
    assert found["expert", False].mean_pct > found["expert", True].mean_pct
    # The optimum of a space is no worse than that of a space inside it.
    assert found["none", False].least_pct > -0.5
    assert found["none", False].mean_pct >= found["expert", False].mean_pct - 0.5
    assert all(s.least_pct <= s.mean_pct <= s.most_pct for s in found.values())


def test_what_was_noise_in_one_half_is_no_saving_in_the_other(space):
    rng = np.random.default_rng(0)

    def noisy(site):
        return 1.0 if site.expert is None else float(rng.choice([0.1, 10.0]))

    chosen, tested = model_of(space, noisy), model_of(space, noisy)
    fitted = by_row(savings(space, chosen, chosen, permutations=1, seed=0))
    honest = by_row(savings(space, chosen, tested, permutations=1, seed=0))
    assert fitted["none", False].mean_pct > honest["none", False].mean_pct
    assert honest["none", False].mean_pct < 0.5


@pytest.fixture(scope="module")
def evaluator(network):
    data = load_data("digits", seed=0, image_size=8)
    return Evaluator(network, data, calibration_images=64)


def test_half_a_model_is_of_its_images_and_their_routing(evaluator):
    space = SearchSpace.of(evaluator.emulated.sites, ["mul8s_1KV8", "mul8s_1L1G"])
    data = evaluator.data.validation
    one, other = (half_model(evaluator, space, data.take(n), seed=0) for n in (64, 128))
    assert one.distortion.shape == one.energy.shape == (len(space.free), 2)
    assert (one.distortion[:, 0] == 0).all() and (one.distortion[:, 1] > 0).any()
    assert one.energy[:, 0].sum() + one.constant == pytest.approx(1, abs=0.03)
    assert not np.array_equal(one.distortion, other.distortion)
    # An expert that no image reached does no harm and costs nothing.
    site_of = {site.name: site for site in space.sites}
    routed = models.measure_routing(evaluator.emulated.network, [data.take(64).images], source="")
    for row, name in enumerate(space.free):
        site = site_of[name]
        if site.expert is not None and routed.rate(site.expert_layer, site.expert) == 0:
            assert one.energy[row].max() == one.distortion[row].max() == 0
    assert one.visits <= 64 / EXPERTS
    with pytest.raises(InputError, match="a multiple of 64, not 65"):
        half_model(evaluator, space, data.take(65), seed=0)


def test_the_bound_of_a_network(evaluator):
    frame = bound("tiny", evaluator, multipliers="paper", images=64, permutations=2, seed=0)
    assert len(frame) == 4 and set(frame["tie"]) == {"none", "expert"}
    assert frame["mean_pct"].abs().max() < 60
    assert frame["expert_energy_pct"].between(1, 60).all()
    with pytest.raises(InputError, match="200 images to choose on and 200 to test on are more"):
        bound("tiny", evaluator, multipliers="paper", images=200, permutations=1, seed=0)
    dense = Evaluator(build("resnet20", image_size=8).eval(), evaluator.data, calibration_images=32)
    with pytest.raises(InputError, match="dense has no experts"):
        bound("dense", dense, multipliers="paper", images=64, permutations=1, seed=0)


def test_the_committed_configuration_is_legal_and_the_command_writes_a_table(
    evaluator, tmp_path, monkeypatch
):
    settings = study.study_settings(study.FreedomStudy, "expert_freedom")
    assert settings.networks["resnet20-hard-all-8"].experts == 8
    for named in settings.networks.values():
        assert (study.HERE / named.weights).exists()
    data = evaluator.data
    network = build(
        NetworkConfig("resnet20", topology="hard", image_size=8, expert_blocks=(4,))
    ).eval()
    monkeypatch.setattr(study.ExpertNetwork, "load", lambda *a, **k: (network, data))
    less = {"images": 64, "calibration_images": 32, "multipliers": "mul8s_1KV8,mul8s_1L1G"}
    smaller = study.dataclasses.replace(settings, **less)
    monkeypatch.setattr(study, "study_settings", lambda *a: smaller)
    monkeypatch.setattr(
        "sys.argv", ["x", "--networks", "resnet20-hard", "--results", str(tmp_path)]
    )
    study.main()
    table = pd.read_csv(tmp_path / "resnet20-hard.csv", comment="#")
    assert set(table["network"]) == {"resnet20-hard"} and len(table) == 4


def test_classes_become_rare_one_after_the_other(evaluator):
    data = evaluator.data
    rare = imbalanced(data, 10)
    before, after = (np.bincount(each.train.labels, minlength=10) for each in (data, rare))
    assert after[0] == before[0]
    assert after[-1] == np.ceil(before[-1] / 10)
    assert (np.diff(after / before) < 0.02).all() and after.sum() < 0.5 * before.sum()
    assert rare.name == "digits, classes 10:1" and rare.num_classes == 10
    # In the order that they were in, and the images of those labels.
    assert torch.equal(rare.train.images[0], data.train.images[0]) or after[0] < before[0]
    first = data.validation.labels == 0
    assert torch.equal(
        rare.validation.images[rare.validation.labels == 0], data.validation.images[first]
    )


def test_experts_of_their_own_epochs_are_trained_from_the_dense_network(
    evaluator, tmp_path, monkeypatch
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    named = study.ExpertNetwork(
        arch="resnet20",
        dataset="digits",
        topology="hard",
        experts=2,
        expert_blocks=(8,),
        dropped=0.5,
        epochs=0.5,
        imbalance=10,
        image_size=8,
    )
    recipe, further = named._recipes("digits")
    assert further.epochs == 0.5 and recipe.epochs > 1
    short = study.dataclasses.replace(recipe, epochs=0.5)
    monkeypatch.setattr(study, "default_recipe", lambda *a: short)
    network, data = named.load(study.Images(), seed=0, reporter=SILENT)
    assert data.name == "digits, classes 10:1"
    assert len(models.networks.expert_layers(network)) == 1
