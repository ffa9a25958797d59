import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import luts
from luts import InputError
from models import Assignment, Choice, Site

SITES = (
    Site("a", "linear", macs=10, fan_in=2, weights=5),
    Site("b.router", "router", macs=4, fan_in=2, weights=2, expert_layer="b"),
    Site("b.experts.0.fc1", "linear", 20, 4, 5, "b", 0),
    Site("c.qk", "qk", macs=7, fan_in=3),
)
choices = st.builds(Choice, st.sampled_from(luts.catalog.names("mul8s")), st.booleans())


def test_an_array_under_other_cuts_gets_its_one_name():
    kept = Assignment.uniform(SITES, "array:a3b5d9")
    text = kept.to_json().replace("array:a3b5d9", "array:a2b5d9")  # another circuit
    with pytest.raises(InputError, match="table"):
        Assignment.from_json(text).multiplier(SITES[0].name)
    for other, name in (("array:a5b3d7", "array:a5b3d0"), ("array:a1b0d1", "array:a1b0d0")):
        kept = Assignment.uniform(SITES, name)
        name = luts.catalog[name].name
        read = Assignment.from_json(kept.to_json().replace(f'"{name}"', f'"{other}"'))
        assert read == kept
    text = kept.to_json().replace(f'"{name}"', '"array:a8b0d0"')
    with pytest.raises(InputError, match=r"a8b0d0.*0…7.*nearest circuit is array:a7b0d0"):
        Assignment.from_json(text)


@given(st.dictionaries(st.text(min_size=1, max_size=20), choices, min_size=1))
def test_json_round_trip(made):
    assignment = Assignment.of(made)
    again = Assignment.from_json(assignment.to_json())
    assert again == assignment
    assert again.digest == assignment.digest


def test_uniform_keeps_routers_exact_unless_asked():
    plain = Assignment.uniform(SITES, "mul8s_1KR3", swapped=True)
    assert plain.choices["b.router"] == Choice("mul8s_1KV8")
    assert plain.choices["a"] == Choice("mul8s_1KR3", swapped=True)
    asked = Assignment.uniform(SITES, "mul8s_1KR3", approximate_routers=True)
    assert asked.choices["b.router"] == Choice("mul8s_1KR3")


def test_a_v2022_name_is_stored_under_the_master_name():
    assignment = Assignment.uniform(SITES, "v2022/mul8s_1L2J")
    assert assignment.choices["a"].multiplier == "mul8s_1L2H"


def test_digest_ignores_order_and_sees_every_choice():
    one = Assignment.of({"a": Choice("mul8s_1KR3"), "b": Choice("mul8s_1L2H")})
    other = Assignment.of({"b": Choice("mul8s_1L2H"), "a": Choice("mul8s_1KR3")})
    swapped = Assignment.of({"a": Choice("mul8s_1KR3", swapped=True), "b": Choice("mul8s_1L2H")})
    assert one.digest == other.digest != swapped.digest


def test_another_table_under_the_same_name_is_refused():
    record = json.loads(Assignment.uniform(SITES, "mul8s_1L2H").to_json())
    record["multipliers"]["mul8s_1L2H"]["sha256"] = "0" * 64
    forged = Assignment.from_json(json.dumps(record))
    with pytest.raises(InputError, match=r"mul8s_1L2H has the table 000000000000…"):
        forged.multiplier("a")


def test_check_names_what_does_not_fit():
    whole = Assignment.uniform(SITES, "mul8s_1L2H")
    whole.check(SITES)
    with pytest.raises(InputError, match=r"no choice for site 'a' and 1 more"):
        Assignment.uniform(SITES[1:3], "mul8s_1L2H").check(SITES)
    with pytest.raises(InputError, match=r"does not have: 'c.qk'"):
        whole.check(SITES[:3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an assignment"),
        ("[]", "not an assignment"),
        ('{"version": 99}', "version 99; this program reads 1"),
        ('{"version": 1, "multipliers": {}, "sites": {"a": {"multiplier": "x"}}}', "operand_order"),
        (
            '{"version": 1, "multipliers": {}, '
            '"sites": {"a": {"multiplier": "x", "operand_order": "normal"}}}',
            "none for",
        ),
    ],
)
def test_bad_files(text, message):
    with pytest.raises(InputError, match=message):
        Assignment.from_json(text)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the assignment .*gone.json"):
        Assignment.read(tmp_path / "gone.json")


def test_an_array_of_any_cut_is_kept_under_its_one_name_with_its_table():
    assignment = Assignment.uniform(SITES, "array:a3b5d2")
    assert assignment.choices["a"] == Choice("array:a3b5d0")
    again = Assignment.from_json(assignment.to_json())
    assert again == assignment
    assert again.tables["array:a3b5d0"] == luts.catalog["array:a3b5d0"].sha256
    assert again.multiplier("a") is luts.catalog["array:a3b5d0"]
