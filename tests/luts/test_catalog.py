"""The catalogue: names of both library versions, sets, notices, and what it refuses."""

import pickle

import numpy as np
import pytest

import luts
from luts import _evoapprox

V2022_NAMES = {
    "mul8s_1KV8": "mul8s_1KV6",
    "mul8s_1KVA": "mul8s_1KV8",
    "mul8s_1KVB": "mul8s_1KV9",
    "mul8s_1KX2": "mul8s_1KVA",
    "mul8s_1KR8": "mul8s_1KVM",
    "mul8s_1KR6": "mul8s_1KVP",
    "mul8s_1KRC": "mul8s_1KVQ",
    "mul8s_1L2H": "mul8s_1L2J",
    "mul8s_1KVL": "mul8s_1KX5",
    "mul8s_1KTY": "mul8s_1KXF",
    "mul8s_1L2D": "mul8s_1L2L",
    "mul8s_1L1G": "mul8s_1L2N",
    "mul8s_1KR3": "mul8s_1L12",
}
"""Master's names and those of branch v2022."""

NOT_COMMUTATIVE = {f"mul8s_{name}" for name in ("1KR8", "1KR6", "1KRC", "1KVL", "1KTY", "1KR3")}


def copy_of(multiplier: luts.Multiplier, **changes) -> luts.Multiplier:
    fields = ("name", "truth_table", "power_mw", "area_um2", "delay_ns", "source", "aliases")
    return luts.Multiplier(**{f: getattr(multiplier, f) for f in fields} | changes)


@pytest.fixture
def catalog() -> luts.Catalog:
    return luts.evoapprox_catalog()


def test_holds_the_thirteen_from_most_to_least_power(catalog):
    assert catalog.names("mul8s") == tuple(V2022_NAMES) == tuple(catalog)
    powers = [catalog[name].power_mw for name in catalog.names()]
    assert powers == sorted(powers, reverse=True)
    assert len(catalog) == 13
    assert len({m.sha256 for m in catalog.values()}) == 13


def test_paper_sets_are_eight_with_the_exact_one(catalog):
    for name in ("paper", "paper_mre"):
        assert len(catalog.names(name)) == 8
        assert catalog.names(name)[0] == luts.EXACT
    relative = [round(catalog[n].power_mw / 0.425, 3) for n in catalog.names("paper")]
    assert relative == [1.0, 0.993, 0.965, 0.854, 0.708, 0.471, 0.296, 0.122]
    relative = [round(catalog[n].power_mw / 0.425, 3) for n in catalog.names("paper_mre")]
    assert relative == [1.0, 0.993, 0.965, 0.826, 0.680, 0.471, 0.296, 0.122]


@pytest.mark.parametrize(("master", "v2022"), V2022_NAMES.items())
def test_both_namings_reach_the_circuit(catalog, master, v2022):
    assert catalog[f"v2022/{v2022}"] is catalog[master] is catalog[f"master/{master}"]
    assert f"v2022/{v2022}" in catalog
    assert f"v2022/{v2022}" in catalog[master].aliases


@pytest.mark.parametrize("name", sorted(set(V2022_NAMES.values()) - set(V2022_NAMES)))
def test_a_bare_v2022_name_is_unknown_but_its_full_one_is_offered(catalog, name):
    assert name not in catalog
    with pytest.raises(luts.UnknownMultiplierError) as caught:
        catalog[name]
    assert f"v2022/{name}" in str(caught.value)


def test_only_the_six_are_not_commutative(catalog):
    assert {m.name for m in catalog.values() if not m.is_commutative} == NOT_COMMUTATIVE


def test_unknown_name_is_a_key_error_that_lists_the_nearest(catalog):
    with pytest.raises(KeyError) as caught:
        catalog["mul8s_1L2h"]
    assert isinstance(caught.value, luts.InputError)
    assert "unknown multiplier 'mul8s_1L2h'" in str(caught.value)
    assert "mul8s_1L2H" in str(caught.value)
    assert catalog.get("nothing") is None
    with pytest.raises(luts.UnknownMultiplierError, match="known:"):
        catalog["?"]


@pytest.mark.parametrize("name", ["arry:a3b5d0", "a3b5d0", "mul8s_array_a3b5d0", "arrays:a3b5d0"])
def test_a_name_with_cuts_in_it_means_an_array(catalog, name):
    for ask in (catalog.__getitem__, catalog.names):
        with pytest.raises(luts.UnknownMultiplierError, match=r"did you mean array:a3b5d0\?"):
            ask(name)


