import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.problem import hypervolume, non_dominated, thin_front, tight_hypervolume
from luts import InputError

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


class TestTightHypervolume:
    def test_a_staircase_has_its_closed_form(self):
        # Drops of 0.2, 0.4, … of the box at energies 0.8, 0.6, …: steps of a fifth.
        drops = np.array([0.2, 0.4, 0.6, 0.8])
        energies = 1 - drops
        expected = sum(0.2 * drop for drop in drops)  # strips between neighbouring energies
        for within in (1.0, 2.0, 5.0):
            points = np.column_stack([energies, 0.9 - drops * within / 100])
            assert tight_hypervolume(points, 0.9, within) == pytest.approx(expected)
        for factor in (1.1, 1.5, 2.0):
            points = np.column_stack([energies, 0.3 * (1 + drops * (factor - 1))])
            volume = tight_hypervolume(points, 0.3, factor, score="cross-entropy")
            assert volume == pytest.approx(expected)

    def test_better_than_exact_counts_as_exact(self):
        points = np.array([[0.4, 0.95]])
        assert tight_hypervolume(points, 0.9, 1.0) == pytest.approx(0.6)
        assert tight_hypervolume(points, 1.2, 1.5, score="cross-entropy") == pytest.approx(0.6)

    def test_what_is_beyond_the_box_counts_for_nothing(self):
        useless = np.array([[0.1, 0.88], [1.2, 0.95], [0.1, 0.1]])
        assert tight_hypervolume(useless, 0.9, 1.0) == 0
        assert tight_hypervolume(useless, 0.9, 5.0) == pytest.approx(0.9 * 0.6)
        assert tight_hypervolume(np.empty((0, 2)), 0.9, 5.0) == 0

    @given(grid)
    def test_it_is_the_hypervolume_of_scaled_drops(self, points):
        points = np.column_stack([points[:, 0] / 6, points[:, 1] / 6])
        drop = np.maximum(100 * (0.5 - points[:, 1]) / 40, 0)
        volume = hypervolume(np.column_stack([points[:, 0], drop]), np.ones(2))
        assert tight_hypervolume(points, 0.5, 40) == pytest.approx(volume)

    def test_a_box_without_area_is_refused(self):
        with pytest.raises(InputError, match="more than 0 points"):
            tight_hypervolume(np.ones((1, 2)), 0.9, 0)
        with pytest.raises(InputError, match="more than 1 times"):
            tight_hypervolume(np.ones((1, 2)), 0.9, 1.0, score="cross-entropy")
