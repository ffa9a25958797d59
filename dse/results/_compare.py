"""Finished runs side by side: one reference point, hypervolumes, and what their fronts share."""

import dataclasses
import fnmatch
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dse.problem import hypervolume, non_dominated
from dse.results._closing import BEST_FIXED_MARGIN, is_array, is_narrow, is_priced
from dse.results._run_folder import ASSIGNMENTS, Run
from dse.results._stored_run import read_closing
from dse.study import ALL
from energy import Figures, published_figures, recovered_accuracy, run_files
from luts import EXACT
from luts.errors import InputError
from luts.text import drawn, quoted
from models import Assignment, Measure
from models.training import ACCURACY

Floats = npt.NDArray[np.float64]
TRIALS = run_files.TRIALS
# Okabe and Ito's colours, which people with every kind of colour vision tell apart.
TOPOLOGY_COLOURS = {
    "dense": "#0072B2",
    "hard": "#D55E00",
    "soft": "#009E73",
    "cluster": "#CC79A7",
}


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that was closed.

    Attributes:
        folder: its run folder, which knows its configuration.
        trials: its trials.csv.
        front: assignments of its front by trial number.
        energy_model: what its energies count; with the convention where it was re-costed.
        measure: what it was searched by.
    """

    folder: Run
    trials: pd.DataFrame
    front: dict[int, Assignment]
    energy_model: str
    measure: Measure = ACCURACY

    @property
    def name(self) -> str:
        """The folder's name, with that of the search of all topologies that it is part of."""
        path = self.folder.path
        is_part = path.name == self.folder.config.topology
        return f"{path.parent.name}/{path.name}" if is_part else path.name


def read_runs(paths: Sequence[Path], *, any_model: bool = False) -> list[Finished]:
    """Runs that can be compared.

    Args:
        paths: their folders; the folder of a search of all topologies stands for those in it.
        any_model: they may have searched under different energy models, to be re-costed.

    Raises:
        InputError: a folder is not a finished run, or the runs measure different things.
    """
    runs = [_read(part) for path in paths for part in _parts(path)]
    models = {run.energy_model for run in runs}
    if len(models) > 1 and not any_model:
        raise InputError(
            f"runs of different energy models ({', '.join(sorted(models))}) cannot be compared as "
            f"they are; --energy-model NAME costs all of them under one"
        )
    for field in ("dataset", "image_size", "metric"):
        values = {str(getattr(run.folder.config, field)) for run in runs}
        if len(values) > 1:
            raise InputError(
                f"runs of different {field.replace('_', ' ')} ({', '.join(sorted(values))}) "
                f"cannot be compared; name runs of one"
            )
    fidelities = {f for run in runs for f in run.trials[run_files.FIDELITY].unique()}
    if len(fidelities) > 1:
        raise InputError(
            f"trials scored at different fidelity ({', '.join(sorted(fidelities))}) cannot be "
            f"compared; name runs with the same --finetune"
        )
    return runs


def _parts(path: Path) -> list[Path]:
    """The run folders in that of a search of all topologies, or the folder itself."""
    folder = Run.open(path)
    return [path] if folder.config.topology != ALL else [path / t for t in folder.config.topologies]


def _read(path: Path) -> Finished:
    folder = Run.open(path)
    try:
        trials = pd.read_csv(path / TRIALS)
        on_front = trials.loc[trials[run_files.ON_FRONT], run_files.TRIAL]
        files = {n: path / ASSIGNMENTS / run_files.member_file(n) for n in on_front}
        front = {number: Assignment.read(file) for number, file in files.items()}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not finished ({error}); go on with python -m dse.search --resume "
            f"{quoted(path)}"
        ) from error
    is_own = folder.config.metric is not None
    measure = read_closing(folder).exact_test.measure if is_own else ACCURACY
    return Finished(folder, trials, front, folder.config.energy_model, measure)


def points_of(run: Finished) -> Floats:
    """Energy and validation cross-entropy of the trials, shape ``(trials, 2)``.

    By a metric, what they lack to its best value in the place of the cross-entropy.
    """
    return np.column_stack(
        [run.trials[run_files.ENERGY].to_numpy(dtype=np.float64), scores_of(run)]
    )


