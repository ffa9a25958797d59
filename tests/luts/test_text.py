"""Users may call things as they like: no name is taken for markup, a formula or an option."""

import io
import shlex
import subprocess

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from luts.console import Reporter, Terminal
from luts.text import csv_cell, drawn, quoted

NAMES = [
    *("[b]", "[/x]", "[red]a", ":warning:", "a$b$c", r"$\frac$", "$", "_hidden", "a\\$b", "a b'c"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.say(f"in {name}/")
    terminal.print(name)
    assert capsys.readouterr().out == f"in {name}/\n{name}\n"


def test_a_long_line_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(width=20).say("a path " * 30)
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_progress_bar_shows_a_name_as_it_is(name: str) -> None:
    reporter = Reporter()
    reporter.console.file = written = io.StringIO()
    reporter.console._force_terminal = True
    with reporter.bar(name, 1) as advance:
        advance(1, status=name)
    assert written.getvalue().count(name) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_letter_by_letter(name: str) -> None:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([1, 2], label=drawn(name))
    axes.set_title(drawn(name))
    legend = axes.legend()
    figure.savefig(io.BytesIO())
    for text in (axes.title, *legend.get_texts()):
        assert isinstance(text, Text)
        shown, is_formula = text._preprocess_math(text.get_text())
        assert not is_formula
        assert shown.strip() == name


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_one_word_of_a_command_line(name: str) -> None:
    assert shlex.split(f"--resume {quoted(name)}") == ["--resume", name]
    echoed = subprocess.run(f"printf %s {quoted(name)}", shell=True, capture_output=True, text=True)
    assert echoed.stdout == name


@pytest.mark.parametrize("name", ["=1+1", "+a", "-b", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_name_in_a_table_is_no_formula(name: str) -> None:
    assert csv_cell(name) == f"'{name}"


@pytest.mark.parametrize(
    "value", ["mul8s_1L2H", "a=b", "", "-1.5", "+inf", "nan", -1.5, None, True]
)
def test_other_values_in_a_table_stay(value: object) -> None:
    assert csv_cell(value) is value
