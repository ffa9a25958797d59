"""The comparison's arithmetic and bookkeeping; its figures are its results."""

from pathlib import Path

import pytest

from luts import catalog
from studies._matrix import CellStore
from studies.search_efficiency import EfficiencyStudy, SearchCell, _report


def cell(sampler, seed, scores, *, tie="none", screening_seconds=0.0):
    """Two fixed multipliers, then a member of energy 0.5 for every score."""
    return {
        "network": "net",
        "sampler": sampler,
        "tie": tie,
        "seed": seed,
        "reference": [1.0, 2.0],
        "fixed": 2,
        "screening_seconds": screening_seconds,
        "asking_seconds": 4.0,
        "evaluation_seconds": 2.0,
        "energy_rel": [1.0, 0.2] + [0.5] * len(scores),
        "cross_entropy": [0.1, 1.8, *scores],
        "accuracy": [0.95 - score / 10 for score in (0.1, 1.8, *scores)],
        "exact": {"accuracy": 0.9, "cross_entropy": 0.5, "images": 100},
        "origins": ["uniform", "uniform", "screening", *["guided"] * (len(scores) - 1)],
    }


GUESSING = ("guessing", 0.0)


def test_the_committed_configuration_is_legal():
    config = EfficiencyStudy.read()
    cells = list(config.cells())
    assert len({cell.name for cell in cells}) == len(cells)
    assert config.budgets["nsga2"] == config.budgets["guided"]
    assert catalog.names(config.multipliers)
    networks = [network.topology for network in config.networks.values()]
    assert "dense" in networks and "hard" in networks
    first = {(c.sampler, c.network) for c in cells[: 2 * 2 * len(config.networks)]}
    assert first == {(s, n) for s in ("guided", "nsga2") for n in config.networks}
    assert {c.sampler for c in cells if not config.is_screened(c)} == {"alwann", "marlin", "random"}
    store = CellStore[SearchCell](Path(_report.__file__).parent / "results")
    assert store.missing(cells) == []


def test_a_curve_counts_screening_as_evaluations():
    found = _report.curve(cell("guided", 0, [1.0, 1.0, 0.4], screening_seconds=6.0), GUESSING)
    # one fixed member inside the box: (1 - 0.2) · (2 - 1.8) of 2; then (1 - 0.5) · (1.8 - score)
    volumes = [0.08, 0.08 + 0.2, 0.08 + 0.2, 0.08 + 0.35]
    assert found["hypervolume"].tolist() == pytest.approx(volumes)
    assert found["evaluations"].tolist() == [0, 4, 5, 6]
    assert found["seconds"].tolist() == pytest.approx([0, 6 + 10 / 3, 6 + 20 / 3, 16])
    assert _report.reached(found, 0.28) == 4
    assert _report.reached(found, 0.3) == 6
    assert _report.reached(found, 0.9) == float("inf")


def test_a_tight_box_leaves_out_what_nobody_would_use():
    # exact 0.9; scores are accuracies 0.95 - cross-entropy / 10
    made = cell("guided", 0, [1.0, 0.7, 0.4])
    assert _report.volume(made, 1, ("accuracy", 5.0)) == 0.0  # 0.85 is five points below
    assert _report.volume(made, 2, ("accuracy", 5.0)) == pytest.approx(0.5 * 0.6)
    assert _report.volume(made, 3, ("accuracy", 5.0)) == pytest.approx(0.5)  # better than exact
    assert _report.volume(made, 3, ("cross_entropy", 2.0)) == pytest.approx(0.5)
    assert _report.volume(made, 2, ("cross_entropy", 2.0)) == pytest.approx(0.5 * 0.6)


def test_the_table_has_the_median_of_the_seeds():
    cells = [cell("guided", seed, [1.8, score]) for seed, score in enumerate((0.7, 0.6, 0.4))]
    cells += [cell("nsga2", seed, [1.8, 1.8, 1.8, 0.6]) for seed in (0, 1)]
    table = _report.summary(cells).set_index("sampler")
    assert table.loc["guided", "seeds"] == 3
    assert table.loc["guided", "end_least"] == pytest.approx(0.0)  # two points below, or more
    assert table.loc["guided", "end_most"] == pytest.approx(0.5)
    assert table.loc["guided", "within_5_points"] == pytest.approx(0.5 * 0.8)
    assert table.loc["guided", "seeds_within_5_points"] == 0.0
    assert table.loc["nsga2", "to_nsga2"] == 4
    assert table.loc["guided", "to_nsga2"] == 2  # of three seeds one never gets there


def test_names_of_cells_are_files():
    assert SearchCell("net", "pymoo:nsga2", "none", 1, 10).name == "net-pymoo-nsga2-tie-none-1"


def test_the_committed_table_is_that_of_the_committed_cells():
    results = Path(_report.__file__).parent / "results"
    records = CellStore(results).records()
    assert all(not record["making"]["commit"].endswith("+changes") for record in records)
    text = _report.summary(records).to_csv(index=False, float_format="%.5g")
    assert (results / "summary.csv").read_text(encoding="utf-8") == text
