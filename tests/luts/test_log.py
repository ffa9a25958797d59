"""The log of a long job: also where a step says nothing for long."""

import time

import pytest

from luts import InputError
from luts.console import Reporter, _Log


def test_a_silent_step_is_told_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(_Log, "seconds_between", 0.05)
    reporter, path = Reporter(quiet=True), tmp_path / "log.txt"
    with reporter.logging_to(path):
        with reporter.bar("work", 3) as advance:
            advance()
            time.sleep(0.3)
        reporter.note("[/x] done")
    told = path.read_text().splitlines()
    assert sum("work: 1/3" in line for line in told) > 2
    assert told[0].endswith("work: begins") and told[-1].endswith("  [/x] done")
    reporter.note("after the end")
    with reporter.logging_to(path):
        reporter.note("again")
    assert path.read_text().splitlines() == [*told, path.read_text().splitlines()[-1]]


def test_an_unwritable_log_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot write"), Reporter(quiet=True).logging_to(tmp_path):
        pass
