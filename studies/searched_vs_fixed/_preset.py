"""Which searches a preset has, and whether runs and results that are there are of them."""

import dataclasses
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dse import Run, SearchConfig
from luts.errors import InputError
from studies._images import Images
from studies._options import read_preset_table

HERE = Path(__file__).parent

Key = tuple[str, int]
"""A search of a preset: topology and seed."""


@dataclasses.dataclass(frozen=True)
class SearchPreset:
    """One matrix of searches.

    Attributes:
        arch: architecture.
        dataset: what it classifies; ``cifar10-images`` for the folder or archive of ``--images``.
        topologies: of the network.
        seeds: one search of each topology per seed.
        trials: assignments scored in a search.
        weights: file of the float network, relative to this folder, with ``{arch}``,
            ``{topology}`` and ``{seed}``; empty where the search trains it.
        options: further settings of the search by name.
    """

    arch: str
    dataset: str
    topologies: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: int
    weights: str = ""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def searches(self) -> list[Key]:
        """Topology and seed of every search, in order."""
        return [(topology, seed) for seed in self.seeds for topology in self.topologies]

    @property
    def title(self) -> str:
        """What was searched and how, in a line."""
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        tuned = self.options.get("finetune", "promising") != "none"
        how = "recovered and fine-tuned" if tuned else "recovered, not fine-tuned"
        return f"{self.arch}, {self.dataset}, {seeds}, {self.trials} trials a search; {how}"

    def settings(self, topology: str, seed: int, images: Images) -> dict[str, Any]:
        """What one search is asked to do, by the names of `dse.SearchConfig`.

        Raises:
            InputError: the weights are not there.
        """
        settings: dict[str, Any] = {
            "arch": self.arch,
            "topology": topology,
            "dataset": images.source(self.dataset),
            "seed": seed,
            "trials": self.trials,
        }
        if images.data_root is not None:
            settings["data_root"] = str(images.data_root)
        if self.weights:
            names = {"arch": self.arch, "topology": topology, "seed": seed}
            file = (HERE / self.weights.format(**names)).resolve()
            if not file.exists():
                raise InputError(
                    f"weights {file.name} are not there; train them: "
                    f"python -m studies.trained_weights {topology} --seed {seed}"
                )
            settings["weights"] = os.path.relpath(file)
        return settings | {name.replace("-", "_"): each for name, each in self.options.items()}

    def is_continued_by(self, other: Mapping[str, Any]) -> bool:
        """Whether a preset, as a table of TOML, differs in nothing but topologies and seeds."""
        mine = dataclasses.asdict(self) | {"topologies": [], "seeds": []}
        return mine == dict(other) | {"topologies": [], "seeds": []}


def read_preset(name: str) -> SearchPreset:
    """A table of config.toml.

    Raises:
        InputError: there is no such table.
    """
    table = read_preset_table(HERE / "config.toml", name)
    listed = {key: tuple(table[key]) for key in ("topologies", "seeds")}
    return SearchPreset(**table | listed)


def check_run(path: Path, config: SearchConfig, names: Iterable[str]) -> None:
    """Check a run that is there already against the search that it is to be.

    Args:
        path: run folder, which need not be there.
        config: what the search is asked to do.
        names: of the settings that have to agree.

    Raises:
        InputError: it was made with another setting.
    """
    if not (path / "config.toml").exists():
        return
    made = Run.open(path).config
    for name in names:
        kept, wanted = getattr(made, name), getattr(config, name)
        if kept != wanted:
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"{path} was searched with {flag} {kept}, not {wanted}; name another folder with "
                f"--runs, or remove it"
            )


def check_results(results: Path, name: str, preset: SearchPreset) -> None:
    """Check results that are there already against the preset; more searches may join them.

    Raises:
        InputError: they are of another configuration, of searches that the preset has not, or of
            none that is known.
    """
    file = results / f"{name}.config.toml"
    away = "name another folder with --results, or move it away"
    if not file.exists():
        for made in (f"{name}.csv", f"{name}-equal.csv", f"{name}.png"):
            if (results / made).exists():
                raise InputError(
                    f"{results / made} is there without {file.name}, which says what it is of; "
                    f"{away}"
                )
        return
    try:
        about = tomllib.loads(file.read_text(encoding="utf-8"))
        is_continued = preset.is_continued_by(about["preset"])
        there = [(search["topology"], search["seed"]) for search in about["searches"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is not a configuration of this study ({type(error).__name__}: {error}); "
            f"{away} with its results"
        ) from error
    if not is_continued:
        raise InputError(
            f"{file} is of another configuration than preset {name} has now; {away} with its "
            f"results"
        )
    lost = [key for key in there if key not in preset.searches]
    if lost:
        listed = ", ".join(f"{topology} with seed {seed}" for topology, seed in lost)
        raise InputError(
            f"{file} is of more searches than preset {name} has now: {listed}; put them back, "
            f"{away} with its results"
        )
