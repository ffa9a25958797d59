"""Successive halving on the non-dominated rank: more images, then training, for fewer candidates.

Jamieson, Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016, arXiv 1502.07943, with the rank in place of a single score. A rung, one round of
halving, compares scores of one fidelity only.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dse.problem import Problem, Trial, non_dominated, objective_score, thin_front
from dse.scoring import Evaluator
from dse.study import SearchConfig, SearchStudy
from luts.console import SILENT, Reporter
from luts.errors import InputError
from models import Score

MOST_DROP = 5.0
"""Members of a front that are tested lie within five points of the exact network's accuracy, if
enough of them do: a front reaches down to guessing, where nobody would use it."""
MOST_DROP_BEFORE_TUNING = 15.0
"""Within so many where they are fine-tuned first, which brings back about ten points."""

ALL_IMAGES = "all validation images"

SHORTLIST = 10
"""How many of the best candidates for the one answer are rescored on all images, if the
search used fewer."""


@dataclasses.dataclass(frozen=True)
class Halving:
    """Scores promising trials at higher fidelity; what an earlier run has scored is kept.

    Attributes:
        study: keeps the scores.
        evaluator: computes them.
        config: what the search was asked to do.
        trials: all trials, by number.
        reporter: shows the progress.
    """

    study: SearchStudy
    evaluator: Evaluator
    config: SearchConfig
    trials: Mapping[int, Trial]
    reporter: Reporter = SILENT

    def shortlisted(self, ranked: Sequence[Sequence[int]]) -> list[int]:
        """Numbers of the trials that are tested, those that nobody would use only in need.

        Where the search scored on fewer images, three times as many candidates from the first
        non-dominated ranks are scored on all of them first.

        Args:
            ranked: numbers of trials, best rank first.
        """
        wanted = self.config.finetune_members
        if not self.evaluator.is_partial:
            return self._candidates(ranked[:1], wanted)
        candidates = self._candidates(ranked, 3 * wanted)
        return self._best(candidates, self.whole_score, wanted, ALL_IMAGES)

    def promoted(self, ranked: Sequence[Sequence[int]]) -> list[int]:
        """Numbers of the trials that get the whole fine-tuning.

        Four times as many candidates (twice, if the search scored on all images) come from the
        first non-dominated ranks. Scores on all images halve them, and scores after half the
        fine-tuning halve them again.

        Args:
            ranked: numbers of trials, best rank first.
        """
        wanted = self.config.finetune_members
        count = (4 if self.evaluator.is_partial else 2) * wanted
        candidates = self._candidates(ranked, count)
        if self.evaluator.is_partial:
            candidates = self._best(candidates, self.whole_score, 2 * wanted, ALL_IMAGES)
        return self._best(candidates, self._half_tuned, wanted, "fine-tune by half")

    def whole_score(self, number: int) -> Score:
        """On all validation images, without fine-tuning."""

        def compute() -> Score:
            assignment = self.trials[number].assignment
            images = len(self.evaluator.data.validation)
            return self.evaluator.score(assignment, images=images).validation

        return self._kept(f"whole-{number}", ALL_IMAGES, compute)

    def answer(self, problem: Problem) -> int:
        """Number of the trial that a search for least energy or best accuracy answers with.

        Where the search scored on fewer images, the best few are checked on all.

        Raises:
            InputError: no trial meets the limit.
        """
        trials = list(self.trials.values())
        if problem.min_quality is not None:
            return self._cheapest(trials, problem.min_quality)
        assert problem.max_energy is not None
        cheap = [t for t in trials if t.energy_rel <= problem.max_energy + 1e-12]
        if not cheap:
            raise InputError(
                f"none of {len(trials)} trials has an energy of at most {problem.max_energy:g}; "
                f"go on with more --trials, or allow more by --max-energy"
            )
        cheap.sort(key=lambda t: (t.objectives[1], t.energy_rel))
        if not self.evaluator.is_partial:
            return cheap[0].number
        return min(
            (t.number for t in cheap[:SHORTLIST]),
            key=lambda number: objective_score(self.whole_score(number)),
        )

    def _cheapest(self, trials: list[Trial], least: float) -> int:
        good = [t for t in trials if t.validation.quality >= least - 1e-12]
        for trial in sorted(good, key=lambda t: t.objectives)[:SHORTLIST]:
            if not self.evaluator.is_partial or self._holds_on_all(trial.number):
                return trial.number
        measure = self.evaluator.exact_validation.measure
        limit = f"{measure.name} of {least if measure.higher_is_better else -least:.6g}"
        if self.evaluator.exact_validation.is_accuracy:
            limit = f"accuracy of {100 * least:.2f} %"
        raise InputError(
            f"none of {len(trials)} trials reaches the validation {limit}; go on with more "
            f"--trials, or allow more by --max-drop"
        )

    def _holds_on_all(self, number: int) -> bool:
        assert self.config.max_drop is not None
        least = self.evaluator.exact_validation.quality_less(self.config.max_drop)
        return self.whole_score(number).quality >= least - 1e-12

    def _candidates(self, ranked: Sequence[Sequence[int]], count: int) -> list[int]:
        """Up to so many useful trials of these ranks, and others if they are too few to test."""
        is_tuned = self.config.finetune != "none"
        most = MOST_DROP_BEFORE_TUNING if is_tuned else MOST_DROP
        least = self.evaluator.exact_searched.quality_less(most)
        chosen: list[int] = []
        for useful, wanted in ((True, count), (False, self.config.finetune_members)):
            for rank in ranked:
                part = [n for n in rank if (self.trials[n].validation.quality >= least) is useful]
                if part and len(chosen) < wanted:
                    chosen += thinned_front(self.trials, part, wanted - len(chosen))
        return chosen

    def _half_tuned(self, number: int) -> Score:
        epochs = self.config.finetune_epochs / 2

        def compute() -> Score:
            seed = self.config.seed + number
            assignment = self.trials[number].assignment
            return self.evaluator.fine_tune(
                assignment, epochs=epochs, seed=seed, reporter=self.reporter
            ).validation

        return self._kept(f"rung-{number}", f"fine-tuned {epochs:g} epochs", compute)

    def _best(
        self, candidates: list[int], score: Callable[[int], Score], count: int, title: str
    ) -> list[int]:
        """The candidates that keep the most hypervolume under ``score``, rank by rank."""
        points = []
        for number in self.reporter.track(candidates, title):
            energy, _, *rest = self.trials[number].objectives
            points.append([energy, objective_score(score(number)), *rest])
        scores = np.array(points)
        worst = scores.max(axis=0) + 0.1 * np.ptp(scores, axis=0) + 1e-9
        left, kept = np.arange(len(scores)), list[int]()
        while len(left) and len(kept) < count:
            chosen = left[thin_front(scores[left], worst, count - len(kept))]
            kept += [candidates[i] for i in chosen]
            # What a chosen one dominates comes next, not what hypervolume left over.
            left = np.setdiff1d(left, left[non_dominated(scores[left])])
        return kept

    def _kept(self, key: str, fidelity: str, compute: Callable[[], Score]) -> Score:
        record: dict[str, Any] | None = self.study.closing(key)
        if record is None:
            record = {"fidelity": fidelity, "validation": compute().to_dict()}
            self.study.keep_closing(key, record)
        return Score.from_dict(record["validation"])


def thinned_front(trials: Mapping[int, Trial], numbers: Sequence[int], count: int) -> list[int]:
    """The ``count`` of these trials that keep the most hypervolume of the search's own scores."""
    points = np.array([trials[n].objectives for n in numbers])
    # The front's own worst, so that its best member in any objective counts for something.
    worst = points.max(axis=0) + 0.1 * np.ptp(points, axis=0) + 1e-9
    worst[0] = max(1.0, worst[0]) if points.shape[1] == 2 else worst[0]
    return [numbers[i] for i in thin_front(points, worst, count)]


def dominated_ranks(trials: Sequence[Trial], count: int) -> list[tuple[int, ...]]:
    """Numbers of the trials of the first ``count`` non-dominated ranks, by rising energy each."""
    left, ranks = list(trials), list[tuple[int, ...]]()
    while left and len(ranks) < count:
        points = np.array([trial.objectives for trial in left])
        ranks.append(tuple(left[index].number for index in non_dominated(points)))
        left = [trial for trial in left if trial.number not in set(ranks[-1])]
    return ranks
