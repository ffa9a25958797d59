"""Search with several seeds, then compare with the best fixed multiplier, recovered alike."""

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from luts.console import Parser, Reporter
from luts.errors import InputError, suggest
from models.training import atomically

HERE = Path(__file__).parent
MARGIN_POINTS = 0.3
ENERGY_RATIO = 0.9


@dataclasses.dataclass(frozen=True)
class Preset:
    """One matrix of searches.

    Attributes:
        arch: architecture.
        topologies: of the network.
        dataset: what it classifies.
        seeds: one search each.
        trials: assignments scored in a search.
    """

    arch: str
    topologies: tuple[str, ...]
    dataset: str
    seeds: tuple[int, ...]
    trials: int


def main() -> None:
    """Run what is missing, then write table, figure and summary."""
    parser = Parser(prog="python -m studies.searched_vs_fixed", description=__doc__)
    parser.add_argument("--preset", default="digits", help="table of config.toml")
    parser.add_argument("--runs", type=Path, default=Path("runs/searched_vs_fixed"))
    arguments = parser.parse_args()
    preset = read_preset(arguments.preset)
    reporter = Reporter()
    rows = []
    for topology in preset.topologies:
        runs = {}
        for seed in preset.seeds:
            path = arguments.runs / f"{arguments.preset}-{topology}-{seed}"
            _search(preset, topology, seed, path, reporter)
            runs[seed] = pd.read_csv(path / "trials.csv")
        rows += candidates(runs, topology)
    table = pd.DataFrame(rows)
    name = f"{preset.arch}-{arguments.preset}-{len(preset.seeds)}seeds-{preset.trials}trials"
    results = HERE / "results"
    with atomically(results / f"{name}.csv") as temporary:
        table.to_csv(temporary, index=False)
    first = arguments.runs / f"{arguments.preset}-{preset.topologies[0]}-{preset.seeds[0]}"
    with atomically(results / f"{name}.config.toml") as temporary:
        temporary.write_text((first / "config.toml").read_text(encoding="utf-8"), encoding="utf-8")
    with atomically(results / f"{name}.png") as temporary:
        _draw(temporary, table, preset)
    for topology in preset.topologies:
        print(summary(table[table["topology"] == topology]))


def read_preset(name: str) -> Preset:
    """A table of config.toml.

    Raises:
        InputError: there is no such table.
    """
    tables = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    if name not in tables:
        raise InputError(f"unknown preset {name!r}; {suggest(name, list(tables))}")
    table = tables[name]
    return Preset(
        arch=table["arch"],
        topologies=tuple(table["topologies"]),
        dataset=table["dataset"],
        seeds=tuple(table["seeds"]),
        trials=table["trials"],
    )


def _search(preset: Preset, topology: str, seed: int, path: Path, reporter: Reporter) -> None:
    """One search by the main command, resumed or skipped where an earlier call left it."""
    if (path / "front.csv").exists():
        return
    reporter.note(f"search: {preset.arch} {topology} on {preset.dataset}, seed {seed}")
    command = [sys.executable, "-m", "dse.search"]
    if (path / "config.toml").exists():
        command += ["--resume", str(path)]
    else:
        command += ["--arch", preset.arch, "--topology", topology, "--dataset", preset.dataset]
        command += ["--seed", str(seed), "--trials", str(preset.trials), "--out", str(path)]
    if subprocess.run(command).returncode:
        raise InputError(f"the search in {path} failed; its message is above")


def candidates(runs: dict[int, pd.DataFrame], topology: str) -> list[dict[str, object]]:
    """The best fixed multiplier and every tested front member of all seeds, one row each.

    The best fixed multiplier is one circuit for all seeds, as a chip has it: the cheapest whose
    validation accuracy after recovery, mean over the seeds, lies within a point of the exact
    multiplier's. ``chosen`` marks the front member of a seed that a user would take who wants at
    least a tenth less energy: of those, the best by validation cross-entropy.

    Args:
        runs: seed → its trials.csv.
        topology: of the network.
    """
    best_name = best_fixed(runs)
    rows = []
    for seed, trials in runs.items():
        tested = trials.dropna(subset="test_accuracy_pct")
        best = _fixed(tested).loc[best_name]
        members = tested[tested["reported"] & (tested["trial"] != best["trial"])]
        cheaper = members[members["energy_rel"] <= ENERGY_RATIO * best["energy_rel"]]
        chosen = cheaper.sort_values("tuned_validation_cross_entropy")["trial"].head(1).tolist()
        for kind, row in [("best fixed", best), *(("front", r) for _, r in members.iterrows())]:
            rows.append(
                {
                    "topology": topology,
                    "seed": seed,
                    "kind": kind,
                    "trial": row["trial"],
                    "energy_rel": row["energy_rel"],
                    "energy_of_best_fixed": row["energy_rel"] / best["energy_rel"],
                    "validation_accuracy_pct": row["tuned_validation_accuracy_pct"],
                    "test_accuracy_pct": row["test_accuracy_pct"],
                    "test_minus_best_fixed": row["test_accuracy_pct"] - best["test_accuracy_pct"],
                    "chosen": row["trial"] in chosen,
                    "multipliers": row["multipliers"],
                }
            )
    return rows


