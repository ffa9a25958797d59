"""A finished search as a value: its front, its answers, its networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from dse.problem import Trial
from dse.results._closing import Closing
from dse.results._export import Exported, ExportSettings, Source, export
from dse.results._pictures import draw_front
from dse.results._tables import closing_frame, trials_frame
from dse.scoring import Evaluator
from dse.study import SearchConfig
from luts.console import SILENT, Reporter
from luts.errors import InputError
from luts.settings import read_settings
from models import Assignment, EmulatedNetwork

SAME_NETWORK = 1e-3
"""Losses of one network on two machines differ by less, in nats."""


class Result:
    """What a search has found.

    Attributes:
        closing: every figure of it, as plain values.
        config: what the search was asked to do.
        path: the run folder, or None if nothing was written.
    """

    def __init__(
        self,
        closing: Closing,
        config: SearchConfig,
        path: Path | None,
        make_evaluator: Callable[[], Evaluator],
    ) -> None:
        self.closing = closing
        self.config = config
        self.path = path
        self._make_evaluator = make_evaluator
        self._evaluator: Evaluator | None = None

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else str(self.path)
        return (
            f"<Result of {len(self.closing.trials)} trials, {self.config.title}: "
            f"{len(self.front)} on the front, {where}>"
        )

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every scored trial, in order."""
        return tuple(self.closing.trials.values())

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other dominates, by rising energy."""
        return tuple(self.closing.trials[number] for number in self.closing.front)

    @property
    def fixed(self) -> tuple[Trial, ...]:
        """One multiplier everywhere, in its better operand order, by falling energy."""
        return tuple(self.closing.trials[number] for number in self.closing.fixed)

    @property
    def best_fixed(self) -> Trial | None:
        """The cheapest of `fixed` within one point of the exact network, or None.

        Among those with published or given figures, if there are any.
        """
        return self._numbered(self.closing.best_fixed)

    @property
    def best_array(self) -> Trial | None:
        """The cheapest array of `fixed` within one point of the exact network, or None."""
        return self._numbered(self.closing.best_array)

    @property
    def best_narrow(self) -> Trial | None:
        """Likewise the cheapest exact product of fewer bits, nothing else cut, or None."""
        return self._numbered(self.closing.best_narrow)

    def _numbered(self, number: int | None) -> Trial | None:
        return None if number is None else self.closing.trials[number]

    def best(self, *, max_drop: float | None = None, max_energy: float | None = None) -> Trial:
        """One answer, among the trials that were recovered in full and tested.

        Args:
            max_drop: percentage points of the exact int8 network's validation accuracy, or points
                of a metric (`models.Measure.hundred_points`), that may be given up; the answer is
                the cheapest trial within.
            max_energy: largest relative energy; the answer is the most accurate trial within, or
                the best by a metric, on validation images.

        Raises:
            InputError: not exactly one limit is given, or no trial meets it.
        """
        if (max_drop is None) == (max_energy is None):
            raise InputError("best takes one limit: max_drop in points, or max_energy")
        tested = [trial for trial in self.trials if trial.test is not None]
        exact = self.closing.exact_validation
        if max_drop is not None:
            least = exact.quality_less(max_drop) - 1e-12
            within = [t for t in tested if t.best_validation.quality >= least]
            if within:
                return min(within, key=lambda t: (t.energy_rel, -t.best_validation.quality))
            limit = f"loses at most {max_drop:g} points of {exact.shown(2)}"
        else:
            assert max_energy is not None
            within = [t for t in tested if t.energy_rel <= max_energy + 1e-12]
            if within:
                return max(within, key=lambda t: (t.best_validation.quality, -t.energy_rel))
            limit = f"has an energy of at most {max_energy:g}"
        raise InputError(
            f"none of {len(tested)} tested trials {limit}: allow more, or search with more trials"
        )

    def table(self) -> pd.DataFrame:
        """Fixed multipliers and tested front members beside the exact network, by falling energy.

        Accuracies are in percent, scores by a metric in its own unit, energies relative to the
        dense network with the exact multiplier.
        """
        return closing_frame(self.closing)

    def trials_table(self) -> pd.DataFrame:
        """Every trial, as in ``trials.csv``."""
        return trials_frame(self.closing)

    def plot(self) -> Figure:
        """The two panels of ``front.png``; a notebook shows them."""
        return draw_front(self.closing, self.config)

    def assignment(self, trial: Trial | int) -> Assignment:
        """What a trial tried.

        Raises:
            InputError: there is no such trial.
        """
        return self._trial(trial).assignment

    def emulated(self, trial: Trial | int) -> EmulatedNetwork:
        """The network of a trial, recovered as it was tested, ready to run.

        A trial that was fine-tuned is fine-tuned again, to the same weights on the same machine.

        Raises:
            InputError: there is no such trial, or the network was in memory only and was not given
                to `dse.read_run`.
        """
        chosen = self._trial(trial)
        if self._evaluator is None:
            self._evaluator = self._make_evaluator()
        if chosen.tuned_validation is None:
            return self._evaluator.recovered(chosen.assignment)
        return self._evaluator.fine_tune(
            chosen.assignment,
            epochs=self.config.finetune_epochs,
            seed=self.config.seed + chosen.number,
        ).network

    def export(
        self,
        trial: Trial | int,
        path: str | Path,
        *,
        reporter: Reporter = SILENT,
        **settings: Any,
    ) -> Exported:
        """Write a trial as files for hardware, as ``python -m dse.export`` does.

        Args:
            trial: or its number.
            path: folder, new or empty.
            reporter: shows progress.
            settings: fields of `ExportSettings`.

        Raises:
            InputError: there is no such trial, the folder is not empty, a setting is unknown or
                fits no site, or the network is not the one that was searched.
        """
        chosen = self._trial(trial)
        asked = read_settings(ExportSettings, settings, title="an export")

        def source() -> Source:
            network = self.emulated(chosen)
            assert self._evaluator is not None
            self._check_network(self._evaluator)
            reference, images = self._evaluator.emulated, self._evaluator.inputs
            return Source(self.config.title, chosen, network, reference, images)

        return export(source, Path(path), asked, reporter)

    def _check_network(self, evaluator: Evaluator) -> None:
        found, kept = evaluator.exact_validation, self.closing.exact_validation
        if abs(found.loss - kept.loss) > SAME_NETWORK:
            what = "cross-entropy" if kept.is_accuracy else "loss"
            raise InputError(
                f"the network scores a {what} of {found.loss:.4f} with the exact "
                f"multiplier, and the one that was searched {kept.loss:.4f}: its weights, "
                f"its data or the run's config.toml were changed; search again"
            )

    def _trial(self, trial: Trial | int) -> Trial:
        number = trial.number if isinstance(trial, Trial) else trial
        if number not in self.closing.trials:
            raise InputError(
                f"there is no scored trial {number}: they are numbered from 0 to "
                f"{max(self.closing.trials)}"
            )
        return self.closing.trials[number]
