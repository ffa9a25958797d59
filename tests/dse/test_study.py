"""Samplers and study on a cheap stand-in for scoring."""

import dataclasses
import sqlite3

import numpy as np
import pytest

from dse.problem import objective_score
from dse.samplers import population_for
from luts import InputError
from models import Score
from tests.dse._stand_in import listing, open_study, problem_of, run_to, score, seeded


def test_queued_assignments_come_first_and_in_order(tmp_path):
    study = open_study(tmp_path / "s.db")
    assert study.needs_seeds
    seeded(study)
    assert not study.needs_seeds
    trials = run_to(study, 12)
    assert [t.origin for t in trials] == ["uniform"] * 3 + ["nsga2"] * 9
    codes = [int(study.space.encode(t.assignment)[0]) for t in trials[:3]]
    assert codes == [0, 9, 18]


def test_the_seed_repeats_the_list_and_another_does_not(tmp_path):
    lists = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        study = open_study(tmp_path / f"{name}.db", seed=seed)
        seeded(study)
        lists.append(listing(run_to(study, 30)))
    assert lists[0] == lists[1]
    assert lists[0] != lists[2]


def test_a_study_says_which_images_it_is_on_or_is_continued_without(tmp_path):
    path, digests = tmp_path / "s.db", [{"content_sha256": "a" * 64}, {"content_sha256": "b" * 64}]
    open_study(path, about=digests[0])
    open_study(path, about=digests[0])
    with pytest.raises(InputError, match="a search on other images or labels"):
        open_study(path, about=digests[1])
    silent = tmp_path / "silent.db"
    open_study(silent, about={"seed": 0})
    open_study(silent, about={"seed": 0, **digests[0]})
    with pytest.raises(InputError, match="seed 0 and not 1"):
        open_study(silent, about={"seed": 1, **digests[0]})


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


@pytest.mark.parametrize("sampler", ["nsga2", "guided"])
def test_a_study_killed_while_it_proposes_goes_on_as_if_it_had_not_been(
    tmp_path, monkeypatch, sampler
):
    whole = open_study(tmp_path / "whole.db", sampler)
    seeded(whole, range(6))
    expected = listing(run_to(whole, 15))
    for stop in (9, 12):
        again = open_study(tmp_path / "parts.db", sampler)
        if again.needs_seeds:
            seeded(again, range(6))
        run_to(again, stop)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(type(again._study.sampler), "propose", _dies)
            again.ask()
    again = open_study(tmp_path / "parts.db", sampler)
    assert listing(run_to(again, 15)) == expected


def _dies(*_):
    raise KeyboardInterrupt


def test_trials_survive_the_database(tmp_path):
    study = open_study(tmp_path / "s.db")
    study.enqueue(study.space.uniform(4), "screening")
    pending = study.ask()
    found = dataclasses.replace(score(pending), tuned=Score(0.95, 0.1, 100), note="fine-tuned")
    trial = study.tell(pending, found)
    assert trial.assignment == pending.assignment
    assert trial.validation == trial.tuned_validation == found.tuned
    study.keep_closing("trial-0", {"x": 1})
    again = open_study(tmp_path / "s.db")
    assert again.trials() == [trial]
    assert again.closing("trial-0") == {"x": 1}
    assert again.closing("trial-1") is None


def test_a_database_of_another_space_or_none_is_refused(tmp_path):
    study = open_study(tmp_path / "s.db", about={"dataset": "digits"})
    seeded(study)
    study.close()  # or the file changes whenever its last connection is collected
    before = (tmp_path / "s.db").read_bytes()
    with pytest.raises(InputError, match="over other sites or multipliers"):
        open_study(tmp_path / "s.db", problem=problem_of(names=["mul8s_1KV8", "mul8s_1L1G"]))
    with pytest.raises(InputError, match="over other sites or multipliers"):
        open_study(tmp_path / "s.db", problem=problem_of(tie="block", exact=["layer3"]))
    with pytest.raises(InputError, match="with dataset 'digits' and not 'cifar10'"):
        open_study(tmp_path / "s.db", about={"dataset": "cifar10"})
    assert (tmp_path / "s.db").read_bytes() == before
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one" * 50)
    with pytest.raises(InputError, match="is not the database of a search"):
        open_study(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE birds (name TEXT)")
    with pytest.raises(InputError, match=r"tables of another program \(birds\)"):
        open_study(tmp_path / "other.db")


def test_a_storage_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"cannot reach the database|needs a driver"):
        open_study("postgresql://nobody:secret@127.0.0.1:1/nothing")
    with pytest.raises(InputError, match="is not a database URL"):
        open_study("server")


def test_seeding_twice_queues_nothing_twice(tmp_path):
    study = open_study(tmp_path / "s.db")
    study.enqueue(study.space.uniform(9), "uniform")  # a process died while it was seeding
    seeded(study)
    assert [t.origin for t in run_to(study, 3)] == ["uniform"] * 3


def test_a_score_that_is_not_finite_is_the_worst(tmp_path):
    study = open_study(tmp_path / "s.db", "guided")
    seeded(study, range(6))
    run_to(study, 5)
    pending = study.ask()
    outcome = score(pending)
    study.tell(pending, dataclasses.replace(outcome, validation=Score(0.1, float("nan"), 100)))
    assert study.complete == 6
    study.ask()


def test_nsga2_improves_on_its_seeds(tmp_path):
    from dse.problem import hypervolume

    study = open_study(tmp_path / "s.db", budget=60)
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
