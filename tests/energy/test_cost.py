"""Costs against closed forms, and the properties they must have."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import energy
import luts
from luts.errors import InputError
from models import (
    Assignment,
    Choice,
    NetworkConfig,
    Routing,
    SampledOperands,
    Site,
    Sites,
    Uncovered,
)
from tests.energy.networks import LAYER, load, operands, routed, two_layers, work

EXACT, MILD, HARSH = "mul8s_1KV8", "mul8s_1L2H", "mul8s_1KR3"
NAMES = luts.catalog.names("mul8s")
MW = {name: luts.catalog[name].power_mw for name in NAMES}
NS = {name: luts.catalog[name].delay_ns for name in NAMES}


def assigned(**choices: str) -> Assignment:
    """`two_layers` with these multipliers, exact elsewhere."""
    named = {
        "first": choices.get("first", EXACT),
        "moe.router": choices.get("router", EXACT),
        "moe.experts.0": choices.get("e0", EXACT),
        "moe.experts.1": choices.get("e1", EXACT),
    }
    return Assignment.of({site: Choice(name) for site, name in named.items()})


MIXED = assigned(first=MILD, e0=HARSH, e1=MILD)


def test_closed_form_of_normalised_power():
    got = energy.cost(load(0.3, 0.7), MIXED)
    by_hand = (100 * 0.301 / 0.425 + 8 + 0.3 * 40 * 0.052 / 0.425 + 0.7 * 40 * 0.301 / 0.425) / 140
    assert got.energy_rel == pytest.approx(by_hand, rel=1e-14)
    assert got.dense_macs == 140
    assert got.macs_expected == pytest.approx(148)
    assert got.macs_total == 188


def test_closed_form_of_power_times_delay():
    figures = energy.published_figures(convention="power-delay")
    got = energy.cost(load(0.3, 0.7), MIXED, figures)
    exact, mild, harsh = 0.425 * 1.48, 0.301 * 1.36, 0.052 * 0.89
    by_hand = (100 * mild + 8 * exact + 12 * harsh + 28 * mild) / (140 * exact)
    assert got.energy_rel == pytest.approx(by_hand, rel=1e-14)


def test_closed_form_of_memory():
    got = energy.cost(load(0.3, 0.7, layers=work()), MIXED, model="memory")
    mild, harsh = 0.2 * 0.301 / 0.425, 0.2 * 0.052 / 0.425
    weight, activation, add = 1300 / 8, 20 / 8, 0.1
    parts = got.components_pj()
    assert parts["multiplier"] == pytest.approx(100 * mild + 12 * harsh + 28 * mild)
    assert parts["adder"] == pytest.approx((100 + 12 + 28) * add)
    assert parts["router"] == pytest.approx(8 * (0.2 + add))
    # Two tokens an input: an expert stays unread only if neither comes.
    # 1L2H keeps 7 bits of both operands, 1KR3 2 of an activation and 8 of a weight.
    read = 50 * 7 / 8 + 4 + 20 * (1 - 0.7**2) + 20 * 7 / 8 * (1 - 0.3**2)
    assert parts["weight_traffic"] == pytest.approx(read * weight)
    moved = (20 * 7 / 8 + 10) + (4 + 4) + 0.3 * (10 * 2 / 8 + 8) + 0.7 * (10 * 7 / 8 + 8)
    assert parts["activation_traffic"] == pytest.approx(moved * activation)
    dense_pj = 140 * (0.2 + add) + 70 * weight + (30 + 18) * activation
    assert got.energy_rel == pytest.approx(sum(parts.values()) / dense_pj)


@pytest.mark.parametrize(
    ("model", "overhead_mac", "dense_mac"),
    [("multipliers", 3.7, 0.2), ("datapath", 3.7 + 0.9, 0.2 + 0.1), ("activity", 3.7, 0.2)],
)
@pytest.mark.parametrize("convention", energy.CONVENTIONS)
def test_overhead_costs_float_arithmetic(model, overhead_mac, dense_mac, convention):
    """Horowitz, ISSCC 2014: 3.7 and 0.9 pJ in float32, 0.2 and 0.1 pJ for the exact circuit."""
    figures = energy.published_figures(convention=convention)
    mixing = work(overhead_macs=30)
    with_it = energy.cost(load(0.5, 0.5, layers=mixing), HARSH, figures, model=model)
    without = energy.cost(load(0.5, 0.5, layers=work()), HARSH, figures, model=model)
    added = 30 * overhead_mac / (140 * dense_mac)
    assert with_it.energy_rel - without.energy_rel == pytest.approx(added)
    row = with_it.rows[-1]
    assert (row.kind, row.multiplier, row.weight_bits) == ("overhead", "float32", 32)
    # Of toggles in float32 nothing is known: they are as many as in the exact dense network.
    assert row.router_pj == pytest.approx(30 * overhead_mac * row.switching)
    assert (row.switching == 1) == (model != "activity")


def test_a_batch_shares_one_read_of_the_weights():
    figures = dataclasses.replace(energy.published_figures(), batch_size=4)
    got = energy.cost(
        load(0.3, 0.7, layers=work()), EXACT, figures, model="memory"
    ).components_pj()["weight_traffic"]
    read = 54 + 20 * (1 - 0.7**8) + 20 * (1 - 0.3**8)
    assert got == pytest.approx(read / 4 * 1300 / 8)


@pytest.mark.parametrize("model", energy.MODELS)
@pytest.mark.parametrize("convention", energy.CONVENTIONS)
def test_the_exact_dense_network_costs_exactly_one(model, convention):
    figures = energy.published_figures(convention=convention)
    dense = energy.dense_counterpart(two_layers())
    workload = energy.Workload(dense, operands=operands(dense))
    assert energy.cost(workload, EXACT, figures, model=model).energy_rel == 1.0


@pytest.mark.parametrize("model", energy.MODELS)
def test_table_adds_up(model):
    got = energy.cost(load(0.25, 0.75, layers=work(overhead_macs=9)), MIXED, model=model)
    frame = got.to_frame()
    assert list(frame["site"]) == [*(site.name for site in two_layers()), "moe.overhead"]
    assert frame["energy_rel"].sum() == pytest.approx(got.energy_rel, rel=1e-13)
    columns = [f"{component}_pj" for component in energy.COMPONENTS]
    assert math.fsum(frame[columns].to_numpy().flatten()) == got.energy_pj
    assert math.fsum(got.shares().values()) == pytest.approx(1.0)
    assert frame["macs_expected"].sum() == pytest.approx(got.macs_expected)


rates = st.floats(0, 1).map(lambda part: (part, 1 - part))
names = st.sampled_from(NAMES)
models_ = st.sampled_from(list(energy.MODELS))
by_figures = st.sampled_from([model for model in energy.MODELS if model != "activity"])


@given(first=names, e0=names, e1=names, split=rates, model=models_)
def test_additive(first, e0, e1, split, model):
    """The parts of a network cost together what the whole does."""
    sites = two_layers()
    fed = operands(sites)
    whole_assignment = assigned(first=first, e0=e0, e1=e1)
    whole = energy.cost(load(*split), whole_assignment, model=model)

    def part(chosen: tuple[Site, ...], routing: Routing | None) -> energy.CostBreakdown:
        choices = {site.name: whole_assignment.choices[site.name] for site in chosen}
        workload = energy.Workload(chosen, routing, operands=fed)
        return energy.cost(workload, Assignment.of(choices), model=model)

    together = part(sites[:1], None) + part(sites[1:], routed(*split))
    assert together.energy_pj == whole.energy_pj
    assert together.energy_rel == pytest.approx(whole.energy_rel, rel=1e-14)
    assert together.dense_macs == whole.dense_macs


@given(start=names, better=names, split=rates, model=by_figures)
def test_monotone_in_power(start, better, split, model):
    if MW[better] > MW[start]:
        start, better = better, start
    # A circuit of less power may keep more bits, which only the memory model charges.
    figures = energy.published_figures()
    figures = figures.at_full_width() if model == "memory" else figures
    before = energy.cost(load(*split), assigned(e0=start), figures, model=model)
    after = energy.cost(load(*split), assigned(e0=better), figures, model=model)
    assert after.energy_rel <= before.energy_rel


@given(more=st.integers(1, 10**9), index=st.integers(0, 3), model=models_)
def test_monotone_in_macs(more, index, model):
    sites = list(two_layers())
    dense = energy.dense_counterpart(sites)
    before = energy.cost(load(0.5, 0.5, dense=dense), MILD, model=model)
    sites[index] = dataclasses.replace(sites[index], macs=sites[index].macs + more)
    more_work = dataclasses.replace(load(0.5, 0.5, dense=dense), sites=sites)
    after = energy.cost(more_work, MILD, model=model)
    assert after.energy_rel > before.energy_rel


@given(e0=names, e1=names, split=rates, model=models_)
def test_permuting_experts_changes_nothing(e0, e1, split, model):
    fed = dict(operands(two_layers()).sites)
    fed["moe.experts.0"], fed["moe.experts.1"] = fed["moe.experts.1"], fed["moe.experts.0"]
    exchanged = SampledOperands(fed, "exchanged")
    one = energy.cost(load(*split), assigned(e0=e0, e1=e1), model=model)
    other = load(*split[::-1], operands=exchanged)
    other = energy.cost(other, assigned(e0=e1, e1=e0), model=model)
    assert one.energy_pj == other.energy_pj
    assert one.energy_rel == other.energy_rel


def test_operand_order_costs_nothing():
    swapped = Assignment.uniform(two_layers(), HARSH, swapped=True)
    got = energy.cost(load(0.5, 0.5), swapped)
    assert got.energy_rel == energy.cost(load(0.5, 0.5), HARSH).energy_rel
    assert got.rows[0].swapped


def test_operand_order_decides_what_is_read():
    """1KR3 keeps two bits at its first port: of activations, or swapped of weights."""
    figures = energy.published_figures()
    whole = energy.cost(load(0.5, 0.5), HARSH, figures.at_full_width(), model="memory")
    whole = whole.components_pj()
    for swapped, kept_x, kept_w in ((False, 2, 8), (True, 8, 2)):
        assignment = Assignment.uniform(two_layers(), HARSH, swapped=swapped)
        got = energy.cost(load(0.5, 0.5), assignment, figures, model="memory")
        assert {(row.activation_bits, row.weight_bits) for row in got.rows} == {
            (kept_x, kept_w),
            (8, 8),  # the router
        }
        parts = got.components_pj()
        # Two tokens an input: an expert stays unread only if neither comes.
        spared = (50 + 2 * 20 * (1 - 0.5**2)) * (1 - kept_w / 8) * 1300 / 8
        assert whole["weight_traffic"] - parts["weight_traffic"] == pytest.approx(spared)
        spared = (20 + 2 * 0.5 * 10) * (1 - kept_x / 8) * 20 / 8
        assert whole["activation_traffic"] - parts["activation_traffic"] == pytest.approx(spared)


def test_attention_reads_each_operand_by_its_own_port():
    site = Site("attn.qk", "qk", macs=60, fan_in=3, inputs=40, second_inputs=30)
    for swapped, kept_q, kept_k in ((False, 2, 8), (True, 8, 2)):
        assignment = Assignment.uniform([site], HARSH, swapped=swapped)
        got = energy.cost(energy.Workload((site,)), assignment, model="memory").components_pj()
        moved = 10 * kept_q / 8 + 30 * kept_k / 8 + 60 / 3
        assert got["activation_traffic"] == pytest.approx(moved * 20 / 8)
        assert got["weight_traffic"] == 0


@pytest.mark.parametrize("model", ["multipliers", "datapath"])
def test_bits_are_only_in_the_memory_model(model):
    figures = energy.published_figures()
    kept = energy.cost(load(0.3, 0.7), MIXED, figures, model=model)
    assert (
        kept.energy_pj
        == energy.cost(load(0.3, 0.7), MIXED, figures.at_full_width(), model=model).energy_pj
    )


bits = st.integers(0, 8)


@given(first=bits, second=bits, more=bits, swapped=st.booleans(), port=st.booleans())
def test_monotone_in_bits(first, second, more, swapped, port):
    def cost(first_bits, second_bits):
        figures = energy.published_figures()
        mild = dataclasses.replace(
            figures.multipliers[MILD], first_bits=first_bits, second_bits=second_bits
        )
        figures = dataclasses.replace(figures, multipliers={**figures.multipliers, MILD: mild})
        assignment = Assignment.uniform(two_layers(), MILD, swapped=swapped)
        return energy.cost(load(0.4, 0.6), assignment, figures, model="memory").energy_rel

    wider = (max(first, more), second) if port else (first, max(second, more))
    assert cost(*wider) >= cost(first, second)
    assert (cost(*wider) > cost(first, second)) == (wider != (first, second))


def test_a_table_that_a_user_brings_says_its_own_bits():
    """Through sign and magnitude: the sign and the magnitude's bits but two."""
    magnitudes = np.arange(256) >> 2 << 2
    table = np.multiply.outer(np.arange(256), magnitudes).astype(np.int32)
    catalog = luts.evoapprox_catalog()
    catalog.add(luts.Multiplier("mul8u_mine", table, 0.2, 300.0, 1.0, "a test", signed=False))
    figures = energy.published_figures(catalog)
    assert figures.operand_bits(Choice("mul8u_mine")) == (8, 6)
    assert figures.operand_bits(Choice("mul8u_mine", swapped=True)) == (6, 8)
    for name in catalog:
        ignored = luts.ignored_bits(catalog[name])
        assert figures.operand_bits(Choice(name)) == tuple(8 - one for one in ignored)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_each_model_at_once_reads_weights_for_every_input(batch_size):
    figures = dataclasses.replace(energy.published_figures(), batch_size=batch_size)
    got = energy.under_each_model(load(0.3, 0.7), MIXED, figures)
    assert got == {
        model: energy.cost(load(0.3, 0.7), MIXED, model=model).energy_rel for model in energy.MODELS
    }
    assert list(got) == list(energy.MODELS)


