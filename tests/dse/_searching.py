"""The commands as a user calls them, on a network that trains in a second."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from luts.console import run
from models.training._files import CACHE_VARIABLE

TINY = f"{Path(__file__).with_name('tiny_network.py')}:tiny"
MULTIPLIERS = ("--multipliers", "mul8s_1KV8,mul8s_1L1G,mul8s_1KTY")
FAST = (
    *("--arch", TINY, "--dataset", "digits", "--topology", "hard", "--train-epochs", 2),
    *(*MULTIPLIERS, "--finetune", "none", "--quiet"),
)


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory):
    """All searches of a module that imports this share a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def call(module, *words):
    """Exit status of ``python -m module`` with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run(module.main)
    return ended.value.code


def state_of(folder):
    """Names, times and contents of everything in a folder."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def trials_of(run):
    """A run's table of trials."""
    return pd.read_csv(run / "trials.csv")


def only_line(text):
    """The one line that a refused command says."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
