"""Trials as tables: trials.csv, front.csv and the closing table."""

import functools
from collections import Counter
from typing import Any

import pandas as pd
from rich.table import Table

from dse.problem import Trial
from dse.results._closing import Closing, uniform_multiplier
from dse.results._figure import figure
from dse.results._own_routing import OWN_ENERGY
from energy import figures_origin, run_files
from models import Score


def trials_frame(closing: Closing) -> pd.DataFrame:
    """One row per trial, in order; accuracies in percent, cross-entropies in nats.

    By a metric, its own name and ``loss`` take the places of these, as `energy.run_files` says.
    """
    front, reported = set(closing.front), set(closing.reported)
    is_partial = closing.exact_searched.images < closing.exact_validation.images
    columns, rows = functools.partial(_columns, closing.exact_test), []
    for trial in closing.trials.values():
        rows.append(
            {
                run_files.TRIAL: trial.number,
                run_files.ORIGIN: trial.origin,
                run_files.ENERGY: trial.energy_rel,
                **_own(closing, trial),
                **columns(run_files.VALIDATION, trial.validation),
                run_files.FIDELITY: trial.fidelity,
                **columns(run_files.WHOLE_VALIDATION, trial.whole_validation, when=is_partial),
                **columns(run_files.TUNED_VALIDATION, trial.tuned_validation),
                **columns(run_files.TEST, trial.test),
                run_files.ON_FRONT: trial.number in front,
                run_files.REPORTED: trial.number in reported,
                run_files.BEST_OF: ", ".join(best_of(closing, trial.number)),
                run_files.MULTIPLIERS: mix(trial),
                "figures": figures_origin(trial.assignment),
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
    if closing.coverage is not None:
        frame[run_files.COVERAGE] = closing.coverage
    frame = frame[frame[run_files.ON_FRONT]].sort_values(run_files.ENERGY, kind="stable")
    return frame.drop(columns=run_files.ON_FRONT).reset_index(drop=True)


def mix(trial: Trial) -> str:
    """How many sites each multiplier has, from most to least."""
    names = Counter(choice.multiplier for choice in trial.assignment.choices.values())
    return " ".join(f"{name}×{count}" for name, count in names.most_common())


def closing_frame(closing: Closing) -> pd.DataFrame:
    """The exact network, then fixed multipliers and tested front members by falling energy.

    Accuracies are in percent, scores by a metric in its own unit.
    """
    scores = (closing.exact_validation, None, closing.exact_test)
    rows: list[dict[str, Any]] = []
    for number in closing.fixed:
        name = uniform_multiplier(closing.trials[number])
        best = _shown_best(best_of(closing, number), closing)
        what = f"best {best}: {name}" if best else f"fixed {name}"
        rows.append({"what": what, **_figures(closing, number)})
    for number in closing.reported:
        what = "front" if closing.objective == "pareto" else "answer"
        rows.append({"what": f"{what}, trial {number}", **_figures(closing, number)})
    rows.sort(key=lambda row: -closing.trials[row["trial"]].energy_rel)
    frame = pd.DataFrame([{"what": "exact int8", **_scores(scores, closing)}, *rows])
    numbers = frame.columns.difference(["what", "multipliers", "trial", "figures"])
    return frame.astype({"trial": "Int64"} | dict.fromkeys(numbers, "float64"))


def best_of(closing: Closing, number: int) -> list[str]:
    """What a fixed multiplier is the best of, in the words of `energy.run_files.BEST_OF`."""
    bests = {
        "fixed": closing.best_fixed,
        "array": closing.best_array,
        "plain narrow": closing.best_narrow,
    }
    return [kind for kind, best in bests.items() if best == number]


def _shown_best(kinds: list[str], closing: Closing) -> str:
    # Where the arrays are the published ones, the best of them is the best fixed multiplier.
    return ", ".join(kinds[:1] if "fixed" in kinds else kinds)


def closing_table(closing: Closing) -> Table:
    """`closing_frame` for a terminal."""
    frame = closing_frame(closing)
    own = [(OWN_ENERGY, "own routing", 4)] if closing.own_energy else []
    columns = [("energy_rel", "energy", 4), *own, *_SHOWN, *_shown_scores(closing.exact_test)]
    table = Table(
        title="The front against the best fixed multiplier",
        title_justify="left",
        caption="energy of products, of products and accumulations (+ adders), and with weight and "
        "activation traffic for each input (+ memory); how many circuits a chip needs",
        caption_justify="left",
    )
    table.add_column("what", no_wrap=True)
    for _, title, _ in columns:
        table.add_column(title, justify="right")
    table.add_column("power", no_wrap=True)
    table.add_column("multipliers (sites)", overflow="fold", min_width=32)
    for _, row in frame.iterrows():
        cells = [
            "" if pd.isna(row[key]) else f"{row[key]:.{digits}f}" for key, _, digits in columns
        ]
        mixed = "" if pd.isna(row["multipliers"]) else row["multipliers"].replace("mul8s_", "")
        bests = (closing.best_fixed, closing.best_array, closing.best_narrow)
        is_exact = pd.isna(row["trial"])
        is_best = not is_exact and row["trial"] in bests
        is_fixed = row["what"].startswith("fixed ")
        style = "bold" if is_best else "dim" if is_fixed else None
        origin = "" if pd.isna(row["figures"]) else row["figures"]
        table.add_row(row["what"], *cells, origin, mixed, style=style, end_section=is_exact)
    return table


_CIRCUITS = ("circuits", "circuits_area_rel")

_SHOWN = (
    ("of_best_fixed", "of best fixed", 3),
    ("energy_rel_datapath", "+ adders", 3),
    ("energy_rel_memory", "+ memory", 3),
    ("circuits", "circuits", 0),
)

_WHEN = ("validation", "tuned", "test")
"""Scores of the closing table: as searched, fine-tuned, on test images."""


def _shown_scores(exact: Score) -> list[tuple[str, str, int]]:
    unit, digits = ("%", 2) if exact.is_accuracy else (exact.measure.name, 4)
    return [(_column(when, exact), f"{when} {unit}", digits) for when in _WHEN]


def trust(closing: Closing) -> list[str]:
    """How far figures and predictions can be trusted, one line each."""
    lines = []
    if closing.coverage is not None:
        lines.append(f"coverage: {closing.coverage:.1%} of the multiply-accumulates are sites'")
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


def _figures(closing: Closing, number: int) -> dict[str, object]:
    """A trial's row of the closing table, after what it is."""
    trial = closing.trials[number]
    best = None if closing.best_fixed is None else closing.trials[closing.best_fixed]
    return {
        "trial": number,
        "energy_rel": trial.energy_rel,
        **_own(closing, trial),
        "of_best_fixed": None if best is None else trial.energy_rel / best.energy_rel,
        **{f"energy_rel_{model}": rel for model, rel in closing.energies.get(number, {}).items()},
        **dict(zip(_CIRCUITS, closing.circuits.get(number, ()), strict=False)),
        **_scores((trial.validation, trial.tuned_validation, trial.test), closing),
        "figures": figures_origin(trial.assignment),
        "multipliers": mix(trial),
    }


def _scores(
    scores: tuple[Score | None, Score | None, Score | None], closing: Closing
) -> dict[str, object]:
    return {
        _column(name, closing.exact_test): None if score is None else figure(score)
        for name, score in zip(_WHEN, scores, strict=True)
    }


def _column(when: str, like: Score) -> str:
    """The column of such a score, in a measure like another's."""
    return f"{when}_accuracy_pct" if like.is_accuracy else f"{when}_{like.measure.name}"


def _columns(
    like: Score, prefix: str, score: Score | None, *, when: bool = True
) -> dict[str, float | None]:
    """Figure and loss of a score in a measure like another's."""
    if not when:
        return {}
    names = run_files.accuracy_of(prefix), run_files.cross_entropy_of(prefix)
    if not like.is_accuracy:
        names = run_files.metric_of(prefix, like.measure.name), run_files.loss_of(prefix)
    figures = (None, None) if score is None else (figure(score), score.loss)
    return dict(zip(names, figures, strict=True))
