"""Ctrl-C while a command imports what it needs: one line, no traceback, status 130."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import luts
from luts import console
from luts._interrupt import give_back, take_over

LOUD = (sys.executable, "-X", "importtime")
"""Names each module on standard error once it is imported."""

ROOT = Path(luts.__file__).parents[1]

PROGRAM = """
import signal
import luts

try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("caught")
finally:
    print("cleaned")
"""


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C reaches what is started here, also where the shell made its own deaf (``&``)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("command", "after"),
    [
        ("-m dse.search", "luts._interrupt"),
        ("-m dse.search", "torch.types"),
        ("-m models.train", "numpy"),
        ("-m energy.report", "luts._interrupt"),
        ("-m luts.show", "numpy"),
        ("-Bmluts.show", "numpy"),
        ("-m studies.fuzzing", "pandas"),
    ],
)
def test_a_command_that_still_imports_ends_in_one_line(command, after):
    with subprocess.Popen(
        [*LOUD, *command.split(), "--help"],
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


@pytest.mark.parametrize("way", ["script", "module"])
def test_a_program_of_that_kind_may_have_an_option_m(tmp_path, way):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    named = [str(program)] if way == "script" else ["-m", "program"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, *named, "-m", "models.vit"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.splitlines() == ["caught", "cleaned"]


def test_a_command_at_work_is_interrupted_as_ever(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "dse.search", "--help"])
    monkeypatch.setattr(sys, "argv", ["-m", "--help"])
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