def test_what_two_circuits_differ_by_depends_on_what_is_counted():
    """The ratios that the README names, for a dense ResNet-20 and one circuit everywhere."""
    workload = energy.Workload.of(NetworkConfig("resnet20"))
    figures = energy.published_figures()

    def ratios(figures):
        cheap, dear = (
            energy.under_each_model(workload, name, figures)
            for name in ("mul8s_1L1G", "mul8s_1L2D")
        )
        return [
            round(cheap[model] / dear[model], 2) for model in ("multipliers", "datapath", "memory")
        ]

    assert ratios(figures) == [0.63, 0.82, 0.83]
    assert ratios(figures.at_full_width()) == [0.63, 0.82, 0.97]


def test_dense_counterpart_is_one_expert_without_router():
    names = [site.name for site in energy.dense_counterpart(two_layers())]
    assert names == ["first", "moe.experts.0"]


def test_unequal_experts_need_the_dense_network():
    sites = list(two_layers())
    sites[-1] = dataclasses.replace(sites[-1], macs=41)
    with pytest.raises(InputError, match=r"\[40, 41\] MACs"):
        energy.cost(energy.Workload(sites, routed(0.5, 0.5)), EXACT)
    got = energy.cost(energy.Workload(sites, routed(0.0, 1.0), dense=sites[:1]), EXACT)
    assert got.energy_rel == pytest.approx((100 + 8 + 41) / 100)


