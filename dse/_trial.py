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
        test: score on the test split, if it was reported.
        note: what else a reader must know, such as which state fine-tuning kept.
    """

    number: int
    origin: str
    assignment: Assignment
    energy_rel: float
    validation: Score
    fidelity: str
    seconds: float
    tuned_validation: Score | None = None
    test: Score | None = None
    note: str = ""

    @property
    def objectives(self) -> tuple[float, float]:
        """Energy and the validation score at ``fidelity``, both to be minimised."""
        return self.energy_rel, objective_score(self.validation)

    @property
    def best_validation(self) -> Score:
        """The validation score after all the recovery that this trial got."""
        return self.tuned_validation or self.validation
