"""Ctrl-C while a command imports what it needs: one line, no traceback, status 130."""

import signal
import subprocess
import sys

import pytest

from luts import console
from luts._interrupt import give_back, take_over

LOUD = (sys.executable, "-X", "importtime")
"""Names each module on standard error once it is imported."""


@pytest.mark.parametrize(
    ("command", "after"),
    [
        ("dse.search", "luts._interrupt"),
        ("dse.search", "torch.types"),
        ("models.train", "numpy"),
        ("energy.report", "luts._interrupt"),
        ("luts.show", "numpy"),
        ("studies.fuzzing", "pandas"),
    ],
)
def test_a_command_that_still_imports_ends_in_one_line(command, after):
    with subprocess.Popen(
        [*LOUD, "-m", command, "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr:
            if line.rsplit("|", 1)[-1].strip() == after:
                break
        process.send_signal(signal.SIGINT)
        rest, shown = process.stderr.read(), process.stdout.read()
    assert process.returncode == 130
    assert [line for line in rest.splitlines() if "import time:" not in line] == ["interrupted"]
    assert shown == ""


def test_a_program_that_only_imports_us_keeps_its_own_way():
    code = "import signal, luts, dse, models; print(signal.getsignal(signal.SIGINT))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "default_int_handler" in done.stdout


def test_a_command_at_work_is_interrupted_as_ever(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "dse.search"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        take_over()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler

        def main():
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(SystemExit) as ended:
            console.run(main)
        assert ended.value.code == 130
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of what a shell runs in the background
        take_over()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        give_back()
        signal.signal(signal.SIGINT, before)