def test_all_faults_are_reported_together():
    sites = list(two_layers())
    sites[0] = dataclasses.replace(sites[0], macs=0)
    with pytest.raises(InputError) as caught:
        energy.cost(energy.Workload(sites, routed(0.5, 0.6), work()), EXACT)
    assert "first: a site has MACs above 0, not 0" in str(caught.value)
    assert "sum to 1 (top-k), not 1.1" in str(caught.value)


@pytest.mark.parametrize(
    ("routing", "message"),
    [
        (None, "no routing rates for layer 'moe'"),
        (routed(1.0), "2 experts, but 1 routing rates"),
        (routed(0.5, 0.6), "sum to top-k, a whole number, not 1.1"),
        (
            Routing({LAYER: (0.5, 0.5), "other": (1.0,)}, "x"),
            "'other', which is not an expert layer",
        ),
    ],
)
def test_routing_that_does_not_fit(routing, message):
    with pytest.raises(InputError, match=message):
        energy.cost(energy.Workload(two_layers(), routing), EXACT)


def test_capacity_lets_items_drop():
    layers = work(capacity=0.6)
    got = energy.cost(load(0.6, 0.2, layers=layers), EXACT)
    assert got.macs_expected == pytest.approx(108 + 0.8 * 40)
    with pytest.raises(InputError, match="sum to at most 1"):
        energy.cost(load(0.6, 0.5, layers=layers), EXACT)


