"""Samplers and study on a cheap stand-in for scoring."""

import dataclasses

import numpy as np
import pytest

import luts
from dse._space import SearchSpace
from dse._study import SearchStudy
from dse._trial import Trial, objective_score
from dse.samplers import NSGA2Sampler, population_for
from luts import InputError
from models import Score, Site

SITES = tuple(Site(f"layer{i}", "linear", 10 + i, 8) for i in range(12))
SPACE = SearchSpace.of(SITES, luts.catalog.names("mul8s"))


def score(space, pending):
    """Energy falls with the codes, loss rises with their square: a front worth finding."""
    codes = space.encode(pending.assignment)
    weight = np.linspace(1, 3, len(codes))
    return Trial(
        number=pending.number,
        origin=pending.origin,
        assignment=pending.assignment,
        energy_rel=float(1 - codes.mean() / 20),
        validation=Score(0.9, float((weight * codes**2).mean() / 400), 100),
        fidelity="bias-corrected",
        seconds=0.0,
    )


def open_study(path, seed=3, space=SPACE):
    return SearchStudy(path, space, NSGA2Sampler(space, seed=seed, population=8))


def run_to(study, total):
    while len(study.trials()) < total:
        pending = study.ask()
        study.tell(pending, score(study.space, pending))
    return study.trials()


def seeded(study):
    for code in (0, 9, 18):
        study.enqueue(study.space.uniform(code), "uniform")


def listing(trials):
    return [(t.number, t.origin, t.assignment.digest) for t in trials]


def test_queued_assignments_come_first_and_in_order(tmp_path):
    study = open_study(tmp_path / "s.db")
    assert study.is_new
    seeded(study)
    assert not study.is_new
    trials = run_to(study, 12)
    assert [t.origin for t in trials] == ["uniform"] * 3 + ["nsga2"] * 9
    codes = [int(SPACE.encode(t.assignment)[0]) for t in trials[:3]]
    assert codes == [0, 9, 18]


def test_the_seed_repeats_the_list_and_another_does_not(tmp_path):
    lists = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        study = open_study(tmp_path / f"{name}.db", seed)
        seeded(study)
        lists.append(listing(run_to(study, 30)))
    assert lists[0] == lists[1]
    assert lists[0] != lists[2]


@pytest.mark.parametrize("stop", [2, 5, 17])
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(tmp_path, stop):
    whole = open_study(tmp_path / "whole.db")
    seeded(whole)
    expected = listing(run_to(whole, 26))
    first = open_study(tmp_path / "parts.db")
    seeded(first)
    run_to(first, stop)
    interrupted = first.ask()  # and the process dies here
    again = open_study(tmp_path / "parts.db")
    assert again.ask().assignment == interrupted.assignment
    again = open_study(tmp_path / "parts.db")
    assert listing(run_to(again, 26)) == expected


def test_trials_survive_the_database(tmp_path):
    study = open_study(tmp_path / "s.db")
    study.enqueue(SPACE.uniform(4), "screening")
    pending = study.ask()
    trial = dataclasses.replace(
        score(SPACE, pending), tuned_validation=Score(0.95, 0.1, 100), note="fine-tuned"
    )
    study.tell(pending, trial)
    study.keep_closing("trial-0", {"x": 1})
    again = open_study(tmp_path / "s.db")
    assert again.trials() == [trial]
    assert again.closing("trial-0") == {"x": 1}
    assert again.closing("trial-1") is None


def test_a_database_of_another_space_or_none_is_refused(tmp_path):
    seeded(open_study(tmp_path / "s.db"))
    other = SearchSpace.of(SITES, luts.catalog.names("paper"))
    with pytest.raises(InputError, match="over other sites or multipliers"):
        open_study(tmp_path / "s.db", space=other)
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one" * 50)
    with pytest.raises(InputError, match="is not the database of a search"):
        open_study(tmp_path / "text.db")


def test_nsga2_improves_on_its_seeds(tmp_path):
    from dse._pareto import hypervolume

    study = open_study(tmp_path / "s.db")
    seeded(study)
    trials = run_to(study, 120)
    points = np.array([t.objectives for t in trials])
    reference = np.array([1.1, 2.5])
    start, end = hypervolume(points[:3], reference), hypervolume(points, reference)
    assert end > 1.1 * start


def test_population_suits_the_budget():
    assert population_for(60) == 16
    assert population_for(1) == 8
    assert population_for(100_000) == 50


def test_small_splits_are_compared_by_cross_entropy():
    assert objective_score(Score(0.9, 0.3, 360)) == 0.3
    assert objective_score(Score(0.9, 0.3, 5_000)) == pytest.approx(0.1)