def scores_of(run: Finished) -> Floats:
    """The second of `points_of`, shape ``(trials,)``."""
    measure = run.measure
    if measure == ACCURACY:
        return run.trials[run_files.VALIDATION_CROSS_ENTROPY].to_numpy(dtype=np.float64)
    values = run.trials[_figure_column(run, run_files.VALIDATION)].to_numpy(dtype=np.float64)
    return np.asarray(measure.best - values if measure.higher_is_better else values - measure.best)


def minimised(runs: Sequence[Finished]) -> str:
    """What `scores_of` is, in words."""
    measure = runs[0].measure
    return "cross-entropy" if measure == ACCURACY else f"distance to the best {measure.name}"


def shared_reference(runs: Sequence[Finished]) -> Floats:
    """One reference point: energy 1, and a tenth above the worst cross-entropy of any front.

    Where memory counts, experts can cost more than the dense network: then the energy is a tenth
    above the dearest of the runs' cheapest trials, so that every run has a volume.
    """
    points = [points_of(run) for run in runs]
    cheapest = max(p[:, 0].min() for p in points)
    worst = max(p[non_dominated(p), 1].max() for p in points)
    return np.array([max(1.0 + 1e-9, 1.1 * cheapest), 1.1 * worst])


def summary(runs: Sequence[Finished]) -> pd.DataFrame:
    """One row per run: trials, front, hypervolumes, best fixed multipliers of each kind."""
    reference = shared_reference(runs)
    rows = []
    for run in runs:
        points = points_of(run)
        fixed = (run.trials[run_files.ORIGIN] == "uniform").to_numpy()
        rows.append(
            {
                "run": run.name,
                "sampler": run.folder.config.sampler,
                "seed": run.folder.config.seed,
                "trials": len(points),
                "front": len(non_dominated(points)),
                "hypervolume": hypervolume(points, reference),
                "hypervolume_fixed": hypervolume(points[fixed], reference),
                **_best_of_each(run),
            }
        )
    return pd.DataFrame(rows)


def _best_of_each(run: Finished) -> dict[str, str]:
    """The cheapest fixed multipliers within one point of the exact one, as `close` judges them.

    Of those with published or given figures (of all, if there are none), of the arrays, and of the
    plain narrow ones. What was tested counts, by the accuracy after all its recovery, against that
    of the exact one (of the dearest one, if that was not among them) before any fine-tuning.
    """
    fixed = run.trials[run.trials[run_files.ORIGIN] == "uniform"]
    columns = [_figure_column(run, score) for score in (run_files.TUNED_VALIDATION, run_files.TEST)]
    if fixed[columns[1]].notna().any():
        fixed = fixed[fixed[columns[1]].notna()]
    if fixed.empty:
        return dict.fromkeys(("best_fixed", "best_array", "best_narrow"), "")
    accuracy = _recovered_quality(run, fixed)
    untuned = _recovered_quality(run, fixed.drop(columns=columns[0]))
    names = fixed[run_files.MULTIPLIERS].str.split("×").str[0]
    is_exact = (names == EXACT).to_numpy()
    best = is_exact.argmax() if is_exact.any() else fixed[run_files.ENERGY].to_numpy().argmax()
    margin = _margin(run, float(untuned.to_numpy()[best]))
    is_good = (accuracy >= untuned.to_numpy()[best] - margin).to_numpy(copy=True)
    # Fine-tuning keeps the better state, so that the reference itself is good enough.
    is_good[best] = True
    energies = fixed[run_files.ENERGY]

    def cheapest(kind: pd.Series) -> str:
        mine = energies[kind.to_numpy(dtype=bool) & is_good]
        return f"{names[mine.idxmin()]} at {mine.min():.3f}" if len(mine) else ""

    priced = names.map(is_priced)
    return {
        "best_fixed": cheapest(priced if priced.any() else ~priced),
        "best_array": cheapest(names.map(is_array)),
        "best_narrow": cheapest(names.map(is_narrow)),
    }


def _figure_column(run: Finished, score: str) -> str:
    if run.measure == ACCURACY:
        return run_files.accuracy_of(score)
    return run_files.metric_of(score, run.measure.name)


def _recovered_quality(run: Finished, table: pd.DataFrame) -> pd.Series:
    """Accuracy in percent, or quality by a metric, each after most recovery that it had."""
    if run.measure == ACCURACY:
        return recovered_accuracy(table)
    value = table[_figure_column(run, run_files.VALIDATION)]
    for score in (run_files.WHOLE_VALIDATION, run_files.TUNED_VALIDATION):
        if _figure_column(run, score) in table:
            value = table[_figure_column(run, score)].fillna(value)
    return value if run.measure.higher_is_better else -value