def test_unknown_model_and_other_mistakes():
    with pytest.raises(InputError, match="did you mean memory"):
        energy.cost(load(0.5, 0.5), EXACT, model="memry")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="without experts"):
        energy.cost(load(0.5, 0.5, dense=two_layers()), EXACT)
    one = energy.cost(load(0.5, 0.5), EXACT)
    with pytest.raises(InputError, match="occurs twice"):
        one + one
    with pytest.raises(InputError, match="one model"):
        one + energy.cost(load(0.5, 0.5), EXACT, model="memory")


def test_what_no_site_covers_is_charged_as_exact_in_the_dense_network_too():
    pieces = (
        Uncovered("memory", "LSTM", 60),
        *(Uncovered(f"moe.experts.{e}", "Own", 10, LAYER, e) for e in (0, 1)),
    )
    sites = Sites(two_layers(), uncovered=pieces)
    got = energy.cost(energy.Workload(sites, routed(0.25, 0.75)), MILD)
    plain = energy.cost(energy.Workload(two_layers(), routed(0.25, 0.75)), MILD)
    rows = {row.site: row for row in got.rows if row.kind == "uncovered"}
    assert list(rows) == ["memory.uncovered", "moe.experts.0.uncovered", "moe.experts.1.uncovered"]
    assert [row.macs_expected for row in rows.values()] == [60, 2.5, 7.5]
    assert {row.multiplier for row in rows.values()} == {energy.published_figures().exact}
    # 140 MACs of sites, 60 and one expert's 10 beside them
    assert got.dense_macs == 210
    assert got.energy_rel == pytest.approx((140 * plain.energy_rel + 60 + 10) / 210)
    assert got.coverage == pytest.approx(148 / 218)
    assert energy.Workload(sites, routed(0.25, 0.75)).coverage == pytest.approx(148 / 218)
    assert plain.coverage == 1.0
