"""The verdicts on synthetic tables in which each claim is known to hold, to fail, or to be open."""

import numpy as np
import pandas as pd
import pytest

from studies.fixed_multiplier import _claims, _report, _tables
from studies.fixed_multiplier._plan import read_preset
from studies.fixed_multiplier._verdicts import (
    FAILS,
    HOLDS,
    MISSING,
    OPEN,
    all_of,
    deciding,
    estimate,
    largest,
)
from tests.studies._paper_world import (
    AGGRESSIVE,
    MODERATE,
    NAMES,
    OTHERS,
    POWER,
    as_the_paper_says,
    table,
)


def verdicts(rows):
    return [claim.verdict for claim in _claims.judge(rows)]


def test_all_claims_hold_where_the_world_is_as_the_paper_says():
    claims = _claims.judge(table())
    assert [claim.verdict for claim in claims] == [HOLDS] * 6
    mean = np.mean([60 * (1 - POWER[name]) for name in NAMES[1:]])
    said = claims[0].figure.removeprefix("resnet20: dense loses ").split()[0]
    assert float(said) == pytest.approx(mean, abs=0.06)
    assert "beyond that hard +5.00 ± 0.00 (+6.3 %), soft" in claims[0].figure
    assert "vgg11_bn on cifar10-images, 3 seeds" in claims[0].basis
    assert "not measured: vgg19_bn" in claims[0].basis
    assert "0.2" in claims[2].figure
    # Interpolated to hard's slightly larger energy, dense gains a little.
    assert "1L1G +" in claims[5].figure
    assert "±" in claims[5].figure


def changed(**changes):
    """A world in which the drop is another where all given columns have these values."""
    lost = changes.pop("lost")

    def drop(*point):
        columns = dict(zip(("arch", "topology", "multiplier", "recovery"), point, strict=True))
        is_it = all(columns[key] in values for key, values in changes.items())
        return lost if is_it else as_the_paper_says(*point)

    return table(drop)


@pytest.mark.parametrize(
    ("number", "world"),
    [
        (1, {"arch": ["vgg11_bn"], "topology": ["hard"], "multiplier": NAMES[1:], "lost": 1.0}),
        (2, {"topology": ["soft"], "multiplier": ["mul8s_1KR3"], "lost": 56.0}),
        (3, {"topology": ["cluster"], "multiplier": ["mul8s_1KR3"], "lost": 1.5}),
        (4, {"topology": ["soft"], "multiplier": MODERATE[-1:], "lost": 1.5}),
        (4, {"topology": ["dense"], "multiplier": AGGRESSIVE, "lost": 4.0}),
        # Failing at one aggressive circuit is not failing at all of them.
        (4, {"topology": OTHERS, "multiplier": AGGRESSIVE[:2], "lost": 0.2}),
        (5, {"topology": OTHERS, "multiplier": AGGRESSIVE[:2], "lost": 0.2}),
        (5, {"topology": ["cluster"], "multiplier": ["mul8s_1KR3"], "lost": 6.0}),
        (5, {"topology": ["hard"], "multiplier": AGGRESSIVE, "lost": 4.0}),
        (6, {"topology": ["hard"], "multiplier": AGGRESSIVE, "lost": 10.0}),
    ],
)
def test_each_claim_fails_where_the_world_is_otherwise(number, world):
    where = {1: ("none", CNN), 2: ("none", ["vit_small"]), 3: ("retrained", ["resnet20"])}
    where |= {4: ("retrained", ["vgg11_bn"]), 5: ("retrained", ["vgg11_bn"])}
    where |= {6: ("retrained", ["vit_small"])}
    recovery, archs = where[number]
    found = verdicts(changed(**{"recovery": [recovery], "arch": archs} | world))
    assert found[number - 1] == FAILS
    # Claims 4 and 5 speak of the same cells; the others stand.
    related = {4, 5} if number in (4, 5) else {number}
    assert all(v == HOLDS for n, v in enumerate(found, start=1) if n not in related)


