"""What the same search repeats: by one process, by several, with another number of threads."""

import pandas as pd
import pytest
import torch
from torch import nn

import dse
from dse import search
from dse.scoring import ScoreCache
from models.training import cache_folder
from models.training._files import CACHE_VARIABLE
from tests.dse._searching import FAST, call, one_cache  # noqa: F401

SCORES = ["assignment_sha256", "energy_rel", "validation_accuracy_pct", "validation_cross_entropy"]
QUEUED = ("uniform", "screening")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Makes a run without scores of earlier ones; its trials."""

    def searched(name, *words):
        (cache_folder() / "scores.db").unlink(missing_ok=True)
        out = tmp_path_factory.mktemp("runs") / name
        assert call(search, *FAST, "--trials", 12, "--out", out, *words) == 0
        return pd.read_csv(out / "trials.csv")

    return searched


@pytest.fixture(scope="module")
def alone(searched):
    return searched("alone")


def test_several_workers_score_as_one_and_begin_alike(searched, alone):
    several = searched("several", "--workers", 2)
    queued = [t[t["origin"].isin(QUEUED)][["trial", *SCORES]] for t in (alone, several)]
    assert len(queued[0]) > 5
    pd.testing.assert_frame_equal(*queued)
    common = alone[SCORES].merge(several[SCORES], on="assignment_sha256")
    assert len(common) >= len(queued[0])
    for name in SCORES[1:]:
        assert (common[f"{name}_x"] == common[f"{name}_y"]).all()


def test_another_number_of_threads_changes_last_digits_at_most(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.LayerNorm(24), nn.Linear(24, 3))
    data = [(torch.rand(60, 1, 6, 6), torch.arange(60) % 3) for _ in range(3)]
    before, found = torch.get_num_threads(), []
    settings = {"multipliers": "mul8s_1KV8,mul8s_1L1G", "trials": 4, "finetune": "none"}
    computed, put = {1: 0, 2: 0}, ScoreCache.put

    def counted(self, key, record):
        computed[torch.get_num_threads()] += 1
        put(self, key, record)

    monkeypatch.setattr(ScoreCache, "put", counted)
    for threads in computed:
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / str(threads)))
        torch.set_num_threads(threads)
        try:
            found.append(dse.explore(network, data, sampler="uniform", quiet=True, **settings))
        finally:
            torch.set_num_threads(before)
    one, two = ({t.assignment.digest: t for t in result.trials} for result in found)
    assert one.keys() == two.keys()
    assert computed[1] == computed[2] >= len(one)
    for digest, trial in one.items():
        assert trial.energy_rel == two[digest].energy_rel
        loss = two[digest].validation.cross_entropy
        assert trial.validation.cross_entropy == pytest.approx(loss, rel=1e-4)
