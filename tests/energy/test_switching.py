"""What a site's own operands make a circuit switch, against one step after the other."""

import dataclasses

import numpy as np
import pytest

import energy
import luts
from energy import _rankings
from luts.circuits import array_netlist, cuts_of, toggles
from luts.errors import InputError
from models import Assignment, Choice, OperandSteps, SampledOperands
from tests.energy.networks import load, operands, two_layers, work

EXACT = luts.EXACT
FIRST = two_layers()[0]


def slow_toggles(netlist, pairs_before, pairs_after):
    """Weighted as the estimate of power weighs them, step by step."""
    total = 0.0
    for before, after in zip(pairs_before, pairs_after, strict=True):
        first, second = np.array([before, after]).T
        timed = toggles(netlist, first, second).timed
        total += sum(timed[c.outputs[0]] * (1 if c.kind == "FA" else 0.25) for c in netlist.cells)
    return total / len(pairs_before)


def of_site(steps, *, swapped=False, ignored=(0, 0)):
    """Bit patterns at both ports before and after each step."""

    def port(codes, low):
        values = codes.view(np.int8).astype(int)
        step = 1 << low
        rounded = np.minimum(np.round(values / step) * step, 128 - step).astype(int)
        return rounded & 255

    sides = []
    for x in (steps.before, steps.after):
        first, second = (steps.held, x) if swapped else (x, steps.held)
        sides.append(list(zip(port(first, ignored[0]), port(second, ignored[1]), strict=True)))
    return sides


def factors(choice, workload=None):
    assignment = {s.name: Choice(EXACT) for s in two_layers()} | {"first": choice}
    cost = energy.cost(workload or load(0.5, 0.5), Assignment.of(assignment), model="activity")
    return {row.site: row.switching for row in cost.rows}


@pytest.mark.parametrize(
    ("choice", "ignored"),
    [
        (Choice("array:a3b4d8"), (0, 0)),
        (Choice("array:a3b4d8", swapped=True), (0, 0)),
        (Choice("array:a3b5d0", rounded=True), (3, 5)),
        (
            Choice("mul8s_1KR3", swapped=True, rounded=True),
            luts.ignored_bits(luts.catalog["mul8s_1KR3"]),
        ),
    ],
)
def test_the_factor_is_that_of_a_slow_simulation(choice, ignored):
    multiplier = luts.catalog[choice.multiplier]
    netlist = luts.circuits.netlist_of(multiplier)
    steps = operands(two_layers()).sites["first"]
    found = slow_toggles(netlist, *of_site(steps, swapped=choice.swapped, ignored=ignored))
    pairs = np.random.default_rng(0).integers(0, 256, (2, 16_385))
    timed = toggles(netlist, *pairs).timed
    uniform = sum(timed[c.outputs[0]] * (1 if c.kind == "FA" else 0.25) for c in netlist.cells)
    assert factors(choice)["first"] == pytest.approx(found / uniform, rel=1e-12)


def fed_everywhere(before, after, held):
    steps = OperandSteps(*(np.asarray(c, dtype=np.uint8) for c in (before, after, held)), 1)
    return SampledOperands(dict.fromkeys((s.name for s in two_layers()), steps), "by hand")


def test_independent_uniform_operands_cost_the_figure():
    """Weights that change with every step are what the factor is normalised to."""
    first, second = np.random.default_rng(5).integers(0, 256, (2, 20_001))
    netlist = array_netlist(cuts_of("array:a2b3d6"))
    changing = toggles(netlist, first, second).timed.sum()
    holding = toggles(netlist, first, np.full_like(second, 85)).timed.sum()
    assert holding < 0.8 * changing
    # So a held weight makes every circuit cheaper than its figure, and the exact one costs 1.
    fed = fed_everywhere(first[:-1], first[1:], second[1:])
    cost = energy.cost(load(0.5, 0.5, operands=fed), "array:a2b3d6", model="activity")
    assert all(0.3 < row.switching < 0.9 for row in cost.rows)
    exact = energy.cost(load(0.5, 0.5, operands=fed), EXACT, model="activity")
    assert exact.rows[0].energy_pj < 0.9 * 100 * 0.2