CNN = ["resnet20", "vgg11_bn"]


def scattered(shifts, **where):
    """The paper's world with points added to some drops, one number a seed."""
    rows = table()
    chosen = pd.Series(True, index=rows.index)
    for column, values in where.items():
        chosen &= rows[column].isin(values)
    more = rows.loc[chosen, "seed"].map(dict(enumerate(shifts)))
    rows.loc[chosen, "drop_points"] += more
    rows.loc[chosen, "drop_share_pct"] += 100 * more / 80
    rows.loc[chosen, "test_accuracy_pct"] -= more
    return rows


RETRAINED = {"recovery": ["retrained"]}
VGG = {"arch": ["vgg11_bn"], **RETRAINED}


@pytest.mark.parametrize(
    ("number", "shifts", "where"),
    [
        (1, (-40, 40, 0), {"arch": ["resnet20"], "topology": ["hard"], "recovery": ["none"]}),
        # Opposite signs over seeds, whose mean is none.
        (
            2,
            (-20, 0, 20),
            {"arch": ["vit_small"], "topology": ["soft"], "multiplier": ["mul8s_1KR6"]},
        ),
        (3, (-9, 11, 0.1), {"arch": ["resnet20"], "multiplier": ["mul8s_1KR3"], **RETRAINED}),
        (4, (-9, 11, 0.1), {"multiplier": MODERATE[-1:], **VGG}),
        (4, (-60, 60, 0), {"topology": ["dense"], "multiplier": AGGRESSIVE, **VGG}),
        (5, (-20, 20, 0), {"topology": ["cluster"], "multiplier": ["mul8s_1KR3"], **VGG}),
        (5, (-60, 60, 0), {"topology": ["hard"], "multiplier": AGGRESSIVE, **VGG}),
        (6, (-12, 12, 0), {"arch": ["vit_small"], "topology": ["hard"], **RETRAINED}),
    ],
)
def test_what_straddles_a_limit_is_open(number, shifts, where):
    claim = _claims.judge(scattered(shifts, **where))[number - 1]
    assert claim.verdict == OPEN
    assert "±" in claim.figure


def test_seeds_that_agree_are_not_open():
    where = {"arch": ["resnet20"], "multiplier": ["mul8s_1KR3"], **RETRAINED}
    assert verdicts(scattered((0.5, 0.6, 0.5), **where))[2] == HOLDS
    assert verdicts(scattered((2.5, 2.6, 2.5), **where))[2] == FAILS
    hard = {"arch": ["vit_small"], "topology": ["hard"], **RETRAINED}
    assert verdicts(scattered((9, 10, 11), **hard))[5] == FAILS


def test_a_network_that_does_not_goes_before_one_that_is_open():
    rows = scattered((-40, 40, 0), arch=["resnet20"], topology=["hard"], recovery=["none"])
    worse = (rows["arch"] == "vgg11_bn") & (rows["topology"] == "hard")
    rows.loc[worse & (rows["recovery"] == "none"), "drop_points"] -= 20
    assert verdicts(rows)[0] == FAILS


def test_a_limit_is_held_against_the_whole_interval():
    narrow, wide = np.array([0.9, 0.9, 0.9]), np.array([-9.0, 11.0, 0.7])

    def of(*values, error=0.3):
        return estimate(np.array(values), np.full(len(values), error))

    assert (of(*narrow).at_most(1), of(*narrow).above(1)) == (HOLDS, FAILS)
    assert of(*wide).mean == pytest.approx(0.9)
    assert (of(*wide).at_most(1), of(*wide).above(1)) == (OPEN, OPEN)
    assert (of(*narrow).at_most(0.5), of(*narrow).above(0.5)) == (FAILS, HOLDS)
    # A limit that is reached exactly is not passed.
    assert (of(1.0, 1.0).at_most(1), of(1.0, 1.0).above(1)) == (HOLDS, FAILS)
    # A single seed has the error of its test images.
    assert (of(1.1).at_most(1), of(1.1, error=0.01).at_most(1)) == (OPEN, FAILS)
    assert of(-1.234).text("+") == "-1.23 ± 0.59"
    assert of(1.0, 2.0).text() == "1.50 ± 6.35"


