"""Search with several seeds, then compare with fixed multipliers, recovered alike."""

import dataclasses
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from luts.console import Parser, Reporter
from luts.errors import InputError, suggest
from studies._images import CIFAR10_IMAGES, IMAGES, check_images
from studies._together import together
from studies.searched_vs_fixed import _figure
from studies.searched_vs_fixed._table import at_equal_accuracy, outcomes, sentences

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Preset:
    """One matrix of searches.

    Attributes:
        arch: architecture.
        dataset: what it classifies; ``cifar10-images`` for the folder or archive of ``--images``.
        topologies: of the network.
        seeds: one search of each topology each.
        trials: assignments scored in a search.
        weights: file of the float network, relative to this folder, with ``{arch}``,
            ``{topology}`` and ``{seed}``; empty where the search trains it.
        options: further options of ``dse.search`` by name, without their dashes.
    """

    arch: str
    dataset: str
    topologies: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: int
    weights: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def command(self, topology: str, seed: int, images: Path) -> list[str]:
        """Options of ``dse.search`` for one search.

        Raises:
            InputError: the weights are not there.
        """
        dataset = f"imagefolder:{images}" if self.dataset == CIFAR10_IMAGES else self.dataset
        words = ["--arch", self.arch, "--topology", topology, "--dataset", dataset]
        words += ["--seed", str(seed), "--trials", str(self.trials)]
        if self.weights:
            names = {"arch": self.arch, "topology": topology, "seed": seed}
            file = (HERE / self.weights.format(**names)).resolve()
            if not file.exists():
                raise InputError(
                    f"weights {file.name} are not there; train them: "
                    f"python -m studies.trained_weights.run {topology} --seed {seed}"
                )
            words += ["--weights", os.path.relpath(file)]
        for name, value in self.options.items():
            words += [f"--{name}", str(value)]
        return words

    def is_continued_by(self, other: Mapping[str, Any]) -> bool:
        """Whether a preset, as a table of TOML, differs in nothing but topologies and seeds."""
        mine = dataclasses.asdict(self) | {"topologies": [], "seeds": []}
        return mine == dict(other) | {"topologies": [], "seeds": []}


def main() -> None:
    """Run what is missing, then write tables and figure."""
    parser = Parser(prog="python -m studies.searched_vs_fixed", description=__doc__)
    add = parser.add_argument
    add("--preset", default="digits", help="table of config.toml")
    add("--images", type=Path, default=IMAGES, help="folder or archive of CIFAR-10 images")
    add("--runs", type=Path, default=Path("runs/searched_vs_fixed"), help="where searches are kept")
    add("--results", type=Path, default=HERE / "results", help="where tables and figure go")
    options = parser.parse_args()
    preset = read_preset(options.preset)
    searches = {
        (topology, seed): preset.command(topology, seed, options.images)
        for seed in preset.seeds
        for topology in preset.topologies
    }
    runs = {key: options.runs / f"{options.preset}-{key[0]}-{key[1]}" for key in searches}
    for key, command in searches.items():
        check_run(runs[key], command)
    check_results(options.results, options.preset, preset)
    if preset.dataset == CIFAR10_IMAGES and not all(map(_is_searched, runs.values())):
        check_images(options.images)
    reporter = Reporter()
    for number, (key, command) in enumerate(searches.items(), start=1):
        reporter.note(f"search {number} of {len(searches)}: {preset.arch} {key[0]}, seed {key[1]}")
        _search(command, runs[key])
    for line in write(options.results, options.preset, preset, runs):
        print(line)


def read_preset(name: str) -> Preset:
    """A table of config.toml.

    Raises:
        InputError: there is no such table.
    """
    tables = tomllib.loads((HERE / "config.toml").read_text(encoding="utf-8"))
    if name not in tables:
        raise InputError(f"unknown preset {name!r}; {suggest(name, list(tables))}")
    table = tables[name]
    for listed in ("topologies", "seeds"):
        table[listed] = tuple(table[listed])
    return Preset(**table)


def check_run(path: Path, command: list[str]) -> None:
    """Hold a run that is there already against what it is to be.

    Raises:
        InputError: it was made with another setting.
    """
    if not (path / "config.toml").exists():
        return
    made = tomllib.loads((path / "config.toml").read_text(encoding="utf-8")).get("search", {})
    for flag, wanted in zip(command[::2], command[1::2], strict=True):
        kept = made.get(flag.removeprefix("--").replace("-", "_"))
        if str(kept) != wanted:
            raise InputError(
                f"{path} was searched with {flag} {kept}, not {wanted}; name another folder with "
                f"--runs, or remove it"
            )


