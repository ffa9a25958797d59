"""The search as a function, on networks and data in memory."""

import dataclasses
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dse
import luts
import models
from dse import front, search
from dse.results import Run
from energy import report
from luts import InputError
from tests.dse._searching import FAST, call, one_cache, only_line, state_of  # noqa: F401

CIRCUITS = "mul8s_1KV8,mul8s_1L1G,mul8s_1KTY"
QUICK = {"multipliers": CIRCUITS, "trials": 9, "finetune": "none", "quiet": True}


def pair(count, seed, shape=(1, 5, 5)):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    step = labels.view(-1, *[1] * len(shape))
    return torch.rand(count, *shape, generator=generator) + 0.4 * step, labels


SPLITS = {"train": pair(96, 0), "validation": pair(90, 1), "test": pair(60, 2)}


def trained(net, splits=SPLITS):
    data = models.data_of(splits)
    recipe = models.TrainingRecipe(epochs=4, batch_size=32, optimizer="adamw", lr=1e-2)
    models.fit(net, data, recipe, seed=0)
    return net


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return trained(nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3)))


@pytest.fixture(scope="module")
def result(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return dse.explore(network, SPLITS, out=out, seed=3, **QUICK)


def listing(result):
    return [(t.number, t.origin, t.assignment, t.energy_rel, t.validation) for t in result.trials]


def test_a_search_in_memory_writes_nothing_and_finds_the_same(network, result, tmp_path):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    again = dse.explore(network, SPLITS, seed=3, **QUICK)
    assert again.path is None
    assert listing(again) == listing(result)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    drawn = QUICK | {"sampler": "random", "trials": 24}
    found = [listing(dse.explore(network, SPLITS, seed=seed, **drawn)) for seed in (3, 4)]
    assert found[0] != found[1]


def test_it_finds_what_the_command_finds(tmp_path):
    run = tmp_path / "run"
    assert call(search, *FAST, "--trials", 8, "--topology", "dense", "--out", run) == 0
    config = Run.open(run).config
    by_command = dse.read_run(run)
    data = models.load_data("digits", seed=0, image_size=32)
    from dse import _steps

    network, _ = _steps.load(Run.open(run), luts.console.SILENT)
    found = dse.explore(network, data, **{**QUICK, "trials": 8, "multipliers": config.multipliers})
    assert listing(found) == listing(by_command)


def test_the_front_is_what_no_trial_dominates(result):
    points = [t.objectives for t in result.trials]
    for trial in result.trials:
        dominated = any(
            all(a <= b for a, b in zip(point, trial.objectives, strict=True))
            and point != trial.objectives
            for point in points
        )
        assert (trial in result.front) == (not dominated)
    energies = [t.energy_rel for t in result.front]
    assert energies == sorted(energies)


def test_best_by_drop_and_by_energy(result):
    tested = [t for t in result.trials if t.test is not None]
    exact = result.closing.exact_validation.accuracy
    for drop in (1.0, 5.0, 100.0):
        within = [t for t in tested if t.best_validation.accuracy >= exact - drop / 100]
        assert result.best(max_drop=drop).energy_rel == min(t.energy_rel for t in within)
    limit = sorted(t.energy_rel for t in tested)[len(tested) // 2]
    best = result.best(max_energy=limit)
    assert best.energy_rel <= limit
    assert best.best_validation.accuracy == max(
        t.best_validation.accuracy for t in tested if t.energy_rel <= limit
    )
    with pytest.raises(InputError, match="takes one limit"):
        result.best()
    with pytest.raises(InputError, match="energy of at most 0"):
        result.best(max_energy=0.0)


def test_the_table_is_in_the_order_of_energy_and_has_the_baselines(result):
    table = result.table()
    assert table["what"].iloc[0] == "exact int8"
    assert len(table) == 1 + len(result.closing.fixed) + len(result.closing.reported)
    fixed = table[table["what"].str.contains("fixed")]
    members = table[table["what"].str.startswith("front")]
    assert len(fixed) == 3
    assert table["energy_rel"].iloc[1:].is_monotonic_decreasing
    chosen = members.iloc[0]
    trial = result.closing.trials[int(chosen["trial"])]
    assert chosen["test_accuracy_pct"] == 100 * trial.test.accuracy


def test_a_network_of_a_trial_runs_as_it_was_tested(result):
    trial = next(t for t in result.front if t.test is not None)
    emulated = result.emulated(trial)
    assert emulated.assignment == trial.assignment == result.assignment(trial.number)
    images, labels = SPLITS["test"]
    accuracy = float((emulated(images).argmax(1) == labels).float().mean())
    assert accuracy == pytest.approx(trial.test.accuracy)


def test_a_fine_tuned_trial_is_fine_tuned_alike_again(network):
    settings = QUICK | {"finetune": "front", "finetune_epochs": 1.0, "finetune_members": 1}
    found = dse.explore(network, SPLITS, **settings)
    trial = next(t for t in found.front if t.tuned_validation is not None)
    images, labels = SPLITS["test"]
    accuracy = float((found.emulated(trial)(images).argmax(1) == labels).float().mean())
    assert accuracy == pytest.approx(trial.test.accuracy)


def test_a_finished_run_reads_back(result, network):
    before = state_of(result.path)
    again = dse.read_run(result.path)
    assert listing(again) == listing(result)
    assert [t.test for t in again.trials] == [t.test for t in result.trials]
    pd.testing.assert_frame_equal(again.table(), result.table())
    with pytest.raises(InputError, match=r"Sequential of .* was in memory only: give it"):
        again.emulated(again.front[0])
    trial = next(t for t in result.front if t.test is not None)
    whole = dse.read_run(result.path, network=network, data=SPLITS)
    images = SPLITS["test"][0]
    assert torch.equal(whole.emulated(trial)(images), result.emulated(trial)(images))
    assert state_of(result.path) == before


def test_an_interrupted_search_goes_on(network, result, tmp_path, monkeypatch):
    out = tmp_path / "run"
    scores, score = [], dse.Evaluator.score

    def interrupted(self, assignment, **words):
        scores.append(assignment)
        if len(scores) == 5:
            raise KeyboardInterrupt
        return score(self, assignment, **words)

    monkeypatch.setattr(dse.Evaluator, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dse.explore(network, SPLITS, out=out, seed=3, **QUICK)
    monkeypatch.undo()
    with pytest.raises(InputError, match="differs from the run's own 3"):
        dse.explore(network, SPLITS, out=out, resume=True, seed=4, **QUICK)
    with pytest.raises(InputError, match="resume=True goes on with a run folder"):
        dse.explore(network, SPLITS, resume=True, **QUICK)
    other = nn.ModuleList([network])
    with pytest.raises(InputError, match="memory:ModuleList differs from the run's own"):
        dse.explore(other, SPLITS, out=out, resume=True)
    again = dse.explore(network, SPLITS, out=out, resume=True, quiet=True)
    assert listing(again) == listing(result)
    more = dse.explore(network, SPLITS, out=out, resume=True, quiet=True, trials=12)
    assert listing(more)[:9] == listing(result)
    assert len(more.trials) == 12


def test_commands_say_that_a_network_was_in_memory(result, capsys):
    assert call(search, "--resume", result.path) == 2
    line = only_line(capsys.readouterr().err)
    assert "Sequential" in line and "resume=True" in line
    assert call(report, "--run", result.path) == 2
    assert "in memory only" in only_line(capsys.readouterr().err)
    assert call(front, result.path) == 0


def test_files_of_a_run_are_those_of_the_command(result):
    names = {path.name for path in result.path.iterdir()}
    wanted = (
        "assignments config.toml front.csv front.html front.png operands.npz routing.json study.db"
    )
    assert names == {*wanted.split(), "log.txt", "trials.csv", ".lock"}
    assert pd.read_csv(result.path / "trials.csv")["trial"].tolist() == list(range(9))
    kept = {*result.closing.front, *result.closing.reported}
    assert len(list((result.path / "assignments").glob("*.json"))) == len(kept)


def test_plot_leaves_the_backend_as_it_is(result):
    import matplotlib

    before = matplotlib.get_backend()
    assert isinstance(result.plot(), Figure)
    assert matplotlib.get_backend() == before


def test_inputs_that_are_not_images(network):
    splits = {key: pair(60, seed, (7,)) for seed, key in enumerate(SPLITS)}
    torch.manual_seed(1)
    net = trained(nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 3)), splits)
    settings = QUICK | {
        "finetune": "front",
        "finetune_members": 1,
        "multipliers": "mul8s_1KV8,mul8s_1L1G",
    }
    found = dse.explore(net, splits, **settings)
    assert {site for t in found.trials for site in t.assignment.choices} == {"0", "2"}


class ReadsTokens(nn.Module):
    """A tiny encoder of token ids, whose attention is written by hand."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv = nn.Embedding(12, 8), nn.Linear(8, 24)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, tokens):
        x = self.embed(tokens)
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return self.head((x + (q @ k.transpose(1, 2)).softmax(-1) @ v).mean(1))


def test_a_network_that_reads_tokens():
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for key in ("train", "validation", "test"):
        labels = torch.randint(3, (96,), generator=generator)
        splits[key] = torch.randint(4, (96, 6), generator=generator) + 4 * labels[:, None], labels
    torch.manual_seed(0)
    net = trained(ReadsTokens(), splits)
    found = dse.explore(net, splits, **QUICK | {"finetune": "front", "finetune_members": 1})
    sites = {site for t in found.trials for site in t.assignment.choices}
    assert sites == {"qkv", "matmul_0", "matmul_1", "head"}
    assert found.closing.exact_test.accuracy > 0.8
    assert found.best(max_drop=100).test is not None


class Below(nn.Module):
    """A matrix that is asked for below PyTorch's functions."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.eye(7, 14))

    def forward(self, x):
        return x + torch.ops.aten.mm(x, self.w)[:, 7:]


class Partly(nn.Module):
    """Nearly half of its products are no site."""

    def __init__(self):
        super().__init__()
        self.first, self.head, self.memory = nn.Linear(7, 12), nn.Linear(12, 3), Below()

    def forward(self, x):
        return self.head(self.first(self.memory(x)).relu())


@pytest.mark.filterwarnings("ignore:.*are sites':UserWarning")
def test_a_network_of_which_sites_do_too_little_is_refused_or_searched_with_its_coverage(tmp_path):
    splits = {key: pair(60, seed, (7,)) for seed, key in enumerate(SPLITS)}
    torch.manual_seed(1)
    net = trained(Partly(), splits)
    share = (7 * 12 + 12 * 3) / (7 * 12 + 12 * 3 + 2 * 7 * 7)
    with pytest.raises(InputError, match=r"sites do 55.0% .*--min-coverage 0.95 .*memory \(Below"):
        dse.explore(net, splits, **QUICK)
    found = dse.explore(net, splits, out=tmp_path / "run", min_coverage=0.5, **QUICK)
    assert pd.read_csv(found.path / "front.csv")["coverage"].to_numpy() == pytest.approx(share)
    config = tomllib.loads((found.path / "config.toml").read_text())
    assert config["coverage"]["sites"] == round(share, 4)
    assert max(t.energy_rel for t in found.trials) == pytest.approx(1)
    # What no site does costs what it costs, whatever the circuit.
    assert min(t.energy_rel for t in found.trials) > 1 - share


def test_loaders_arrays_and_datasets_are_the_same_data():
    as_tensors = models.data_of(SPLITS)
    arrays = {key: (x.numpy(), y.numpy()) for key, (x, y) in SPLITS.items()}
    loaders = [DataLoader(TensorDataset(*SPLITS[key]), batch_size=7) for key in SPLITS]
    datasets = {key: TensorDataset(*value) for key, value in SPLITS.items()}
    for given in (arrays, loaders, datasets, list(SPLITS.values())):
        data = models.data_of(given)
        assert data.content_sha256 == as_tensors.content_sha256
        assert torch.equal(data.validation.pixels, SPLITS["validation"][0])


X, Y = SPLITS["train"]
NAN = torch.full_like(X, float("nan"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation": (X, Y[:-1])}, "validation has 96 inputs and 95 labels"),
        ({"test": (X[:0], Y[:0])}, "test is empty"),
        ({"test": (X, Y + 1)}, r"tells 3 classes apart, but test has the label 3"),
        ({"train": (X, Y - 1)}, "labels of train count from 0, but one is -1"),
        ({"train": (X, Y.float())}, "labels of all splits are integers, or those of all"),
        ({"train": (NAN, Y)}, "inputs of train are finite"),
        ({"test": (X[:, :, :4], Y)}, "all splits hold inputs of one shape"),
        ({"train": X}, "train is a pair of inputs and labels"),
        ({"validate": (X, Y)}, "no split 'validate'; did you mean validation"),
    ],
)
def test_data_that_do_not_fit(change, message, network, tmp_path):
    with pytest.raises(InputError, match=message):
        dse.explore(network, {**SPLITS, **change}, out=tmp_path / "never", **QUICK)
    assert not (tmp_path / "never").exists()


class Named(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.layer = nn.Linear(25, 3)
        self.change = change

    def forward(self, x):
        return self.change(self.layer(x.flatten(1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: (y, y), "Named returns tuple, not logits"),
        (lambda y: y[0], r"returns a tensor of shape \(3,\) for 2 inputs"),
        (lambda y: y[:, :1], r"returns a tensor of shape \(2, 1\)"),
        (lambda y: y @ y, "Named does not take inputs of shape"),
    ],
)
def test_networks_that_return_no_logits(change, message):
    with pytest.raises(InputError, match=message):
        dse.explore(Named(change), SPLITS, **QUICK)


@pytest.mark.parametrize("name", ["arch", "dataset", "experts"])
def test_settings_of_networks_by_name_are_refused(name, network):
    with pytest.raises(InputError, match=f"{name} describes networks that are built"):
        dse.explore(network, SPLITS, **{name: 1})


def test_unknown_settings_name_the_nearest(network):
    with pytest.raises(InputError, match="no setting 'trails'; did you mean trials"):
        dse.explore(network, SPLITS, trails=3)


def test_settings_of_one_run_do_not_travel(network):
    found = dse.explore(network, SPLITS, seed=1, **QUICK)
    assert found.config == dataclasses.replace(found.config, trials=9)
    assert np.isfinite([t.energy_rel for t in found.trials]).all()