def test_nothing_switches_where_activations_or_weights_are_zero():
    some = np.random.default_rng(1).integers(0, 128, 64)
    zero = np.zeros(64)
    resting = fed_everywhere(some, some, some)
    assert set(factors(Choice(EXACT), load(0.5, 0.5, operands=resting)).values()) == {0.0}
    # Partial products of a weight of zero: only those that the sign inverts could change.
    idle = fed_everywhere(some, some[::-1], zero)
    busy = fed_everywhere(some, some[::-1], np.full(64, 127))
    little, much = (factors(Choice(EXACT), load(0.5, 0.5, operands=o)) for o in (idle, busy))
    assert little["first"] == 0 < much["first"]


def test_experts_are_told_apart_and_the_dense_layer_is_their_mean():
    workload = load(0.5, 0.5)
    found = factors(Choice(EXACT))
    one, other = found["moe.experts.0"], found["moe.experts.1"]
    assert one != other
    seen = [workload.operands.sites[f"moe.experts.{e}"].seen for e in (0, 1)]
    cost = energy.cost(workload, EXACT, model="activity")
    dense = 100 * found["first"] * 0.2
    dense += 40 * np.average([one, other], weights=seen) * 0.2
    assert cost.dense_energy_pj == pytest.approx(dense)
    # Other rates change what is charged, not what it is relative to.
    moved = energy.cost(load(0.9, 0.1), EXACT, model="activity")
    assert moved.dense_energy_pj == cost.dense_energy_pj and moved.energy_pj != cost.energy_pj


def test_an_expert_that_nothing_reached_is_charged_as_the_others():
    sites = dict(operands(two_layers()).sites)
    del sites["moe.experts.0"]
    found = factors(Choice(EXACT), load(0.0, 1.0, operands=SampledOperands(sites, "few images")))
    assert found["moe.experts.0"] == found["moe.experts.1"]
    del sites["first"]
    with pytest.raises(InputError, match="no operands were sampled at first \\(few images\\)"):
        factors(Choice(EXACT), load(0.0, 1.0, operands=SampledOperands(sites, "few images")))


def test_a_circuit_from_verilog_is_priced_by_its_own_netlist(tmp_path):
    path = tmp_path / "own.v"
    path.write_text(luts.circuits.array_verilog(cuts_of("array:a1b4d6")))
    known = factors(Choice("array:a1b4d6"))
    for exchange in (False, True):
        own = luts.load(
            path, name=f"own{exchange}", signed=True, layout=luts.Layout(swap_operands=exchange)
        )
        catalog = luts.evoapprox_catalog()
        catalog.add(own)
        figures = energy.published_figures(catalog)
        choices = {s.name: Choice(EXACT) for s in two_layers()}
        choices["first"] = Choice(own.name, swapped=exchange)
        cost = energy.cost(
            load(0.5, 0.5), Assignment.of(choices, catalog), figures, model="activity"
        )
        assert cost.rows[0].switching == pytest.approx(known["first"], rel=1e-3)


def test_what_cannot_be_counted_is_said():
    with pytest.raises(InputError, match="name a run that kept them"):
        energy.cost(load(0.5, 0.5, operands=None), EXACT, model="activity")
    table = luts.catalog["mul8s_1KR3"].truth_table.copy()
    table[3, 5] += 2
    mere = luts.Multiplier("mere", table, 0.1, 50, 1, "test")
    catalog = luts.evoapprox_catalog()
    catalog.add(mere)
    figures = energy.published_figures(catalog)
    everywhere = Assignment.uniform(two_layers(), "mere", catalog=catalog)
    with pytest.raises(InputError, match=r"no netlist is known of mere.*load the circuit from"):
        energy.cost(load(0.5, 0.5), everywhere, figures, model="activity")
    assert list(energy.under_each_model(load(0.5, 0.5), everywhere, figures)) == [
        "multipliers",
        "datapath",
        "memory",
    ]


