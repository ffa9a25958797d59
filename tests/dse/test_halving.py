"""Fewer images first: what is promising is scored on all, and no table mixes the two unsaid."""

import dataclasses

import pandas as pd
import pytest

from dse.problem import Outcome, Trial
from dse.results import Halving, close, dominated_ranks
from dse.results._closing import fixed_baselines
from dse.study import SearchConfig
from luts import InputError
from luts.console import SILENT
from models import Assignment, Choice, Score
from tests.dse._searching import one_cache  # noqa: F401
from tests.dse._stand_in import open_study, problem_of, run_to
from tests.dse.test_search import CIRCUITS, DENSE, command


@pytest.fixture
def trials_of_orders():
    """A circuit in both operand orders, of which the second recovers; before and after that."""
    chance = (Score(0.11, 2.30, 400), Score(0.10, 2.31, 400))
    trials = [
        Trial(
            number=number,
            origin="uniform",
            assignment=Assignment.of({"0": Choice("mul8s_1KR3", swapped=swapped)}),
            energy_rel=0.12,
            validation=score,
            fidelity="recalibrated",
            seconds=1.0,
        )
        for number, (swapped, score) in enumerate(zip((False, True), chance, strict=True))
    ]
    tuned = (Score(0.11, 2.30, 400), Score(0.84, 0.48, 400))
    recovered = [
        dataclasses.replace(trial, tuned_validation=score)
        for trial, score in zip(trials, tuned, strict=True)
    ]
    return trials, recovered


class Evaluator:
    """Scores on all images so that the order of the part's scores is turned round."""

    is_partial = True
    exact_validation = Score(0.9, 0.1, 400)
    exact_searched = Score(0.1, 2.3, 100)  # nothing falls far below it

    def __init__(self, trials, data):
        self.by_digest = {t.assignment.digest: t for t in trials}
        self.data = data
        self.asked = []

    def score(self, assignment, *, images):
        trial = self.by_digest[assignment.digest]
        self.asked.append(trial.number)
        loss = 3 - trial.validation.cross_entropy
        whole = Score(1 - loss / 4, loss, images)
        return Outcome(whole, "bias-corrected", 0.0)

    def fine_tune(self, assignment, *, epochs, seed, reporter):
        loss = self.by_digest[assignment.digest].validation.cross_entropy
        return type("Tuned", (), {"validation": Score(0.5, loss, 400)})()


class Data:
    validation = range(400)


@pytest.fixture
def study(tmp_path):
    made = open_study(tmp_path / "study.db", "random")
    run_to(made, 16)
    return made


def halving(study, **changes):
    trials = {t.number: t for t in study.trials()}
    config = dataclasses.replace(SearchConfig(), finetune_members=2, **changes)
    return Halving(study, Evaluator(trials.values(), Data), config, trials)


def test_halving_keeps_the_members_asked_for_and_repeats_nothing(study):
    first = halving(study)
    ranked = dominated_ranks(list(first.trials.values()), 3)
    chosen = first.promoted(ranked)
    assert len(chosen) == 2
    assert len(first.evaluator.asked) == len(set(first.evaluator.asked)) == 8
    again = halving(study)
    assert again.promoted(ranked) == chosen
    assert again.evaluator.asked == []


def graded(count):
    """A front from the exact network's 90 % down to guessing."""
    return {
        number: Trial(
            number=number,
            origin="guided",
            assignment=Assignment.of({f"{number}": Choice("mul8s_1L2D")}),
            energy_rel=1 - 0.9 * number / count,
            validation=Score(0.9 - 0.8 * number / count, 0.3 + 2 * number / count, 100),
            fidelity="recalibrated",
            seconds=1.0,
        )
        for number in range(count)
    }


