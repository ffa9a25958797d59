"""What there is to warn of is said once in a search."""

import warnings

import pytest
import torch
from torch import nn

import dse


class Partly(nn.Module):
    """Some of its products are distances, which no site does: 16 of 88."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)
        self.register_buffer("centres", torch.randn(2, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x).relu()
        return self.head(y) + torch.cdist(y, self.centres).mean(1, keepdim=True)


@pytest.mark.filterwarnings("always")
def test_products_without_a_site_are_named_once():
    generator = torch.Generator().manual_seed(0)
    splits = {
        name: (torch.randn(48, 6, generator=generator), torch.arange(48) % 3)
        for name in ("train", "validation", "test")
    }
    settings = {"multipliers": "mul8s_1KV8,mul8s_1L1G", "trials": 2, "finetune": "none"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dse.explore(Partly().eval(), splits, min_coverage=0.5, quiet=True, **settings)
    texts = [str(each.message) for each in caught]
    assert len(texts) == len(set(texts)) == 1
    assert "81.8% of the multiply-accumulates are sites'" in texts[0]