def test_one_point_decides_for_all():
    low, wide, sure = [0.0, 0.1, 0.2], [-20.0, 0.0, 20.0], [3.0, 3.1, 3.2]
    none = np.zeros((2, 2, 3))
    assert deciding(np.array([[low, wide], [low, sure]]), none, 1.0)[0] == (1, 1)
    assert deciding(np.array([[low, wide], [low, low]]), none, 1.0)[0] == (0, 1)
    assert largest(np.array([[low, wide], [sure, low]]), none)[0] == (1, 0)
    assert all_of([HOLDS, OPEN]) == OPEN
    assert all_of([HOLDS, OPEN, FAILS]) == FAILS
    assert all_of([HOLDS]) == HOLDS


def test_the_figure_is_the_largest_and_what_decides_if_that_is_another():
    where = {"arch": ["resnet20"], "topology": ["soft"], **RETRAINED}
    rows = scattered((59.8, 59.9, 59.7), multiplier=["mul8s_1KR3"], **where)
    alone = _claims.judge(rows)[2].figure
    assert "up to 60.0" in alone
    assert "(soft at 1KR3, 75.0 %)" in alone
    assert "decided by" not in alone
    loose = (rows["arch"] == "resnet20") & (rows["topology"] == "dense")
    loose &= (rows["recovery"] == "retrained") & (rows["multiplier"] == "mul8s_1KR3")
    rows.loc[loose, "drop_points"] = [0.0, 100.0, 100.0]
    both = _claims.judge(rows)[2].figure
    assert "up to 66.67 ± 143.42 (dense at 1KR3, 0.3 %), decided by 60.0" in both
    assert both.endswith("(soft at 1KR3)")


def test_missing_cells_are_said_and_never_filled():
    rows = table()
    assert verdicts(rows.iloc[:0]) == [MISSING] * 6
    assert verdicts(rows[rows["recovery"] == "none"]) == [HOLDS, HOLDS] + [MISSING] * 4
    # One cell of one seed: the other two seeds are judged.
    gone = (rows["arch"] == "resnet20") & (rows["recovery"] == "retrained") & (rows["seed"] == 1)
    fewer = rows.drop(rows[gone].index[5])
    claim = _claims.judge(fewer)[2]
    assert claim.verdict == HOLDS
    assert "2 seeds" in claim.basis
    # One multiplier of all seeds: not measured, whatever the rest says.
    partial = rows[~((rows["arch"] == "resnet20") & (rows["multiplier"] == "mul8s_1KR3"))]
    claim = _claims.judge(partial)[2]
    assert (claim.verdict, claim.figure) == (MISSING, "–")
    assert claim.basis == "cells are missing: resnet20"


def test_a_drop_without_its_exact_cell_is_missing():
    rows = table()
    rows.loc[rows["arch"] == "resnet20", "drop_points"] = np.nan
    assert verdicts(rows)[2] == MISSING


def test_hard_against_dense_needs_no_other_topology():
    rows = table()
    rows = rows[rows["topology"].isin(["dense", "hard"])]
    assert verdicts(rows) == [MISSING] * 5 + [HOLDS]


def test_one_seed_has_the_error_of_its_test_images():
    rows = table(seeds=(0,))
    claims = _claims.judge(rows)
    assert all(claim.verdict == HOLDS for claim in claims)
    assert "1 seed, ± is the test images' sampling error" in claims[0].basis
    assert "± 0.20" in claims[2].figure
    # The same figures from fewer images: every limit is within the error of some point.
    few = rows.assign(
        drop_error_points=40 * rows["drop_error_points"],
        accuracy_error_points=40 * rows["accuracy_error_points"],
    )
    assert verdicts(few) == [OPEN] * 6
    # Several seeds have it in their spread.
    more = table().assign(drop_error_points=4.0, accuracy_error_points=12.0)
    assert verdicts(more) == [HOLDS] * 6