@pytest.mark.parametrize("partial", [False, True])
def test_what_is_tested_is_what_somebody_would_use(study, partial):
    trials = graded(80)
    evaluator = Evaluator(trials.values(), Data)
    evaluator.is_partial, evaluator.exact_searched = partial, Score(0.9, 0.3, 100)
    by_digest = {t.assignment.digest: t.validation for t in trials.values()}
    evaluator.score = lambda assignment, images: Outcome(by_digest[assignment.digest], "", 0.0)
    ranked = dominated_ranks(list(trials.values()), 3)
    assert len(ranked[0]) == 80

    def chosen(members, finetune):
        config = dataclasses.replace(SearchConfig(), finetune_members=members, finetune=finetune)
        return Halving(study, evaluator, config, trials).shortlisted(ranked)

    # One percent of accuracy a trial: five points hold the numbers 0 to 5, fifteen 0 to 15.
    assert sorted(chosen(4, "none"))[-1] <= 5
    assert 5 < sorted(chosen(8, "front"))[-1] <= 15
    # With too few of these, others are better than none.
    assert len(chosen(12, "none")) == 12 and {0, 1, 2, 3, 4, 5} <= set(chosen(12, "none"))


def test_ranks_are_fronts_of_what_is_left(study):
    trials = study.trials()
    first, second = dominated_ranks(trials, 2)
    points = {t.number: t.objectives for t in trials}

    def dominates(a, b):
        return all(x <= y for x, y in zip(points[a], points[b], strict=True)) and a != b

    assert not any(dominates(a, b) for a in first for b in first)
    assert all(any(dominates(a, b) for a in first) for b in second)


def test_the_answer_holds_on_all_images(study):
    problem = dataclasses.replace(problem_of(), min_quality=0.3)
    lenient = halving(study, objective="energy", max_drop=60.0)
    number = lenient.answer(problem)
    assert lenient.whole_score(number).accuracy >= 0.3
    strict = halving(study, objective="energy", max_drop=0.0)
    strict.evaluator.exact_validation = Score(1.0, 0.0, 400)
    with pytest.raises(InputError, match="none of 16 trials reaches"):
        strict.answer(problem)


def test_trials_of_another_fidelity_alone_cannot_be_closed(study):
    config = dataclasses.replace(SearchConfig(), finetune="every")
    with pytest.raises(InputError, match="none of 16 trials was scored after fine-tuning"):
        close(study, None, problem_of(), None, config, SILENT)


def test_a_search_on_fewer_images_says_so_everywhere(tmp_path):
    out = tmp_path / "part"
    flags = ("--rung-images", 100, "--trials", 6, "--finetune", "promising", "--quiet")
    assert command(*DENSE, *flags, "--out", out) == 0
    trials = pd.read_csv(out / "trials.csv")
    assert set(trials["fidelity"]) == {"bias-corrected, rescaled and code-tuned, 100 images"}
    told = trials.dropna(subset="test_accuracy_pct")
    assert told["whole_validation_accuracy_pct"].notna().all()
    assert told["tuned_validation_accuracy_pct"].notna().all()
    # 359 images: an accuracy on all of them is no multiple of one percent
    assert (told["whole_validation_accuracy_pct"] % 1 != 0).any()
    assert (
        (trials["validation_accuracy_pct"] - trials["validation_accuracy_pct"].round()).abs() < 1e-9
    ).all()


def test_a_network_with_batchnorm_is_closed_too(tmp_path):
    out = tmp_path / "cnn"
    flags = ("--arch", "resnet20", "--topology", "dense", "--image-size", "16", "--trials", 5)
    assert command(*CIRCUITS, *flags, "--finetune-epochs", "0.1", "--quiet", "--out", out) == 0
    trials = pd.read_csv(out / "trials.csv")
    assert set(trials["fidelity"]) == {"recalibrated, rescaled and code-tuned"}
    tuned = trials.dropna(subset="tuned_validation_cross_entropy")
    assert len(tuned) >= 3
    worse = tuned["tuned_validation_cross_entropy"] > tuned["validation_cross_entropy"] + 1e-9
    assert not worse.any()


def test_the_order_that_recovers_stands_for_a_fixed_multiplier(trials_of_orders):
    """Unrecovered both orders of 1KR3 are at chance, and noise says which loses less."""
    unrecovered, recovered = trials_of_orders
    assert fixed_baselines(unrecovered) == (0,)
    assert fixed_baselines(recovered) == (1,)
