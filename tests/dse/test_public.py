"""What ``import dse`` gives, and what it costs."""

import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import dse


def test_importing_costs_little_and_no_torch():
    code = "import sys, dse; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    started = time.process_time()
    code = "import time; t = time.process_time(); import dse; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3, started


def test_every_public_name_is_there():
    for name in dse.__all__:
        assert getattr(dse, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = dse.nothing


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert dse.__version__ == project["version"]
    assert "__version__" in dir(dse)