def check_results(results: Path, name: str, preset: Preset) -> None:
    """Hold results that are there already against the preset; more searches may join them.

    Raises:
        InputError: they are of another configuration, of searches that the preset has not, or of
            none that is known.
    """
    file = results / f"{name}.config.toml"
    if not file.exists():
        for made in (f"{name}.csv", f"{name}-equal.csv", f"{name}.png"):
            if (results / made).exists():
                raise InputError(
                    f"{results / made} is there without {file.name}, which says what it is of; "
                    f"name another folder with --results, or move it away"
                )
        return
    try:
        about = tomllib.loads(file.read_text(encoding="utf-8"))
        is_continued = preset.is_continued_by(about["preset"])
        there = [(search["topology"], search["seed"]) for search in about["searches"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is no configuration of this study ({type(error).__name__}: {error}); name "
            f"another folder with --results, or move it away with its results"
        ) from error
    if not is_continued:
        raise InputError(
            f"{file} is of another configuration than preset {name} has now; name another folder "
            f"with --results, or move it away with its results"
        )
    lost = [
        f"{topology} with seed {seed}"
        for topology, seed in there
        if topology not in preset.topologies or seed not in preset.seeds
    ]
    if lost:
        raise InputError(
            f"{file} is of more searches than preset {name} has now: {', '.join(lost)}; put them "
            f"back, name another folder with --results, or move it away with its results"
        )


def _is_searched(path: Path) -> bool:
    return (path / "front.csv").exists()


def _search(command: list[str], path: Path) -> None:
    """One search by the main command, resumed or skipped where an earlier call left it."""
    if _is_searched(path):
        return
    if (path / "config.toml").exists():
        words = ["--resume", str(path)]
    else:
        words = [*command, "--out", str(path)]
    if subprocess.run([sys.executable, "-m", "dse.search", *words]).returncode:
        raise InputError(f"the search in {path} failed; its message is above")


def write(
    results: Path, name: str, preset: Preset, runs: Mapping[tuple[str, int], Path]
) -> list[str]:
    """Write ``NAME.csv``, ``NAME-equal.csv``, ``NAME.config.toml`` and ``NAME.png``.

    Returns:
        What was found, a line a topology.
    """
    made = {key: _making(path) for key, path in runs.items()}
    table = pd.concat(
        [
            outcomes(pd.read_csv(path / "trials.csv"), *key).assign(
                seconds_of_scoring=made[key]["seconds_of_scoring"],
                commit=made[key]["commit"],
                device=made[key]["device"],
            )
            for key, path in runs.items()
        ],
        ignore_index=True,
    )
    equal = at_equal_accuracy(table)
    searches = [{"topology": key[0], "seed": key[1]} | one for key, one in made.items()]
    about = {"preset": dataclasses.asdict(preset), "searches": searches}
    with together(results) as new:
        table.to_csv(new(f"{name}.csv"), index=False, float_format="%.6g")
        equal.to_csv(new(f"{name}-equal.csv"), index=False, float_format="%.6g")
        _figure.draw(new(f"{name}.png"), table, equal, _title(preset), _caption(searches))
        # Last, to be in place first: without it the others count as somebody else's.
        new(f"{name}.config.toml").write_text(tomli_w.dumps(about), encoding="utf-8")
    return sentences(equal)


def _making(path: Path) -> dict[str, Any]:
    """Where, when, how and how long a search ran."""
    found: dict[str, Any] = tomllib.loads((path / "config.toml").read_text("utf-8"))["making"]
    seconds = float(pd.read_csv(path / "trials.csv")["seconds"].sum())
    return {"seconds_of_scoring": round(seconds, 1)} | found


def _title(preset: Preset) -> str:
    seeds = f"{len(preset.seeds)} seeds" if len(preset.seeds) > 1 else f"seed {preset.seeds[0]}"
    tuned = preset.options.get("finetune", "promising") != "none"
    how = "recovered and fine-tuned" if tuned else "recovered, not fine-tuned"
    return f"{preset.arch}, {preset.dataset}, {seeds}, {preset.trials} trials a search; {how}"


def _caption(searches: list[dict[str, Any]]) -> str:
    devices = ", ".join(sorted({one["device"] for one in searches}))
    commits = ", ".join(sorted({one["commit"][:10] for one in searches}))
    hours = sum(one["seconds_of_scoring"] for one in searches) / 3600
    return f"{devices}; {hours:.2f} hours of scoring; commit {commits}"
