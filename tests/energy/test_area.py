"""Area of the circuits of an assignment."""

import dataclasses

import pytest

import energy
from luts.errors import InputError
from models import Assignment, Choice


def assigned(*choices: Choice) -> Assignment:
    return Assignment.of({f"site{index}": choice for index, choice in enumerate(choices)})


def test_one_circuit_has_its_own_area():
    got = energy.distinct_area(assigned(Choice("mul8s_1KV8"), Choice("mul8s_1KV8")))
    assert (got.count, got.area_um2, got.area_rel) == (1, 729.8, 1.0)


def test_a_circuit_counts_once_in_whichever_order():
    got = energy.distinct_area(
        assigned(
            Choice("mul8s_1KR3"),
            Choice("mul8s_1KV8"),
            Choice("mul8s_1KR3", swapped=True),
            Choice("mul8s_1L1G"),
        )
    )
    assert got.count == 3
    assert got.area_um2 == pytest.approx(172.2 + 729.8 + 284.9)
    assert got.area_rel == pytest.approx((172.2 + 729.8 + 284.9) / 729.8)


def test_own_figures_and_none():
    figures = energy.published_figures()
    exact = dataclasses.replace(figures.multipliers["mul8s_1KV8"], area_um2=100.0)
    figures = dataclasses.replace(
        figures, multipliers={"mul8s_1KV8": exact, "mul8s_1L1G": figures.multipliers["mul8s_1L1G"]}
    )
    got = energy.distinct_area(assigned(Choice("mul8s_1L1G")), figures)
    assert (got.count, got.area_um2) == (1, 284.9)
    assert got.area_rel == pytest.approx(2.849)
    with pytest.raises(InputError, match="no power figures for multiplier 'mul8s_1KR3'"):
        energy.distinct_area(assigned(Choice("mul8s_1KR3")), figures)