def test_an_unsigned_circuit_is_fed_magnitudes():
    codes = np.random.default_rng(2).integers(1, 128, (3, 64)).astype(np.int8)
    positive = OperandSteps(*codes.view(np.uint8), 1)
    negative = OperandSteps(*(-codes).view(np.uint8), 1)
    netlist = array_netlist(cuts_of("array:a0b0d0"))
    own = luts.Multiplier(
        "u",
        np.multiply.outer(np.arange(256), np.arange(256)),
        1,
        1,
        1,
        "",
        signed=False,
        netlist=netlist,
    )
    figures = energy.published_figures()
    known = energy.MultiplierFigures.of(own)
    figures = dataclasses.replace(figures, multipliers={**figures.multipliers, "u": known})
    sites = dict(operands(two_layers()).sites)
    found = []
    for steps in (positive, negative):
        workload = load(0.5, 0.5, operands=SampledOperands(sites | {"first": steps}, "by hand"))
        choices = {s.name: Choice(EXACT) for s in two_layers()} | {"first": Choice("u")}
        tables = {EXACT: luts.catalog[EXACT].sha256, "u": own.sha256}
        cost = energy.cost(workload, Assignment(choices, tables), figures, model="activity")
        found.append(cost.rows[0].switching)
    assert found[0] == found[1] > 0


def test_wires_alone_have_no_toggles():
    table = np.multiply.outer(np.arange(256), np.full(256, 2))
    builder = luts.circuits.Builder((8, 8))
    wires = builder.build("wires", [luts.circuits.ZERO, *map(builder.first, range(8))])
    own = luts.Multiplier("wires", table, 1, 1, 1, "", signed=False, netlist=wires)
    catalog = luts.evoapprox_catalog()
    catalog.add(own)
    figures = energy.published_figures(catalog)
    everywhere = Assignment.uniform(two_layers(), "wires", catalog=catalog)
    with pytest.raises(InputError, match=r"wires is wires alone.*another --energy-model"):
        energy.cost(load(0.5, 0.5), everywhere, figures, model="activity")


def test_rankings_are_those_of_uniform_assignments():
    workload, names = load(0.3, 0.7), ["mul8s_1KV8", "mul8s_1L1G", "array:a3b5d0"]
    found = _rankings.rank(workload, names, energy.published_figures())
    # Routers aside, which stay exact; the exact circuit ignores no bits, so that it is not rounded.
    assert len(found.circuits) == 2 + 4 + 4
    active = {"first": 100, "moe.experts.0": 0.3 * 40, "moe.experts.1": 0.7 * 40}

    def products_pj(choice):
        choices = {s.name: choice for s in two_layers()}
        cost = energy.cost(workload, Assignment.of(choices), model="activity")
        rows = {row.site: row for row in cost.rows if row.site in active}
        assert {name: row.macs * row.rate for name, row in rows.items()} == active
        return sum(row.multiplier_pj for row in rows.values())

    exact = products_pj(Choice(EXACT))
    for line in found.circuits.to_dict("records"):
        choice = Choice(
            line["multiplier"], line["first_port"] == "weight", line["operands"] == "rounded"
        )
        assert line["energy_rel"] == pytest.approx(products_pj(choice) / exact)
    order = found.circuits.sort_values("energy_rel")["rank_by_energy_rel"]
    assert order.is_monotonic_increasing and order.min() == 1
    assert found.experts["rate"].tolist() == [0.3, 0.7]
    toggled = [factors(Choice(EXACT))[f"moe.experts.{e}"] for e in (0, 1)]
    assert found.experts["toggles"].tolist() == toggled
    with pytest.raises(InputError, match="at least two circuits"):
        _rankings.rank(workload, names[:1], energy.published_figures())


def test_the_worst_case_takes_the_expert_that_switches_most():
    layers = work()
    found = factors(Choice(EXACT))
    worst = energy.worst_case(load(0.5, 0.5, layers=layers), EXACT, model="activity")
    busiest = max((0, 1), key=lambda e: found[f"moe.experts.{e}"])
    assert [row.rate for row in worst.rows if row.expert is not None] == [
        float(e == busiest) for e in (0, 1)
    ]
