"""One evaluated assignment."""

import dataclasses

from models import Assignment, Score

FEW_IMAGES = 2_000
"""Below this many images one image moves accuracy too far to tell candidates apart."""


def objective_score(score: Score) -> float:
    """What a search minimises beside energy.

    The cross-entropy on a small validation split, where it tells candidates apart that accuracy
    cannot; the error rate on a large one.
    """
    return score.cross_entropy if score.images < FEW_IMAGES else 1 - score.accuracy


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
