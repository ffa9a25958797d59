"""Trials as tables: trials.csv, front.csv and the closing table."""

from collections import Counter

import pandas as pd
from rich.table import Table

from dse._closing import Closing, uniform_multiplier
from dse._own_routing import OWN_ENERGY
from dse._trial import Trial
from energy import run_files
from models import Score


def trials_frame(closing: Closing) -> pd.DataFrame:
    """One row a trial, in order; accuracies in percent, cross-entropies in nats."""
    front, reported = set(closing.front), set(closing.reported)
    is_partial = closing.exact_searched.images < closing.exact_validation.images
    rows = []
    for trial in closing.trials.values():
        rows.append(
            {
                run_files.TRIAL: trial.number,
                run_files.ORIGIN: trial.origin,
                run_files.ENERGY: trial.energy_rel,
                **_own(closing, trial),
                **_columns(run_files.VALIDATION, trial.validation),
                run_files.FIDELITY: trial.fidelity,
                **_columns(run_files.WHOLE_VALIDATION, trial.whole_validation, when=is_partial),
                **_columns(run_files.TUNED_VALIDATION, trial.tuned_validation),
                **_columns(run_files.TEST, trial.test),
                run_files.ON_FRONT: trial.number in front,
                run_files.REPORTED: trial.number in reported,
                run_files.MULTIPLIERS: mix(trial),
                **({} if trial.third is None else {"worst_circuit": trial.third}),
                run_files.SECONDS: round(trial.seconds, 3),
                "note": trial.note,
                run_files.DIGEST: trial.assignment.digest,
            }
        )
    return pd.DataFrame(rows)


def _own(closing: Closing, trial: Trial) -> dict[str, float | None]:
    """Energy under the trial's own routing; no column at all in a network without experts."""
    if not closing.own_energy:
        return {}
    return {OWN_ENERGY: closing.own_energy.get(trial.number)}


def front_frame(closing: Closing) -> pd.DataFrame:
    """The rows of `trials_frame` that no other trial dominates, by rising energy."""
    frame = trials_frame(closing)
    frame = frame[frame[run_files.ON_FRONT]].sort_values(run_files.ENERGY, kind="stable")
    return frame.drop(columns=run_files.ON_FRONT).reset_index(drop=True)


def mix(trial: Trial) -> str:
    """How many sites each multiplier has, from most to least."""
    names = Counter(choice.multiplier for choice in trial.assignment.choices.values())
    return " ".join(f"{name}×{count}" for name, count in names.most_common())


def closing_table(closing: Closing) -> Table:
    """Front members against the exact network and the best fixed multiplier, for a terminal."""
    table = Table(title="The front against the best fixed multiplier", title_justify="left")
    table.add_column("what", no_wrap=True)
    own = ("own routing",) if closing.own_energy else ()
    for title in ("energy", *own, "of best fixed", "validation %", "tuned %", "test %"):
        table.add_column(title, justify="right")
    table.add_column("multipliers (sites)", overflow="fold")
    scores = (_pct(closing.exact_validation), "", _pct(closing.exact_test))
    table.add_row("exact int8", "", *("" for _ in own), "", *scores, "")
    for number in closing.fixed:
        is_best = number == closing.best_fixed
        name = uniform_multiplier(closing.trials[number])
        what = f"best fixed: {name}" if is_best else f"fixed {name}"
        table.add_row(what, *_cells(closing, number), style="bold" if is_best else None)
    table.add_section()
    for number in closing.reported:
        what = "front" if closing.objective == "pareto" else "answer"
        table.add_row(f"{what}, trial {number}", *_cells(closing, number))
    return table


def trust(closing: Closing) -> list[str]:
    """How far predictions can be trusted, one line each."""
    lines = []
    count = len(closing.trials)
    if closing.screening_rank is not None:
        lines.append(
            f"screening ranks the {count} trials with Spearman {closing.screening_rank:.2f} "
            f"against their measured validation score"
        )
    if closing.surrogate_rank is not None:
        lines.append(
            f"the sampler's own predictions, made before measuring: "
            f"Spearman {closing.surrogate_rank:.2f}"
        )
    return lines


def _cells(closing: Closing, number: int) -> list[str]:
    """A trial's row of the closing table, after what it is."""
    trial = closing.trials[number]
    cells = [f"{trial.energy_rel:.4f}"]
    if closing.own_energy:
        own = closing.own_energy.get(number)
        cells.append("" if own is None else f"{own:.4f}")
    best = None if closing.best_fixed is None else closing.trials[closing.best_fixed]
    cells.append("" if best is None else f"{trial.energy_rel / best.energy_rel:.3f}")
    scores = (trial.validation, trial.tuned_validation, trial.test)
    return [*cells, *map(_pct, scores), mix(trial)]


def _columns(prefix: str, score: Score | None, *, when: bool = True) -> dict[str, float | None]:
    if not when:
        return {}
    return {
        run_files.accuracy_of(prefix): None if score is None else 100 * score.accuracy,
        run_files.cross_entropy_of(prefix): None if score is None else score.cross_entropy,
    }


def _pct(score: Score | None) -> str:
    return "" if score is None else f"{100 * score.accuracy:.2f}"
