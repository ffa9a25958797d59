import pytest
import torch

import models
from luts import InputError
from models import Routing


def test_measured_rates_sum_to_top_k_and_are_repeatable():
    network = models.build("vit_small", topology="hard")
    x = torch.randn(6, 3, 32, 32)
    routing = models.measure_routing(network, [x[:4], x[4:]], source="test")
    again = models.measure_routing(network, [x], source="test")
    assert len(routing.rates) == 6
    for layer, rates in routing.rates.items():
        assert sum(rates) == pytest.approx(1)
        assert rates == pytest.approx(again.rates[layer])
    assert network.training


def test_round_trip_and_uniform():
    network = models.build("vit_small", topology="hard", experts=3)
    routing = models.uniform_routing(network)
    assert routing.rate("blocks.1.mlp", 2) == pytest.approx(1 / 3)
    assert Routing.from_json(routing.to_json()) == routing
    assert "uniform" in routing.source


def test_bad_input():
    with pytest.raises(InputError, match="numbers from 0 up"):
        Routing({"a": (0.5, -0.5)}, "x")
    routing = Routing({"a": (0.5, 0.5)}, "x")
    with pytest.raises(InputError, match=r"no routing rates for layer 'b'; there are: a"):
        routing.rate("b", 0)
    with pytest.raises(InputError, match="2 routing rates, none for 2"):
        routing.rate("a", 2)
    for text in ("", "{}", '{"version": 7}', '{"version": 1, "rates": 3, "source": ""}'):
        with pytest.raises(InputError):
            Routing.from_json(text)
