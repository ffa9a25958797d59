import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luts
from dse._space import SearchSpace, ordered_choices
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
