"""What a problem refuses: held against a list of all its assignments."""

import itertools

import numpy as np
import pytest

from luts import InputError
from tests.dse._stand_in import SITES, problem_of

NAMES = ("mul8s_1KV8", "mul8s_1L1G", "mul8s_1KTY")
THREE = SITES[:3]


def assignments(problem):
    every = itertools.product(range(problem.choices), repeat=problem.size)
    return [np.array(codes) for codes in every]


@pytest.mark.parametrize("exact", [(), ("layer0",)])
@pytest.mark.parametrize("names", [NAMES, NAMES[1:]])
@pytest.mark.parametrize("max_distinct", [None, 1, 2])
def test_one_assignment_alone_is_nothing_to_search(max_distinct, names, exact):
    free = problem_of(THREE, names, exact=exact)
    every = assignments(free)
    few = [c for c in every if max_distinct is None or free.distinct(c) <= max_distinct]
    energies = np.sort(free.energies_rel(np.array(every)))
    for limit in (None, *np.unique(energies.round(9)) + 1e-8):
        left = [c for c in few if limit is None or free.energy_rel(c) <= limit]
        limits = {"max_distinct": max_distinct, "max_energy": limit}
        if len(left) > 1:
            problem = problem_of(THREE, names, exact=exact, **limits)
            assert sum(map(problem.is_feasible, every)) == len(left)
        else:
            with pytest.raises(InputError, match=r"no assignment|at most one assignment"):
                problem_of(THREE, names, exact=exact, **limits)


def test_steps_change_one_group():
    problem = problem_of(THREE, NAMES)
    start = problem.space.uniform(1)
    steps = list(problem.steps(start))
    assert len({s.tobytes() for s in steps}) == len(steps) == 3 * (problem.choices - 1)
    assert all((s != start).sum() == 1 for s in steps)
