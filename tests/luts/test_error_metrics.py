"""Error metrics against the library's published figures and a second formulation."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luts
from luts import _evoapprox

PUBLISHED = {
    # name: MAE, MAE %, WCE, EP %, MRE %, bias, as the library's headers print them (bias, and the
    # digits of MAE that some headers leave out: computed from the library's C files).
    "mul8s_1KV8": ("0", "0", "0", "0", "0", "0"),
    "mul8s_1KVA": ("1.25", ".0019", "5", "50", ".28", "-1.25"),
    "mul8s_1KVB": ("4.25", ".0065", "17", "68.75", ".90", "-4.25"),
    "mul8s_1KX2": ("12.25", ".019", "49", "81.25", "2.53", "-12.25"),
    "mul8s_1KR8": ("32.0", ".049", "128", "49.8", "2.40", ".25"),
    "mul8s_1KR6": ("33.3", ".051", "137", "74.8", "2.73", "-2.25"),
    "mul8s_1KRC": ("36.5", ".056", "161", "84.2", "3.64", "-8.25"),
    "mul8s_1L2H": ("53.3", ".081", "255", "74.6", "4.41", ".75"),
    "mul8s_1KVL": ("101", ".155", "449", "91.9", "8.93", "-16.25"),
    "mul8s_1KTY": ("224", ".34", "896", "87.2", "15.7", "1.75"),
    "mul8s_1L2D": ("150", ".23", "759", "93.2", "12.3", "3.75"),
    "mul8s_1L1G": ("340", ".52", "1743", "97.75", "27.4", "15.75"),
    "mul8s_1KR3": ("2016", "3.08", "8064", "98.05", "136", "15.75"),
}
"""EvoApproxLib, 8x8_signed, https://github.com/ehw-fit/evoapproxlib."""

FIGURES = ("mae", "mae_pct", "wce", "ep_pct", "mre_pct", "bias")


def assert_prints_as(value: float, printed: str) -> None:
    """``value`` rounded to the digits of ``printed`` equals it."""
    half_a_digit = 0.5 * 10.0 ** -len(printed.partition(".")[2])
    assert value == pytest.approx(float(printed), abs=half_a_digit * (1 + 1e-9))


def test_every_circuit_has_published_figures():
    assert set(PUBLISHED) == set(luts.catalog.names("mul8s"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_equal_the_published_figures_to_their_printed_digits(name):
    metrics = luts.error_metrics(luts.catalog[name])
    for figure, printed in zip(FIGURES, PUBLISHED[name], strict=True):
        assert_prints_as(getattr(metrics, figure), printed)


def test_one_header_truncates_its_mae():
    # The header of master's mul8s_1KVA prints MAE = 1.2 and MAE% = 0.0018: 1.25 cut, not rounded.
    metrics = luts.error_metrics(luts.catalog["mul8s_1KVA"])
    assert metrics.mae == 1.25
    assert int(metrics.mae * 10) / 10 == 1.2
    assert_prints_as(1.2 / 2**16 * 100, "0.0018")


def check_against_rows(rows) -> None:
    assert len(rows) == 13
    for row in rows:
        metrics = luts.error_metrics(luts.catalog[row["name"]])
        for figure, column in {
            "mae": "mae",
            "wce": "wce",
            "ep_pct": "ep_percent",
            "mse": "mse",
            "bias": "mean_error",
            "mre_pct": "mre_percent_published",
        }.items():
            assert_prints_as(getattr(metrics, figure), row[column])


def test_equal_the_packaged_csv():
    check_against_rows(_evoapprox.published_rows())


def test_packaged_csv_equals_the_reference_one(reference_data):
    with (reference_data / "evoapprox/mul8s.csv").open(newline="") as file:
        reference = list(csv.DictReader(file))
    check_against_rows(reference)
    packaged = _evoapprox.published_rows()
    assert [{k: row[k] for k in reference[0]} for row in packaged] == reference
    assert all("EvoApproxLib" in row["source"] for row in packaged)


@given(seed=st.integers(0, 2**32 - 1), signed=st.booleans())
def test_equal_a_plain_sum_for_a_table_with_a_few_errors(seed, signed):
    rng = np.random.default_rng(seed)
    values = [*range(128), *range(-128, 0)] if signed else list(range(256))
    errors = {
        (int(a), int(b)): int(e)
        for a, b, e in zip(*rng.integers(0, 256, (2, 20)), rng.integers(-9, 10, 20), strict=True)
    }
    table = np.multiply.outer(values, values)
    for (a, b), error in errors.items():
        table[a, b] += error
    metrics = luts.error_metrics(
        luts.Multiplier("m", table, 1.0, 1.0, 1.0, "a test", signed=signed)
    )
    exact = {(a, b): values[a] * values[b] for a, b in errors}
    n_nonzero = 255 * 255
    relative = [abs(e / exact[ab]) for ab, e in errors.items() if exact[ab]]
    assert metrics.mae == pytest.approx(sum(map(abs, errors.values())) / 65_536)
    assert metrics.mse == pytest.approx(sum(e * e for e in errors.values()) / 65_536)
    assert metrics.bias == pytest.approx(sum(errors.values()) / 65_536)
    assert metrics.wce == max(map(abs, errors.values()))
    assert metrics.ep_pct == pytest.approx(sum(map(bool, errors.values())) / 655.36)
    assert metrics.mre_pct == pytest.approx(sum(relative) / n_nonzero * 100)