def test_names_of_a_list(catalog):
    assert catalog.names("mul8s_1KR3, v2022/mul8s_1KV6,mul8s_1KR3") == ("mul8s_1KV8", "mul8s_1KR3")
    assert catalog.names("paper,mul8s_1KX2") == catalog.names("mul8s_1KX2,paper")
    assert len(catalog.names("paper,mul8s_1KX2")) == 9
    with pytest.raises(
        luts.UnknownMultiplierError, match=r"unknown multiplier or set 'papier'.*paper"
    ):
        catalog.names("mul8s_1KR3,papier")
    with pytest.raises(luts.UnknownMultiplierError):
        catalog.names("")


@pytest.mark.parametrize(
    ("typed", "mine", "other"),
    [
        ("mul8s_1KV8", "v2022/mul8s_1KV6", "mul8s_1KVA"),
        ("mul8s_1KVA", "v2022/mul8s_1KV8", "mul8s_1KX2"),
    ],
)
def test_the_two_reused_names_carry_a_notice(catalog, typed, mine, other):
    (notice,) = catalog.notices(f"mul8s_1L2H,{typed}")
    assert all(word in notice for word in (typed, mine, other, f"v2022/{typed}"))
    assert "\n" not in notice


def test_no_notice_where_a_name_means_one_circuit(catalog):
    assert catalog.notices("mul8s_1L2H,v2022/mul8s_1KV8,master/mul8s_1KV8,paper,nothing") == []


def test_another_table_under_a_known_name_is_refused(catalog):
    before = dict(catalog)
    other = copy_of(catalog["mul8s_1L2H"], truth_table=luts.families.exact(), aliases=())
    with pytest.raises(luts.InputError, match="mul8s_1L2H already means a circuit with another"):
        catalog.add(other)
    alias = copy_of(catalog["mul8s_1KR3"], name="new", aliases=("fresh", "v2022/mul8s_1L2J"))
    with pytest.raises(luts.InputError, match=r"v2022/mul8s_1L2J already means"):
        catalog.add(alias)
    with pytest.raises(luts.InputError, match=r"v2022/mul8s_1L2J already means"):
        catalog.add(copy_of(other, name="v2022/mul8s_1L2J"))
    assert dict(catalog) == before
    assert "fresh" not in catalog


def test_an_alias_is_not_a_second_entry(catalog):
    with pytest.raises(luts.InputError, match="already another name of mul8s_1L2H"):
        catalog.add(copy_of(catalog["mul8s_1L2H"], name="v2022/mul8s_1L2J", aliases=()))
    assert len(catalog) == 13


def test_a_new_multiplier_can_be_added_found_and_added_again(catalog, asymmetric_table):
    mine = copy_of(
        catalog[luts.EXACT], name="mine", truth_table=asymmetric_table, aliases=("also",)
    )
    catalog.add(mine)
    catalog.add(mine)
    assert catalog["mine"] is catalog["also"] is mine
    assert catalog.by_table(mine.sha256) is mine
    assert "mine" in catalog.names() and "mine" not in catalog.names("mul8s")
    assert "mine" not in luts.evoapprox_catalog()


def test_a_known_circuit_can_get_other_figures_and_keeps_its_names(catalog):
    catalog.add(copy_of(catalog["mul8s_1L2H"], power_mw=0.1, aliases=("also",)))
    assert catalog["v2022/mul8s_1L2J"].power_mw == catalog["also"].power_mw == 0.1
    assert catalog["mul8s_1L2H"].aliases == ("v2022/mul8s_1L2J", "also")
    assert len(catalog) == 13


def test_recognises_a_table_whatever_its_name(catalog):
    circuit = catalog["mul8s_1KR3"]
    renamed = copy_of(circuit, name="whatever", aliases=())
    assert catalog.recognise(renamed) == luts.Recognition(circuit, swapped=False)
    assert str(catalog.recognise(renamed)) == "mul8s_1KR3 (v2022 mul8s_1L12)"
    turned = copy_of(renamed, truth_table=circuit.truth_table.T)
    assert catalog.recognise(turned) == luts.Recognition(circuit, swapped=True)
    assert str(catalog.recognise(turned)).endswith("with its operands exchanged")
    assert catalog.broken_promise(renamed) is None


