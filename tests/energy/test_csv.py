"""Tables that a spreadsheet opens hold what strangers named."""

import csv

import pandas as pd
import pytest

import energy


def test_names_are_no_formulas_and_numbers_stay(tmp_path):
    hostile = '=HYPERLINK("http://example.org","a,b")'
    table = pd.DataFrame(
        {"multiplier": [hostile, "mul8s_1L2H"], "drop": [-1.25, float("nan")], "=col": ["-", "-2"]}
    )
    energy.write_table(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(newline="") as file:
        head, first, second = csv.reader(file)
    assert head == ["multiplier", "drop", "'=col"]
    assert first == ["'" + hostile, "-1.25", "'-"]
    assert second == ["mul8s_1L2H", "", "-2"]


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    class Unprintable:
        def __str__(self):
            raise RuntimeError("no text")

    path = tmp_path / "t.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError):
        energy.write_table(path, pd.DataFrame({"a": [Unprintable()]}))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
