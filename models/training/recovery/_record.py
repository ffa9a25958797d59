"""What a recovery did, step by step."""

import dataclasses
from typing import Any

from models.emulation import Assignment, EmulatedNetwork
from models.training._score import Score


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a recovery.

    Attributes:
        name: ``reference``, ``recalibrate``, ``correct bias``, ``tune weights``, ``operand order``
            or ``fine-tune``.
        seconds: wall-clock time, without the scoring before and after.
        note: what a reader must know: why it was skipped, which state was kept.
        skipped: the network had no place for it.
        before: validation score before it, if asked for.
        after: validation score after it, if asked for.
    """

    name: str
    seconds: float
    note: str = ""
    skipped: bool = False
    before: Score | None = None
    after: Score | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Recovered:
    """A network after its recovery.

    Attributes:
        network: the emulated network that was given; it was changed in place.
        assignment: what is at work in it; not what was given if the operand order was chosen.
        steps: what was done, in order.
    """

    network: EmulatedNetwork
    assignment: Assignment
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """Of all steps together."""
        return sum(step.seconds for step in self.steps)

    @property
    def note(self) -> str:
        """All notes in one line."""
        return "; ".join(f"{step.name}: {step.note}" for step in self.steps if step.note)

    def to_dicts(self) -> list[dict[str, Any]]:
        """The steps as plain values for JSON."""
        return [
            vars(step)
            | {
                name: None if score is None else score.to_dict()
                for name, score in (("before", step.before), ("after", step.after))
            }
            for step in self.steps
        ]
