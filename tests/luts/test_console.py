"""Progress and warnings of commands: seen while they matter, and not over and over."""

import io
import os
import sys
import threading
import time
import warnings

import pytest

from luts import console
from luts.console import Reporter, run


def written_by(reporter: Reporter) -> io.StringIO:
    reporter.console.file = written = io.StringIO()
    return written


def test_without_a_terminal_a_line_comes_while_a_step_takes_long(monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.05)
    reporter = Reporter()
    written = written_by(reporter)
    with reporter.bar("test", 3) as advance:
        advance()
        with reporter.bar("fine-tune", 40) as inner:
            inner(7, status="loss 0.5")
            patience = time.monotonic() + 10
            while "fine-tune" not in written.getvalue() and time.monotonic() < patience:
                time.sleep(0.01)
    lines = written.getvalue().splitlines()
    assert any(
        line.startswith("test: 1/3, ") and "; fine-tune: 7/40, " in line and "loss 0.5" in line
        for line in lines
    )
    # One at the end of the outermost bar, and none after it.
    assert lines[-1].startswith("test: 1/3, ") and "fine-tune" not in lines[-1]
    count = len(lines)
    time.sleep(0.15)
    assert len(written.getvalue().splitlines()) == count


def test_a_short_job_says_one_line():
    reporter = Reporter()
    written = written_by(reporter)
    assert list(reporter.track([1, 2], "search")) == [1, 2]
    assert written.getvalue() == "search: 2/2, 0 s\n"


def test_bars_within_bars_are_drawn_together(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    reporter = Reporter()
    written = written_by(reporter)
    reporter.console._force_terminal = reporter.console.is_interactive = True
    with reporter.bar("test", 2) as advance:
        for title in ("fine-tune", "again"):
            with reporter.bar(title, 3) as inner:
                inner(2)
                patience = time.monotonic() + 5
                while title not in written.getvalue() and time.monotonic() < patience:
                    time.sleep(0.01)
            advance()
    drawn = written.getvalue()
    assert "fine-tune" in drawn and "again" in drawn
    last = drawn[drawn.rindex("test  ") :]
    assert "2/2" in last and "again" not in last


def test_a_failure_within_a_bar_ends_its_lines(monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.02)
    reporter = Reporter()
    written = written_by(reporter)
    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"), reporter.bar("test", 3):
        raise ValueError("broken")
    patience = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < patience:
        time.sleep(0.01)
    assert threading.active_count() == before
    assert "3" not in written.getvalue()


def test_quiet_says_nothing_and_starts_nothing():
    reporter = Reporter(quiet=True)
    written = written_by(reporter)
    before = threading.active_count()
    with reporter.bar("test", 3) as advance:
        advance(3, status="said")
        assert threading.active_count() == before
    assert written.getvalue() == ""


@pytest.mark.filterwarnings("always")
def test_a_command_says_a_warning_once_and_in_one_line(capsys):
    def main() -> None:
        for _ in range(3):
            warnings.warn("sites do 90 %\nof the products", stacklevel=1)
        warnings.warn("sites do 90 %\nof the products", RuntimeWarning, stacklevel=1)
        warnings.warn("another", stacklevel=1)

    shown = warnings.showwarning
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert ended.value.code == 0
    assert capsys.readouterr().err == "warning: sites do 90 % of the products\nwarning: another\n"
    assert warnings.showwarning is shown


class _CLibrary:
    def __init__(self):
        self.said = []

    def mallopt(self, *said):
        self.said.append(said)
        return 1


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
@pytest.mark.parametrize(
    "setting", [None, "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"]
)
def test_freed_memory_is_kept_unless_the_user_has_set_something_about_it(monkeypatch, setting):
    for name in [n for n in os.environ if n.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    if setting:
        monkeypatch.setenv(setting, "1")
    library = _CLibrary()
    monkeypatch.setattr(console.ctypes, "CDLL", lambda name: library)
    console.keep_freed_memory()
    assert bool(library.said) is (setting is None)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_another_c_library_is_left_alone(monkeypatch):
    for name in [n for n in os.environ if n.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(console.ctypes, "CDLL", lambda name: object())
    console.keep_freed_memory()
