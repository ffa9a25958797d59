"""Tables as text."""

import numpy as np
import pytest

import luts
from tests.luts.loading.files import FIGURES, refused, write

VALUES = [*range(128), *range(-128, 0)]


def triples(table: np.ndarray, codes: list[int]) -> list[str]:
    return [f"{a},{b},{table[a % 256, b % 256]}" for a in codes for b in codes]


@pytest.mark.parametrize("codes", [list(range(256)), VALUES], ids=["codes", "values"])
@pytest.mark.parametrize("header", [[], ["a,b,product"]])
def test_csv_rows_of_operands_and_product(tmp_path, asymmetric_table, codes, header, rng):
    rows = triples(asymmetric_table, codes)
    rng.shuffle(rows)
    path = write(tmp_path, "mul8s_mine.csv", "\n".join([*header, *rows]))
    multiplier = luts.load(path, **FIGURES)
    np.testing.assert_array_equal(multiplier.truth_table, asymmetric_table)


@pytest.mark.parametrize("fmt", ["%.18e", "0x%x", "%d"])
def test_rows_of_operands_in_other_spellings(tmp_path, fmt):
    table = luts.families.exact(signed=False)
    rows = [(a, b, table[a, b]) for a in range(256) for b in range(256)]
    text = "\n".join(" ".join(fmt % number for number in row) for row in rows)
    path = write(tmp_path, "mul8u_mine.txt", f"done in 3 s\n{text}\n")
    np.testing.assert_array_equal(luts.load(path, **FIGURES).truth_table, table)


def test_csv_as_pandas_writes_it(tmp_path, asymmetric_table):
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "mul8s_mine.csv"
    order = list(range(-128, 128))
    pandas.DataFrame(np.roll(asymmetric_table, 128, axis=(0, 1)), order, order).to_csv(path)
    multiplier = luts.load(path, **FIGURES)
    np.testing.assert_array_equal(multiplier.truth_table, asymmetric_table)


def test_bad_csv_is_one_clear_error(tmp_path, asymmetric_table):
    rows = triples(asymmetric_table, list(range(256)))

    def check(lines: list[str], message: str) -> None:
        refused(write(tmp_path, "mul8s_mine.csv", "\n".join(lines)), message)

    check([*rows[:700], *rows[701:]], r"codes 2,188 is missing \(1 such pair")
    check([*rows, rows[5]], "codes 0,5 is there twice")
    check([*rows[:9], "0,9", *rows[10:]], "line 10 has 2 columns")
    check([*rows[:9], "0,9,x", *rows[10:]], "line 10 holds 'x', which is not an integer")
    check([*rows[:9], "0,9,1.5", *rows[10:]], "line 10 holds '1.5'")
    check([*rows[:9], "0,256,0", *rows[10:]], r"operands lie in 0…255, not 256")
    check([], "has no rows")
    check(["1,2,3,4"], "line 1 has 4 columns")
    matrix = [",".join(map(str, row)) for row in asymmetric_table.tolist()]
    check(matrix[:-1], "255 rows instead of 256")
    check([*matrix[:-2], "1,2", matrix[-1]], "line 255 has 2 columns, not 256")
