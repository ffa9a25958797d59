import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.problem import hypervolume, non_dominated, thin_front

grid = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 6))


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


@given(grid)
def test_front_is_what_nothing_dominates(points):
    front = non_dominated(points)
    brute = {tuple(p) for p in points if not any(dominates(q, p) for q in points)}
    assert {tuple(points[i]) for i in front} == brute
    assert len(front) == len(brute)  # equal points once
    assert list(points[front][:, 0]) == sorted(points[front][:, 0])


@given(grid)
def test_hypervolume_is_the_area_of_the_cells_dominated(points):
    reference = np.array([7.0, 7.0])
    cells = itertools.product(range(7), range(7))
    area = sum(any(p[0] <= x and p[1] <= y for p in points) for x, y in cells)
    assert hypervolume(points, reference) == pytest.approx(area)


def test_hypervolume_of_a_staircase_and_of_nothing():
    steps = np.array([[i / 10, 1 - (i + 1) / 10] for i in range(10)])
    assert hypervolume(steps, np.ones(2)) == pytest.approx(sum(range(1, 11)) / 100)
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0
    assert hypervolume(np.array([[2.0, 0.0]]), np.ones(2)) == 0


@given(grid, st.integers(1, 4))
def test_thinning_keeps_members_and_starts_with_the_best(points, count):
    reference = np.array([7.0, 7.0])
    kept = thin_front(points, reference, count)
    front = non_dominated(points)
    assert set(kept) <= set(front)
    assert len(kept) == min(count, len(front))
    best = max(hypervolume(points[[i]], reference) for i in front)
    assert max(hypervolume(points[[i]], reference) for i in kept) == pytest.approx(best)
