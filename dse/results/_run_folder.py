"""The run folder: what a search leaves behind."""

import contextlib
import dataclasses
import datetime
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from dse.results._new_folder import new_folder
from dse.results._provenance import provenance
from dse.results._run_lock import held
from dse.study import ALL, IN_MEMORY, SearchConfig, is_same_place, located
from energy import add_kept, own_multipliers, per_input_json, run_files
from luts.errors import InputError
from luts.loading import kept_bytes
from luts.text import quoted
from models import NetworkConfig, Routing, SampledOperands
from models.training import atomically

CONFIG = run_files.CONFIG
DATABASE = run_files.DATABASE
ROUTING = run_files.ROUTING
ASSIGNMENTS = run_files.ASSIGNMENTS
OWN_ROUTING = run_files.OWN_ROUTING
"""Folder of front members' own routing rates, one file per trial, named like its assignment."""

RESUMABLE = ("trials", "workers")
"""Settings that may change when a run goes on: its budget, which only grows, and its workers."""

PLACES = ("arch", "dataset", "data_root", "weights")
"""Settings that may name a file or a folder."""


class Run:
    """A run folder.

    Attributes:
        path: the folder.
        config: what the search was asked to do.
    """

    def __init__(self, path: Path, config: SearchConfig) -> None:
        self.path = path
        self.config = config

    @classmethod
    def create(cls, config: SearchConfig, path: Path | None = None) -> "Run":
        """A new folder, ``runs/ARCH-TOPOLOGY-DATASET-TIME`` unless ``path`` is given.

        Files and folders that settings name are kept by their absolute paths.

        Raises:
            InputError: the folder exists or cannot be made.
        """
        paths = {name: getattr(config, name) for name in PLACES}
        config = dataclasses.replace(config, **located(paths))
        if path is not None:
            cls.check_new(path)
        else:
            stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
            words = [_word(config.arch), config.topology, config.dataset.partition(":")[0], stamp]
            path = Path("runs") / "-".join(words)
        with new_folder(path) as temporary:
            run = cls(temporary, config)
            if config.topology != ALL:
                (temporary / ASSIGNMENTS).mkdir()
            run._keep_multipliers()
            run.write(CONFIG, config.to_toml(provenance()))
        return cls(path, config)

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Keep the run for this process.

        Raises:
            InputError: another process works on it, or its folder cannot be written to.
        """
        return held(self.path)

    @staticmethod
    def check_new(path: Path) -> None:
        """Refuse a new run's folder that exists.

        Raises:
            InputError: it exists.
        """
        if path.exists():
            raise InputError(
                f"the run folder {path} exists already and is not overwritten; name another with "
                f"--out, or go on with --resume {quoted(path)}"
            )

    @classmethod
    def open(cls, path: Path) -> "Run":
        """An existing run folder.

        Raises:
            InputError: the folder is not one of a run.
        """
        try:
            text = (path / CONFIG).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} is not a run: it has no readable {CONFIG}; a run is a folder that "
                f"python -m dse.search has made"
            ) from error
        add_kept(path)
        return cls(path, SearchConfig.from_toml(text))

    def _keep_multipliers(self) -> None:
        """Write the searched multipliers that no catalogue has, so that the folder has all."""
        own = own_multipliers(self.config.names())
        if own:
            (self.path / run_files.MULTIPLIERS).mkdir()
        for number, multiplier in enumerate(own):
            name = f"{number:02d}-{_word(multiplier.name)[:100]}.npz"
            with atomically(self.path / run_files.MULTIPLIERS / name) as temporary:
                temporary.write_bytes(kept_bytes(multiplier))

    def with_trials(self, trials: int) -> "Run":
        """The run with a larger budget of trials, written to its configuration.

        Raises:
            InputError: the budget is smaller than it was.
        """
        self._check_budget(trials)
        if trials == self.config.trials:
            return self
        run = Run(self.path, dataclasses.replace(self.config, trials=trials))
        run.write(CONFIG, run.config.to_toml(provenance()))
        return run

    def _check_budget(self, trials: int) -> None:
        if trials < self.config.trials:
            raise InputError(
                f"the run has a budget of {self.config.trials} trials, which {trials} would cut; "
                f"name more, or leave --trials out"
            )

    def check_settings(self, given: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than the run's own.

        Args:
            given: settings by name; `RESUMABLE` ones may differ.

        Raises:
            InputError: another one differs, or the budget of trials is smaller than it was.
        """
        self._check_budget(given.get("trials", self.config.trials))
        for name, value in given.items():
            kept = getattr(self.config, name)
            if name not in RESUMABLE and not is_same_place(name, value, kept):
                flag = "--" + name.replace("_", "-")
                raise InputError(
                    f"{flag} {value} differs from the run's own {kept}; a resumed run keeps its "
                    f"settings (only --trials and --workers may change): leave {flag} out"
                )

    def going_on(self, given: Mapping[str, Any]) -> "Run":
        """The run with the settings out of `RESUMABLE` that are given.

        Raises:
            InputError: the budget of trials is smaller than it was.
        """
        folder = self.with_trials(given.get("trials", self.config.trials))
        workers = given.get("workers", self.config.workers)
        return Run(folder.path, dataclasses.replace(folder.config, workers=workers))

    def of_each_topology(self) -> tuple["Run", ...]:
        """The runs of a search of all topologies: folders in this one, made where missing."""
        runs = []
        for topology in self.config.topologies:
            path = self.path / topology
            config = self.config.for_topology(topology)
            runs.append(Run(path, config) if path.exists() else Run.create(config, path))
        return tuple(runs)

    def keep_network(self, network: NetworkConfig) -> None:
        """Add the network's shape to the configuration, unless it is there already."""
        text = (self.path / CONFIG).read_text(encoding="utf-8")
        if "[network]" not in text:
            self.write(CONFIG, f"{text}\n{SearchConfig.network_toml(network)}")

    def keep_coverage(self, coverage: float) -> None:
        """Add the part of the multiply-accumulates that sites do, unless it is there already."""
        text = (self.path / CONFIG).read_text(encoding="utf-8")
        if f"[{run_files.COVERAGE}]" not in text:
            table = tomli_w.dumps({run_files.COVERAGE: {"sites": round(coverage, 4)}})
            self.write(CONFIG, f"{text}\n{table}")

    def keep_offer(self, counts: Mapping[str, int]) -> None:
        """Add to the configuration how many choices are left at sites, unless it is there."""
        text = (self.path / CONFIG).read_text(encoding="utf-8")
        if "[choices]" not in text:
            self.write(CONFIG, f"{text}\n{tomli_w.dumps({'choices': dict(counts)})}")

    @property
    def databases(self) -> dict[str, Path]:
        """The study's SQLite file of each topology that is searched."""
        if self.config.topology != ALL:
            return {self.config.topology: self.database}
        return {topology: self.path / topology / DATABASE for topology in self.config.topologies}

    @property
    def database(self) -> Path:
        """The study's SQLite file."""
        return self.path / DATABASE

    def write(self, name: str, text: str) -> None:
        """Write a text file of the run, whole or not at all."""
        with atomically(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def routing(self) -> Routing | None:
        """The routing rates that energy is charged with, or None before they were measured."""
        path = self.path / ROUTING
        return Routing.from_json(path.read_text(encoding="utf-8")) if path.exists() else None

    def keep_routing(self, routing: Routing) -> None:
        """Freeze the routing rates."""
        self.write(ROUTING, routing.to_json())

    def operands(self) -> SampledOperands | None:
        """The operands at the sites, or None before they were sampled."""
        path = self.path / run_files.OPERANDS
        return SampledOperands.read(path) if path.exists() else None

    def keep_operands(self, operands: SampledOperands) -> None:
        """Freeze the operands at the sites."""
        with atomically(self.path / run_files.OPERANDS) as temporary:
            temporary.write_bytes(operands.to_bytes())

    @property
    def has_routing_inputs(self) -> bool:
        """Whether the routing rates of single inputs are there."""
        return (self.path / run_files.PER_INPUT).exists()

    def keep_routing_inputs(self, per_input: Sequence[Routing]) -> None:
        """Write the routing rates of single inputs."""
        self.write(run_files.PER_INPUT, per_input_json(per_input))

    def own_routing_path(self, number: int) -> Path:
        """File of the routing rates of a front member's own network."""
        return self.path / OWN_ROUTING / run_files.member_file(number)

    def keep_own_routing(self, number: int, routing: Routing) -> None:
        """Write the routing rates of a front member's own network."""
        self.write(f"{OWN_ROUTING}/{run_files.member_file(number)}", routing.to_json())


def _word(arch: str) -> str:
    """An architecture's name as a part of a folder's: ``nets/mine.py:small`` is ``mine-small``."""
    arch = arch.removeprefix(IN_MEMORY)
    path, mark, function = arch.partition(".py:")
    name = f"{Path(path).name}-{function}" if mark else arch.replace("timm:", "timm-")
    return re.sub(r"[^\w.-]+", "_", name)
