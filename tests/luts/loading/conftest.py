"""Fixtures for loading."""

import pytest

import luts


@pytest.fixture(autouse=True)
def _catalog_is_left_alone():
    before = dict(luts.catalog)
    yield
    assert dict(luts.catalog) == before
