import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luts
from dse.problem import SearchSpace, ordered_choices
from luts import InputError
from models import Assignment, Choice, Site

SITES = (
    Site("a", "linear", 10, 2),
    Site("b.router", "router", 4, 2, expert_layer="b"),
    Site("c.qk", "qk", 7, 3),
)
SPACE = SearchSpace.of(SITES, luts.catalog.names("mul8s"))


def test_nineteen_choices_by_power_then_order():
    choices = ordered_choices(luts.catalog.names("mul8s"))
    assert len(choices) == len(set(choices)) == 19
    powers = [luts.catalog[c.multiplier].power_mw for c in choices]
    assert powers == sorted(powers, reverse=True)
    swapped = [c.multiplier for c in choices if c.swapped]
    assert len(swapped) == 6
    assert not any(luts.catalog[name].is_commutative for name in swapped)
    for name in swapped:
        assert choices.index(Choice(name, True)) == choices.index(Choice(name)) + 1


def test_routers_are_not_searched():
    assert SPACE.free == ("a", "c.qk")
    assert SPACE.decode(SPACE.uniform(18)).choices["b.router"] == Choice(luts.EXACT)


@given(st.lists(st.integers(0, 18), min_size=2, max_size=2))
def test_encode_is_the_inverse_of_decode(codes):
    assert SPACE.encode(SPACE.decode(np.array(codes))).tolist() == codes


def test_a_commutative_swap_is_the_same_choice():
    assignment = Assignment.uniform(SITES, "mul8s_1L2H", swapped=True)
    assert SPACE.choices[SPACE.encode(assignment)[0]] == Choice("mul8s_1L2H")


def test_bad_input():
    with pytest.raises(InputError, match="at least two choices"):
        SearchSpace.of(SITES, ["mul8s_1L2H"])
    with pytest.raises(InputError, match="no site is free"):
        SearchSpace.of(SITES[1:2], luts.catalog.names("paper"))
    small = SearchSpace.of(SITES, ["mul8s_1KV8", "mul8s_1KR3"])
    with pytest.raises(InputError, match=r"mul8s_1L2H at a is not among the choices"):
        small.encode(Assignment.uniform(SITES, "mul8s_1L2H"))


VIT = (
    Site("patch_embed.proj", "linear", 10, 2),
    *(
        Site(f"blocks.{b}.{part}", "linear", 10, 2)
        for b in (0, 1)
        for part in ("attn.qkv", "attn.proj")
    ),
    *(
        Site(
            f"blocks.1.mlp.experts.{e}.{fc}",
            "linear",
            10,
            2,
            expert_layer="blocks.1.mlp",
            expert=e,
        )
        for e in (0, 1)
        for fc in ("fc1", "fc2")
    ),
)


@pytest.mark.parametrize(
    ("tie", "sizes"),
    [
        ("none", [1] * 9),
        ("expert", [1, 1, 1, 1, 1, 2, 2]),
        ("layer", [1, 1, 1, 1, 1, 2, 2]),
        ("block", [1, 2, 6]),
    ],
)
def test_tied_sites_share_a_choice(tie, sizes):
    space = SearchSpace.of(VIT, luts.catalog.names("paper"), tie=tie)
    assert [len(group) for group in space.groups] == sizes
    codes = np.arange(space.size) % len(space.choices)
    assignment = space.decode(codes)
    assert space.encode(assignment).tolist() == codes.tolist()
    same = {g: {assignment.choices[n] for n in g} for g in space.groups}
    assert all(len(choices) == 1 for choices in same.values())
    pooled = space.pool(np.ones((len(space.free), 3)))
    assert pooled[:, 0].tolist() == sizes


def test_ties_name_experts_or_their_layers():
    by_expert = SearchSpace.of(VIT, luts.catalog.names("paper"), tie="expert").groups
    by_layer = SearchSpace.of(VIT, luts.catalog.names("paper"), tie="layer").groups
    assert ("blocks.1.mlp.experts.0.fc1", "blocks.1.mlp.experts.0.fc2") in by_expert
    assert ("blocks.1.mlp.experts.0.fc1", "blocks.1.mlp.experts.1.fc1") in by_layer


def test_sites_can_be_kept_exact():
    space = SearchSpace.of(VIT, luts.catalog.names("paper"), exact=["patch_embed*", "*.qkv"])
    assert len(space.groups) == 6
    assert set(space.fixed) == {"patch_embed.proj", "blocks.0.attn.qkv", "blocks.1.attn.qkv"}
    with pytest.raises(InputError, match=r"--exact 'head' matches no site"):
        SearchSpace.of(VIT, luts.catalog.names("paper"), exact=["head"])
    with pytest.raises(InputError, match="no site is free"):
        SearchSpace.of(VIT, luts.catalog.names("paper"), exact=["*"])


@pytest.mark.parametrize("operands", ["cut", "rounded", "both"])
def test_rounded_operands_are_offered_where_a_port_ignores_bits(operands):
    names = luts.catalog.names("mul8s")
    choices = ordered_choices(names, operands=operands)
    ignoring = {name for name in names if any(luts.ignored_bits(luts.catalog[name]))}
    assert ignoring and ignoring != set(names)
    for name in names:
        found = {c.rounded for c in choices if c.multiplier == name}
        expected = {"cut": {False}, "rounded": {True}, "both": {False, True}}[operands]
        assert found == (expected if name in ignoring else {False})
    space = SearchSpace.of(SITES, names, operands=operands)
    for code, choice in enumerate(space.choices):
        decoded = space.decode(space.uniform(code))
        assert (space.encode(decoded) == code).all()
        assert decoded.choices[space.free[0]] == choice


def test_rounding_that_changes_nothing_is_the_same_choice():
    space = SearchSpace.of(SITES, luts.catalog.names("mul8s"), operands="both")
    same = Assignment.uniform(SITES, "mul8s_1KV8", rounded=True)
    assert (space.encode(same) == space.encode(Assignment.uniform(SITES, "mul8s_1KV8"))).all()
