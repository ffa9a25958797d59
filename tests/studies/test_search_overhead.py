"""What lies before the first difference, by hand."""

import numpy as np
import pytest

from studies.search_overhead._prefixes import shared


def test_the_shared_work_is_that_before_the_first_difference():
    codes = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    macs = np.array([1.0, 2.0, 5.0])
    assert shared(codes, macs, 1) == pytest.approx([0, 3 / 8, 0, 0, 1 / 8])
    assert shared(codes, macs, 3) == pytest.approx([0, 3 / 8, 0, 1 / 8, 1])