def test_equal_cost_is_interpolated():
    def drop(arch, topology, multiplier, recovery):
        return 0.0 if POWER[multiplier] == 1 else 50 * (1 - POWER[multiplier])

    rows = table(drop, seeds=(0,))
    rows["test_accuracy_pct"] = 40 + 50 * rows["energy_rel"]
    grid = _claims.complete_grid(rows, "vit_small", "retrained")
    hard, dense = grid.of("hard"), grid.of("dense")
    # Both lie on one line: no difference but beyond dense's most costly point, which is at 1.
    difference = _claims._at_equal_energy(grid, hard, dense, 0)
    beyond = grid.energy[hard, :, 0] > 1
    assert beyond.tolist() == [True, True] + [False] * 6
    assert difference[~beyond] == pytest.approx(np.zeros(6), abs=1e-9)
    assert difference[0] == pytest.approx(0.5)


def test_dense_may_use_a_cheaper_circuit_that_is_better():
    rows = table(seeds=(0,), archs=("vit_small",))
    for topology, name, accuracy in (
        ("dense", "mul8s_1L1G", 96.0),
        ("dense", "mul8s_1L2D", 60.0),
        ("dense", "mul8s_1L2H", 60.0),
        ("dense", "mul8s_1KR3", 50.0),
        ("hard", "mul8s_1L2D", 80.0),
        ("hard", "mul8s_1L1G", 96.0),
        ("hard", "mul8s_1KR3", 50.0),
    ):
        here = (rows["topology"] == topology) & (rows["multiplier"] == name)
        rows.loc[here, "test_accuracy_pct"] = accuracy
    grid = _claims.complete_grid(rows, "vit_small", "retrained")
    difference = _claims._at_equal_energy(grid, grid.of("hard"), grid.of("dense"), 0)
    # 1L2D costs more than 1L1G, and 1L2H more than both: 96 % is never out of reach.
    assert difference[grid.names.index("1L2D")] == pytest.approx(80 - 96)
    assert difference[grid.names.index("1L1G")] == pytest.approx(0)
    assert _claims.judge(rows)[5].verdict == FAILS


def test_a_real_data_set_goes_before_the_digits():
    rows = table()
    real = rows[rows["arch"] == "vit_small"].assign(dataset="tiny-imagenet")
    both = pd.concat([rows, real])
    assert "tiny-imagenet" in _claims.judge(both)[1].basis
    half = pd.concat([rows, real[real["topology"] != "soft"]])
    assert "digits" in _claims.judge(half)[1].basis


def test_the_page_has_a_row_a_claim_and_names_its_assumptions():
    preset = read_preset("cifar10-cpu")
    page = _report.as_markdown(_claims.judge(table()), preset, "some cells\nsome hours")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 6
    assert all(line.count("|") == rows[0].count("|") for line in rows)
    assert "vit_small on digits (a proxy of Tiny ImageNet-200), 3 seeds" in page
    assert "an assumption" in page
    assert "straddles the limit, the claim is *open within the spread*" in page


def test_the_summary_says_what_it_is_of():
    summary = _tables.summary(table(archs=("resnet20",)))
    assert set(summary["seeds"]) == {3}
    assert set(summary["of_seeds"]) == {"0; 1; 2"}
    assert set(summary["commits"]) == {"c0ffee0; c0ffee1; c0ffee2"}
    assert set(summary["devices"]) == {"a machine"}


def test_half_width_is_students():
    assert _tables.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert np.isnan(_tables.half_width([1.0]))
    assert np.isnan(_tables.half_width([1.0, np.nan]))
