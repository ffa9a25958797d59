"""Spread over inputs and the worst case."""

import itertools

import pytest

import energy
from luts.errors import InputError
from models import Assignment, Choice
from tests.energy.networks import LAYER, load, routed, two_layers, work

CHEAP_SECOND = Assignment.of(
    {
        "first": Choice("mul8s_1KV8"),
        "moe.router": Choice("mul8s_1KV8"),
        "moe.experts.0": Choice("mul8s_1KV8"),
        "moe.experts.1": Choice("mul8s_1KR3"),
    }
)
INPUTS = [routed(1.0, 0.0), routed(0.5, 0.5), routed(0.5, 0.5), routed(0.0, 1.0)]


def test_spread_has_the_mean_of_the_expected_cost():
    got = energy.spread(load(), CHEAP_SECOND, INPUTS)
    expected = energy.cost(load(0.5, 0.5), CHEAP_SECOND)
    frame = got.to_frame()
    assert frame.loc["energy_rel", "mean"] == pytest.approx(expected.energy_rel)
    assert frame.loc["macs", "std"] == 0
    ratio = 0.052 / 0.425
    assert frame.loc["energy_rel", "max"] == pytest.approx(148 / 140)
    assert frame.loc["energy_rel", "min"] == pytest.approx((108 + 40 * ratio) / 140)


def test_measured_use_decides_weight_traffic():
    assert energy.usage(INPUTS).rates == {LAYER: (0.75, 0.75)}
    got = energy.cost(
        load(0.5, 0.5),
        CHEAP_SECOND,
        used=energy.usage(INPUTS),
        model="memory",
    )
    assert got.components_pj()["weight_traffic"] == pytest.approx((54 + 0.75 * 40) * 1300 / 8)
    by_input = energy.spread(load(), CHEAP_SECOND, INPUTS, model="memory")
    assert sum(by_input.energy_rel) / 4 == pytest.approx(got.energy_rel)


@pytest.mark.parametrize("model", energy.MODELS)
def test_no_routing_costs_more_than_the_worst_case(model):
    worst = energy.worst_case(load(layers=work()), CHEAP_SECOND, model=model)
    splits = [routed(first / 2, 1 - first / 2) for first in range(3)]
    costs = energy.spread(load(layers=work()), CHEAP_SECOND, splits, model=model)
    assert worst.energy_rel >= max(costs.energy_rel) * (1 - 1e-14)
    if model != "memory":
        assert worst.energy_rel == pytest.approx(max(costs.energy_rel))


def test_the_expert_read_at_worst_is_the_costliest_to_read():
    """One token, equal weights: under the memory model the expert that keeps all bits is read."""
    layers = work(2, items=1)
    choices = {site.name: Choice("mul8s_1KV8") for site in two_layers()}
    for narrow in (0, 1):
        mixed = choices | {f"moe.experts.{narrow}": Choice("mul8s_1L1G")}
        worst = energy.worst_case(load(layers=layers), Assignment.of(mixed), model="memory")
        read = [row.weight_traffic_pj for row in worst.rows if row.expert is not None]
        assert read[narrow] == 0
        assert read[1 - narrow] == pytest.approx(20 * 1300 / 8)


def test_worst_case_of_top_two_with_capacity():
    sites, names = two_layers(4), ("mul8s_1KV8", "mul8s_1L2H", "mul8s_1L1G", "mul8s_1KR3")
    choices = {site.name: Choice("mul8s_1KV8") for site in sites}
    choices |= {f"moe.experts.{i}": Choice(name) for i, name in enumerate(names)}
    layers = work(4, executions=2.0, capacity=0.75)
    worst = energy.worst_case(energy.Workload(sites, layers=layers), Assignment.of(choices))
    assert [row.rate for row in worst.rows[2:]] == [0.75, 0.75, 0.5, 0.0]


def test_fixed_work_has_no_worst_case():
    layers = work(2, executions=0.5, fixed=True)
    worst = energy.worst_case(load(layers=layers), CHEAP_SECOND)
    usual = energy.cost(load(0.25, 0.25, layers=layers), CHEAP_SECOND)
    assert worst.energy_rel == usual.energy_rel


def test_no_inputs():
    for call in (
        energy.usage,
        lambda none: energy.spread(load(), CHEAP_SECOND, none),
    ):
        with pytest.raises(InputError, match="at least one input"):
            call([])


def test_worst_case_by_enumeration():
    """Two tokens, three experts, top-1: try all routings."""
    sites = two_layers(3)
    names = {"moe.experts.0": "mul8s_1L2D", "moe.experts.1": "mul8s_1KVA"}
    choices = {site.name: Choice(names.get(site.name, "mul8s_1KR3")) for site in sites}
    assignment = Assignment.of(choices)
    costs = [
        energy.cost(
            energy.Workload(sites, routed(*((pair.count(e)) / 2 for e in range(3)))),
            assignment,
            model="datapath",
        ).energy_rel
        for pair in itertools.product(range(3), repeat=2)
    ]
    worst = energy.worst_case(energy.Workload(sites, layers=work(3)), assignment, model="datapath")
    assert worst.energy_rel == pytest.approx(max(costs))