def best_fixed(runs: dict[int, pd.DataFrame]) -> str:
    """The cheapest multiplier within a point of the exact one, mean over the seeds."""
    fixed = pd.concat([_fixed(trials) for trials in runs.values()])
    accuracy = fixed["tuned_validation_accuracy_pct"].groupby(level=0).mean()
    exact = sum(t["validation_accuracy_pct"].iloc[0] for t in runs.values()) / len(runs)
    energy = fixed["energy_rel"].groupby(level=0).mean()
    return str(energy[accuracy >= exact - 1].idxmin())


def _fixed(trials: pd.DataFrame) -> pd.DataFrame:
    """Fine-tuned fixed multipliers, by name; the first name of ``multipliers`` is the circuit's."""
    fixed = trials[trials["origin"] == "uniform"].dropna(subset="test_accuracy_pct")
    names = fixed["multipliers"].str.partition("×")[0]
    return fixed.set_index(names)


def summary(table: pd.DataFrame) -> str:
    """One paragraph: the chosen members against the best fixed multiplier, over the seeds."""
    fixed = table[table["kind"] == "best fixed"]
    chosen = table[table["chosen"]]
    if len(chosen) < len(fixed):
        return f"only {len(chosen)} of {len(fixed)} seeds have a front member that much cheaper"
    difference = chosen["test_minus_best_fixed"]
    half_width = _half_width(difference)
    holds = difference.mean() >= -MARGIN_POINTS
    return (
        f"{table['topology'].iloc[0]}: chosen front members use "
        f"{chosen['energy_of_best_fixed'].mean():.3f} × the energy of the best fixed multiplier, "
        f"{fixed['multipliers'].iloc[0].partition('×')[0]} "
        f"(at most {chosen['energy_of_best_fixed'].max():.3f}) and score "
        f"{chosen['test_accuracy_pct'].mean():.2f} % against "
        f"{fixed['test_accuracy_pct'].mean():.2f} % on test images: "
        f"{difference.mean():+.2f} ± {half_width:.2f} points (95 %, {len(chosen)} seeds); "
        f"no lower than {-MARGIN_POINTS} points: {'yes' if holds else 'no'}"
    )


def _half_width(values: pd.Series) -> float:
    """Half the 95 % confidence interval of a mean (Student's t)."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def _draw(path: Path, table: pd.DataFrame, preset: Preset) -> None:
    figure = Figure(figsize=(6.4 * len(preset.topologies), 4.8), layout="constrained")
    panels = figure.subplots(1, len(preset.topologies), squeeze=False)[0]
    for axes, topology in zip(panels, preset.topologies, strict=True):
        part = table[table["topology"] == topology]
        for kind, colour, marker in (("best fixed", "#d95f02", "s"), ("front", "#1b9e77", "o")):
            rows = part[part["kind"] == kind]
            axes.scatter(
                rows["energy_of_best_fixed"],
                rows["test_minus_best_fixed"],
                color=colour,
                marker=marker,
                alpha=0.7,
                label=f"{kind} ({len(rows)})",
            )
        chosen = part[part["chosen"]]
        axes.errorbar(
            chosen["energy_of_best_fixed"].mean(),
            chosen["test_minus_best_fixed"].mean(),
            xerr=_half_width(chosen["energy_of_best_fixed"]),
            yerr=_half_width(chosen["test_minus_best_fixed"]),
            fmt="D",
            color="black",
            capsize=4,
            label="chosen on validation, mean and 95 %",
        )
        axes.axhline(-MARGIN_POINTS, color="grey", linestyle=":")
        axes.axvline(ENERGY_RATIO, color="grey", linestyle=":")
        axes.set_title(f"{preset.arch} {topology}, {preset.dataset}, {len(preset.seeds)} seeds")
        axes.set_xlabel("energy, relative to the best fixed multiplier of the seed")
        axes.set_ylabel("test accuracy minus best fixed (points)")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=130, format="png")
