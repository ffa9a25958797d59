"""Which searches a preset has, and whether runs and results that are there are of them."""

import dataclasses
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from dse import Run, SearchConfig
from dse.study import is_same_place
from luts.errors import InputError
from luts.settings import check_settings, read_settings, setting
from models import TOPOLOGIES
from studies._files import check_free
from studies._images import Images
from studies._networks import check_template
from studies._options import check_filled, read_preset_table

HERE = Path(__file__).parent

Key = tuple[str, int]
"""A search of a preset: topology and seed."""


@dataclasses.dataclass(frozen=True)
class SearchPreset:
    """One matrix of searches; what the searches themselves refuse, `dse.SearchConfig` checks.

    Raises:
        InputError: a setting is unknown, empty, of another type, or out of range.
    """

    arch: Annotated[str, setting("architecture")]
    dataset: Annotated[str, setting("what it classifies; cifar10-images for those of --images")]
    topologies: Annotated[tuple[str, ...], setting("of the network", choices=TOPOLOGIES)]
    seeds: Annotated[tuple[int, ...], setting("one search of each topology per seed", ge=0)]
    trials: Annotated[int, setting("assignments scored in a search", ge=1)]
    weights: Annotated[str, setting("file, with {topology} and {seed}; empty to train")] = ""
    options: Annotated[Mapping[str, Any], setting("further ones of the search")] = (
        dataclasses.field(default_factory=dict)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        check_filled(self, "topologies", "seeds")
        check_template(self.weights)

    @property
    def searches(self) -> list[Key]:
        """Topology and seed of every search, in order."""
        return [(topology, seed) for seed in self.seeds for topology in self.topologies]

    @property
    def title(self) -> str:
        """What was searched and how, in a line."""
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        tuned = self.options.get("finetune", SearchConfig.finetune) != "none"
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
            "multipliers": "mul8s",
        }
        if images.data_root is not None:
            settings["data_root"] = str(images.data_root)
        if self.weights:
            names = settings | {"dataset": self.dataset}
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
        InputError: there is no such table, or it is not legal.
    """
    table = read_preset_table(HERE / "config.toml", name)
    return read_settings(SearchPreset, table, title=f"preset {name}")


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
        if not is_same_place(name, kept, wanted):
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
        made = (f"{name}.csv", f"{name}-equal.csv", f"{name}-progress.csv", f"{name}.png")
        check_free(results, made, f"{file.name}, which says what it is of")
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
