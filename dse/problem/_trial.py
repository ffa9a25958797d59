"""A trial from proposal to record: what is proposed, what scoring found, what is kept."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dse.problem._space import Codes
from models import FEW_IMAGES, Assignment, Score

FINE_TUNED = "fine-tuned"
"""Fidelity of a trial that was fine-tuned before it was scored."""


def objective_score(score: Score) -> float:
    """What a search minimises beside energy.

    The cross-entropy on a small validation split, where it tells candidates apart that accuracy
    cannot; the error rate on a large one. Of a metric, what it lacks to the best value.
    """
    is_by_loss = score.is_accuracy and score.images < FEW_IMAGES
    return score.loss if is_by_loss else score.shortfall


@dataclasses.dataclass(frozen=True)
class Pending:
    """A trial that waits for its scores.

    Attributes:
        number: of the trial.
        origin: who proposed it.
        codes: what to score, as codes.
        assignment: what to score.
        trial_id: of the trial in its database.
    """

    number: int
    origin: str
    codes: Codes = dataclasses.field(compare=False)
    assignment: Assignment
    trial_id: int = dataclasses.field(default=-1, repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What scoring an assignment found.

    Attributes:
        validation: score on validation images after recovery without fine-tuning.
        fidelity: what that recovery was, in a few words.
        seconds: wall-clock time.
        tuned: score after fine-tuning, if it was asked for.
        note: which state fine-tuning kept.
    """

    validation: Score
    fidelity: str
    seconds: float
    tuned: Score | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is known of an assignment that was tried.

    Attributes:
        number: of the trial in its study.
        origin: who proposed it: ``uniform``, ``screening``, or a sampler's name.
        assignment: what was tried.
        energy_rel: relative to the dense network with the exact multiplier.
        validation: score on the validation split at ``fidelity``, what the search compares.
        fidelity: how the network was recovered before that score: ``recalibrated``,
            ``bias-corrected`` or ``fine-tuned``, say.
        seconds: that scoring took.
        tuned_validation: score on the validation split after fine-tuning, if it was fine-tuned too.
        whole_validation: score on the whole validation split without fine-tuning, if it was taken
            and the search scores on fewer images.
        test: score on the test split, if it was reported.
        note: what else a reader must know, such as which state fine-tuning kept.
        third: delay (ns) or area (um²) of the worst circuit, where that is an objective.
        predicted: score that the sampler expected when it proposed the trial, if it did.
    """

    number: int
    origin: str
    assignment: Assignment
    energy_rel: float
    validation: Score
    fidelity: str
    seconds: float
    tuned_validation: Score | None = None
    whole_validation: Score | None = None
    test: Score | None = None
    note: str = ""
    third: float | None = None
    predicted: float | None = None

    @property
    def objectives(self) -> tuple[float, ...]:
        """Energy, the validation score at ``fidelity`` and the third, all to be minimised."""
        pair = (self.energy_rel, objective_score(self.validation))
        return pair if self.third is None else (*pair, self.third)

    @property
    def best_validation(self) -> Score:
        """The validation score after all the recovery that this trial got."""
        return self.tuned_validation or self.whole_validation or self.validation

    @classmethod
    def of(
        cls, pending: Pending, outcome: Outcome, *, energy_rel: float, third: float | None = None
    ) -> "Trial":
        """What is kept of a proposal and what scoring it found."""
        return cls(
            number=pending.number,
            origin=pending.origin,
            assignment=pending.assignment,
            energy_rel=energy_rel,
            validation=outcome.validation if outcome.tuned is None else outcome.tuned,
            fidelity=outcome.fidelity if outcome.tuned is None else FINE_TUNED,
            seconds=outcome.seconds,
            tuned_validation=outcome.tuned,
            note=outcome.note,
            third=third,
        )

    def to_record(self) -> dict[str, Any]:
        """What scoring found, as plain values; the proposal is kept apart."""
        record = vars(self).copy()
        for known in ("number", "origin", "assignment", "predicted"):
            del record[known]
        return {k: v.to_dict() if isinstance(v, Score) else v for k, v in record.items()}

    def closed(self, record: Mapping[str, Any]) -> "Trial":
        """The trial with what the close of its search added.

        Args:
            record: scores ``tuned_validation`` (or None) and ``test``, and ``note``.
        """
        tuned = record["tuned_validation"]
        return dataclasses.replace(
            self,
            tuned_validation=None if tuned is None else Score.from_dict(tuned),
            test=Score.from_dict(record["test"]),
            note=record["note"],
        )

    @classmethod
    def from_record(
        cls,
        record: Mapping[str, Any],
        *,
        number: int,
        assignment: Assignment,
        proposal: Mapping[str, Any],
    ) -> "Trial":
        """The inverse of `to_record`.

        Args:
            record: what scoring found.
            number: of the trial.
            assignment: what was tried.
            proposal: with ``origin``, and ``predicted`` if the sampler predicted a score.
        """
        scores: dict[str, Score | None] = {}
        for field in ("validation", "tuned_validation", "whole_validation", "test"):
            kept = record.get(field)  # a study of an earlier version may lack it
            scores[field] = None if kept is None else Score.from_dict(kept)
        return cls(
            number=number,
            origin=proposal["origin"],
            assignment=assignment,
            predicted=proposal.get("predicted"),
            **{**record, **scores},
        )