def _margin(run: Finished, quality: float) -> float:
    """Within which a fixed multiplier is acceptable, in the unit of `_recovered_quality`."""
    if run.measure == ACCURACY:
        return BEST_FIXED_MARGIN
    value = quality if run.measure.higher_is_better else -quality
    return BEST_FIXED_MARGIN * run.measure.hundred_points(value) / 100


def tolerance(runs: Sequence[Finished], figures: Figures | None = None) -> pd.DataFrame:
    """What each site of the fronts has, from the most to the least tolerant.

    Routers and sites that ``--exact`` names had no choice and are left out.

    Returns:
        One row per site: its commonest multiplier, the share of front members that have it there,
        and the mean relative power of all that it has, which is low where a site tolerates much.
    """
    figures = published_figures() if figures is None else figures
    chosen: dict[str, list[str]] = {}
    for run in runs:
        pinned = _pinned(run)
        for assignment in run.front.values():
            for site, choice in assignment.choices.items():
                if any(fnmatch.fnmatchcase(site, pattern) for pattern in pinned):
                    continue
                chosen.setdefault(site, []).append(choice.multiplier)
    rows = []
    for site, names in chosen.items():
        common, count = Counter(names).most_common(1)[0]
        rows.append(
            {
                "site": site,
                "mean_power_rel": float(np.mean([figures.relative(name) for name in names])),
                "commonest": common,
                "share": count / len(names),
            }
        )
    return pd.DataFrame(rows).sort_values("mean_power_rel", kind="stable", ignore_index=True)


def _pinned(run: Finished) -> list[str]:
    """Patterns of the sites that stayed exact."""
    routing = run.folder.routing()
    routers = [] if routing is None else [f"{layer}.router" for layer in routing.rates]
    return [*run.folder.config.exact, *routers]


def draw(path: Path, runs: Sequence[Finished]) -> None:
    """All fronts in one figure, and the joint one; runs of several topologies in their colours."""
    topologies = [run.folder.config.topology for run in runs]
    by_topology = len(set(topologies)) == len(runs) > 1
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    axes = figure.subplots()
    for run in runs:
        points = points_of(run)
        front = points[non_dominated(points)]
        topology = run.folder.config.topology
        colour = TOPOLOGY_COLOURS[topology] if by_topology else None
        label = topology if by_topology else drawn(run.name)
        line = axes.step(front[:, 0], front[:, 1], where="post", label=label, color=colour)[0]
        axes.plot(*front.T, "o", markersize=4, color=line.get_color())
    if len(runs) > 1:
        points = np.concatenate([points_of(run) for run in runs])
        joint = points[non_dominated(points)]
        axes.step(*joint.T, where="post", color="black", linewidth=2.5, alpha=0.25, label="joint")
    _draw_fixed(axes, runs, by_topology=by_topology)
    axes.set_yscale("log")
    axes.set_ylim(top=2 * shared_reference(runs)[1])
    axes.set_xlabel(f"energy ({runs[0].energy_model}), relative to dense and exact")
    unit = " (nats)" if runs[0].measure == ACCURACY else ""
    axes.set_ylabel(f"validation {minimised(runs)}{unit}, log scale")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    arch = runs[0].folder.config.arch
    title = f"{arch} on {runs[0].folder.config.dataset}" if by_topology else ""
    axes.set_title(drawn(title), loc="left")
    figure.savefig(path, dpi=130, format="png")


def _draw_fixed(axes: Axes, runs: Sequence[Finished], *, by_topology: bool) -> None:
    """Fixed multipliers: of every topology in its colour, else of the first run."""
    for index, run in enumerate(runs if by_topology else runs[:1]):
        is_fixed = (run.trials[run_files.ORIGIN] == "uniform").to_numpy()
        colour = TOPOLOGY_COLOURS[run.folder.config.topology] if by_topology else "#d95f02"
        axes.plot(
            *points_of(run)[is_fixed].T,
            "s",
            color=colour,
            alpha=0.5,
            label="fixed multipliers" if index == 0 else None,
        )


def as_rows(frame: pd.DataFrame) -> list[list[str]]:
    """Cells as a person reads them."""

    def shown(value: Any) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    return [[shown(value) for value in row] for row in frame.itertuples(index=False)]
