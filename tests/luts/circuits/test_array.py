"""The broken-array family: names, netlists, and what the catalogue makes of them."""

import itertools

import numpy as np
import pytest

import luts
from luts import _evoapprox, families
from luts.circuits import Cuts, all_cuts, array_netlist, cuts_of, members

THIRTEEN = {
    row["name"]: Cuts(
        *(int(row[cut]) for cut in ("break_a", "break_b", "break_diagonal"))
    ).canonical
    for row in _evoapprox.published_rows()
}


def table_of(cuts: Cuts) -> np.ndarray:
    return families.broken_array(
        break_a=cuts.break_a, break_b=cuts.break_b, break_diagonal=cuts.break_diagonal
    )


@pytest.fixture
def catalog():
    return luts.evoapprox_catalog()


@pytest.mark.parametrize("cuts", [*THIRTEEN.values(), *list(all_cuts())[::5]], ids=str)
def test_a_netlist_computes_the_table_in_all_65536_entries(cuts):
    np.testing.assert_array_equal(array_netlist(cuts).table(), table_of(cuts))


@pytest.mark.parametrize("name", THIRTEEN)
def test_a_netlist_has_the_cells_that_the_library_published(reference_data, name):
    import csv

    with (reference_data / "evoapprox/published_netlists.csv").open(encoding="utf-8") as file:
        published = {row["name"]: row for row in csv.DictReader(file)}
    if name not in published:
        pytest.skip(f"the last adder of {name} was left to the synthesiser")
    counts = array_netlist(THIRTEEN[name]).counts
    # Published before constants are folded: the adder of the highest column is ours less a
    # constant, and those on a constant 1 are our inverters and gates.
    folded = counts["XNOR"]
    assert counts["FA"] + folded == int(published[name]["full_adders"])
    assert counts["HA"] + counts["INV"] == int(published[name]["half_adders"])
    partial_products = len(THIRTEEN[name].products)
    assert counts["AND"] + counts["NAND"] == partial_products == int(published[name]["and_cells"])


def test_every_circuit_has_one_name_and_every_name_one_circuit():
    every = [Cuts(a, b, d) for a, b, d in itertools.product(range(8), range(8), range(15))]
    by_products: dict[frozenset[tuple[int, int]], set[str]] = {}
    for cuts in every:
        assert cuts.products == cuts.canonical.products
        assert cuts.canonical.canonical == cuts.canonical
        by_products.setdefault(cuts.products, set()).add(cuts.name)
    assert {len(names) for names in by_products.values()} == {1}
    assert len(by_products) == len(list(all_cuts())) == len(members()) == 204


def test_a_name_reaches_its_circuit(catalog):
    circuit = catalog["array:a3b5d0"]
    assert circuit.name == "array:a3b5d0" and circuit.figures_from == "estimated"
    np.testing.assert_array_equal(circuit.truth_table, families.broken_array(break_a=3, break_b=5))
    assert circuit.figures_error_pct is not None and circuit.figures_error_pct.power_mw > 0
    assert "array:a3b5d0" in catalog and "array:a3b5d0" not in list(catalog)
    # Equal tables share one name.
    assert catalog["array:a3b5d8"] is catalog["array:a3b5d2"] is circuit
    assert catalog["array:a0b0d9"].name == "array:a2b2d9"
    assert catalog.by_table(circuit.sha256) is circuit
    assert catalog.names("mul8s_1L2H,array:a3b5d0") == ("mul8s_1L2H", "array:a3b5d0")


@pytest.mark.parametrize("name", THIRTEEN)
def test_the_thirteen_are_members_that_keep_their_names_and_figures(catalog, name):
    assert catalog[THIRTEEN[name].name] is catalog[name]
    assert catalog[name].figures_from == "published" and catalog[name].figures_error_pct is None
    assert members()[THIRTEEN[name].name].sha256 == catalog[name].sha256


@pytest.mark.parametrize("cuts", list(all_cuts())[::7], ids=str)
def test_members_are_known_by_their_tables(cuts):
    multiplier = luts.Multiplier("mine", table_of(cuts), 1.0, 1.0, 1.0, "a test")
    assert members()[cuts.name].sha256 == multiplier.sha256
    known = luts.catalog.recognise(multiplier)
    mirror = Cuts(cuts.break_b, cuts.break_a, cuts.break_diagonal).canonical
    turned = mirror in THIRTEEN.values() and cuts not in THIRTEEN.values()
    assert known == luts.Recognition(luts.catalog[(mirror if turned else cuts).name], turned)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("array:a9b5d0", ("break_a", "0…7, not 9", "array:a7b5d0")),
        ("array:a0b8d0", ("break_b", "0…7, not 8", "array:a0b7d0")),
        ("array:a0b0d15", ("break_diagonal", "0…14, not 15", "array:a7b7d0")),
        ("array:a3b5", ("array:a3b5d0 (break_a, break_b, break_diagonal)",)),
        ("array:A3 B5", ("nearest circuit is array:a3b5d0",)),
        ("array:", ("nearest circuit is array:a0b0d0",)),
    ],
)
def test_a_name_of_no_circuit_names_the_nearest_one(catalog, name, words):
    for ask in (catalog.__getitem__, catalog.names):
        with pytest.raises(luts.UnknownMultiplierError) as caught:
            ask(name)
        assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)
    assert name not in catalog and catalog.get(name) is None
    mine = luts.Multiplier(name or "x", families.exact(), 1.0, 1.0, 1.0, "a test")
    with pytest.raises(luts.InputError):
        catalog.add(mine)


def test_other_names_are_not_of_this_family():
    assert cuts_of("mul8s_1L2H") is None and cuts_of("arrays") is None


def test_figures_given_by_the_user_win(catalog):
    mine = luts.Multiplier(
        "array:a3b5d0", families.broken_array(break_a=3, break_b=5), 0.5, 100.0, 1.0, "synthesised"
    )
    catalog.add(mine)
    assert catalog["array:a3b5d0"].power_mw == 0.5
    assert catalog["array:a3b5d0"].figures_from == "given"
    assert luts.evoapprox_catalog()["array:a3b5d0"].power_mw < 0.1
    other = luts.Multiplier("array:a3b4d0", families.exact(), 0.5, 100.0, 1.0, "wrong table")
    with pytest.raises(luts.InputError, match="already means a circuit with another table"):
        catalog.add(other)


def test_sets_unite(catalog):
    arrays, mul8s = catalog.names("arrays"), catalog.names("mul8s")
    assert set(catalog.names("mul8s+arrays")) == {*arrays, *mul8s}
    assert catalog.names("arrays, mul8s_1KR3") == catalog.names("mul8s_1KR3+arrays")
    assert "mul8s_1KV8" in arrays and "array:a0b0d0" not in arrays
    powers = [catalog[name].power_mw for name in arrays]
    assert powers == sorted(powers, reverse=True)
    with pytest.raises(luts.UnknownMultiplierError, match="unknown multiplier or set 'paper2'"):
        catalog.names("arrays+paper2")


def test_a_plus_in_a_users_name_does_not_part_it(catalog):
    table = families.truncated(columns=3, correction=8)
    catalog.add(luts.Multiplier("mine+8", table, 0.2, 1.0, 1.0, "a test"))
    assert catalog.names("mine+8,mul8s_1KR3") == ("mine+8", "mul8s_1KR3")


@pytest.mark.parametrize("name", sorted(members())[::6])
def test_ignored_bits_follow_from_the_cuts(name):
    assert members()[name].ignored_bits == luts.ignored_bits(luts.catalog[name])
