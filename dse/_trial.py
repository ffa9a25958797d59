"""One evaluated assignment."""

import dataclasses

from models import Assignment, Score


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is known of an assignment that was tried.

    Attributes:
        number: of the trial in its study.
        origin: who proposed it: ``uniform``, ``screening``, or a sampler's name.
        assignment: what was tried.
        energy_rel: relative to the dense network with the exact multiplier.
        validation: score on the validation split at ``fidelity``, what the search compares.
        fidelity: how the network was recovered before that score: ``bias-corrected`` or
            ``fine-tuned``.
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
    def best_validation(self) -> Score:
        """The validation score after all the recovery that this trial got."""
        return self.tuned_validation or self.validation
