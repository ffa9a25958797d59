"""The Triton kernel without a GPU."""

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton: pip install '.[triton]'"
)
def test_the_kernel_is_right_under_tritons_interpreter() -> None:
    command = [sys.executable, "-m", "tests.luts.interpreted_triton"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
