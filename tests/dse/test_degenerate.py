"""Networks of which nothing is to be learnt are searched all the same."""

import pytest
import torch
from torch import nn

import dse

SETTINGS = {"multipliers": "mul8s_1KV8,mul8s_1L1G,mul8s_1KTY", "finetune": "none", "quiet": True}


@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_weights_that_are_all_the_same_are_searched_and_resumed(tmp_path, value):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    torch.manual_seed(0)
    data = [(torch.rand(60, 1, 4, 4), torch.arange(60) % 3) for _ in range(3)]
    first = dse.explore(network, data, trials=12, out=tmp_path / "run", **SETTINGS)
    again = dse.explore(network, data, out=tmp_path / "run", resume=True, trials=16, **SETTINGS)
    assert len(first.trials) == 12
    assert len(again.trials) == 16
    assert again.front
