"""Finished searches that several files of tests read."""

import pytest

from dse import search
from models.training._files import CACHE_VARIABLE
from tests.dse._searching import FAST, call, state_of


@pytest.fixture(scope="session")
def _searched(tmp_path_factory):
    """Two runs with experts, one of them searched under another energy model, and a dense one."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        words = {
            "routed": ("--topology", "hard", "--trials", 8),
            "traffic": ("--topology", "hard", "--trials", 6, "--energy-model", "memory"),
            "plain": ("--topology", "dense", "--trials", 6),
        }
        for name, given in words.items():
            assert call(search, *FAST, *given, "--out", folder / name) == 0
    return folder


@pytest.fixture(scope="module")
def runs_folder(_searched):
    """The folder of these runs, their cache in use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(_searched / "cache"))
        yield _searched


@pytest.fixture
def untouched(runs_folder):
    """Nothing in the runs changes in the test."""
    before = state_of(runs_folder)
    yield
    assert state_of(runs_folder) == before