def test_does_not_recognise_other_tables(catalog, asymmetric_table):
    mine = copy_of(catalog[luts.EXACT], name="mine", truth_table=asymmetric_table, aliases=())
    assert catalog.recognise(mine) is None
    assert catalog.recognise(copy_of(catalog[luts.EXACT], signed=False)) is None


def test_a_name_that_promises_another_table_is_told_with_the_number_of_entries(
    catalog, asymmetric_table
):
    mine = copy_of(catalog[luts.EXACT], truth_table=asymmetric_table, aliases=())
    assert "differs from mul8s_1KV8 in 2 of 65,536 entries" in catalog.broken_promise(mine)
    other = copy_of(catalog["mul8s_1KR3"], name="mul8s_1L2H", aliases=())
    assert "it is mul8s_1KR3 (v2022 mul8s_1L12)" in catalog.broken_promise(other)
    turned = copy_of(catalog["mul8s_1KR3"], truth_table=catalog["mul8s_1KR3"].truth_table.T)
    assert "operands exchanged" in catalog.broken_promise(turned)
    unsigned = copy_of(catalog[luts.EXACT], signed=False)
    assert "signedness" in catalog.broken_promise(unsigned)


def test_a_reused_name_promises_the_circuit_of_either_version(catalog):
    for circuit in ("mul8s_1KV8", "v2022/mul8s_1KV8"):
        named = copy_of(catalog[circuit], name="mul8s_1KV8", aliases=())
        assert catalog.broken_promise(named) is None


def test_by_table_finds_a_circuit_whatever_its_name(catalog):
    table = luts.families.broken_array(break_a=1, break_b=1)
    renamed = copy_of(catalog["mul8s_1KR3"], name="whatever", truth_table=table, aliases=())
    assert catalog.by_table(renamed.sha256) is catalog["mul8s_1L2H"]
    assert catalog.by_table("0" * 64) is None


def test_a_set_holds_known_names_only(catalog):
    catalog.define_set("two", ("mul8s_1KR3", "v2022/mul8s_1KV6"))
    assert catalog.names("two") == ("mul8s_1KV8", "mul8s_1KR3")
    assert set(catalog.set_names) == {"mul8s", "paper", "paper_mre", "two", "arrays"}
    with pytest.raises(luts.UnknownMultiplierError):
        catalog.define_set("three", ("nothing",))


def test_every_multiplier_pickles(catalog):
    # Searches send them to worker processes.
    again = pickle.loads(pickle.dumps(catalog["mul8s_1L2H"]))
    assert again == catalog["mul8s_1L2H"]
    np.testing.assert_array_equal(again.truth_table, catalog["mul8s_1L2H"].truth_table)


@pytest.mark.parametrize("name", [f"mul8s_{n}" for n in _evoapprox.PAPER])
def test_tables_equal_the_librarys_circuits_in_all_65536_entries(catalog, reference_data, name):
    with np.load(reference_data / "evoapprox/truth_tables.npz") as tables:
        np.testing.assert_array_equal(catalog[name].truth_table, tables[name])


@pytest.mark.parametrize("name", V2022_NAMES)
def test_tables_equal_a_scalar_broken_array(catalog, name):
    row = next(r for r in _evoapprox.published_rows() if r["name"] == name)
    breaks = (int(row[key]) for key in ("break_a", "break_b", "break_diagonal"))
    np.testing.assert_array_equal(catalog[name].truth_table, scalar_broken_array(*breaks))


def scalar_broken_array(break_a: int, break_b: int, break_diagonal: int) -> list[list[int]]:
    """Two's complement rows summed one by one: another formulation of the same array.

    Row i of the array is ± 2^i · (the second operand with its low bits cleared), negative for the
    sign bit of the first operand.
    """
    table = []
    for code in range(256):
        first = [(code >> i) & 1 for i in range(8)]
        row = []
        for w in [*range(128), *range(-128, 0)]:
            total = 0
            for i in range(break_a, 8):
                kept = max(break_b, break_diagonal - i, 0)
                # A shift of a negative Python integer rounds towards −∞: it clears low bits.
                partial = first[i] * ((w >> kept) << kept) << i
                total += -partial if i == 7 else partial
            row.append(total)
        table.append(row)
    return table
