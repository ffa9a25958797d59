"""What a sampler knows of the study, read incrementally."""

from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dse.problem import Codes
from dse.samplers._record import ASSIGNMENT, RESULT, codes_of
from models import Score


class TrialHistory:
    """Assignments and objective values of a study's trials, each read once.

    Attributes:
        origins: who proposed each complete trial, in order of their numbers.
        records: what the sampler kept with each complete trial.
    """

    def __init__(self, size: int) -> None:
        self._codes = np.empty((64, size), dtype=np.int16)
        self._values = np.empty((64, 0))
        self._count = 0
        self._seen: set[int] = set()
        self._rows: dict[bytes, int] = {}
        self.origins: list[str] = []
        self.records: list[dict[str, Any]] = []
        self._qualities: list[float] = []
        self.pending: list[Codes] = []

    def update(self, study: Study, *, without: int = -1) -> None:
        """Read what is new; ``without`` is the number of the trial that is being proposed."""
        self.pending = []
        for trial in study.get_trials(deepcopy=False):
            if trial.number in self._seen or trial.number == without:
                continue
            if trial.state == TrialState.COMPLETE:
                self._add(trial)
            elif trial.state == TrialState.FAIL:
                self._seen.add(trial.number)
            elif ASSIGNMENT in trial.user_attrs:
                self.pending.append(codes_of(trial.user_attrs[ASSIGNMENT]))

    def _add(self, trial: FrozenTrial) -> None:
        record, values = trial.user_attrs[ASSIGNMENT], trial.values
        if self._count == 0:
            self._values = np.empty((len(self._codes), len(values)))
        if self._count == len(self._codes):
            self._codes = np.concatenate([self._codes, np.empty_like(self._codes)])
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        codes = codes_of(record)
        self._rows.setdefault(_key(codes), self._count)
        self._codes[self._count] = codes
        self._values[self._count] = values
        self._count += 1
        self._seen.add(trial.number)
        self._qualities.append(_score(trial).quality)
        self.origins.append(record["origin"])
        self.records.append({k: v for k, v in record.items() if k not in ("origin", "codes")})

    def __len__(self) -> int:
        return self._count

    @property
    def codes(self) -> npt.NDArray[np.int16]:
        """Codes of the complete trials, int16 of shape ``(trials, groups)``."""
        return self._codes[: self._count]

    @property
    def every(self) -> list[Codes]:
        """Codes of each trial that is complete or being tried, int64 of shape ``(groups,)``."""
        return [*self.codes.astype(np.int64), *self.pending]

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Their objectives, float64 of shape ``(trials, objectives)``."""
        return self._values[: self._count]

    @property
    def qualities(self) -> npt.NDArray[np.float64]:
        """Their validation accuracies, or qualities by a metric, float64 of shape ``(trials,)``."""
        return np.array(self._qualities)

    def row_of(self, codes: Codes) -> int | None:
        """Index of the complete trial that first tried an assignment, or None."""
        return self._rows.get(_key(codes))

    def is_known(self, codes: Codes) -> bool:
        """Whether the assignment was tried, or is being tried."""
        return _key(codes) in self._rows or any(
            np.array_equal(codes, pending) for pending in self.pending
        )


def _score(trial: FrozenTrial) -> Score:
    return Score.from_dict(trial.user_attrs[RESULT]["validation"])


def _key(codes: Codes) -> bytes:
    return codes.astype(np.int16).tobytes()
