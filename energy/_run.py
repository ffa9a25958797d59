"""What a run's folder says of its network, routing and front."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

import models
from energy.run_files import CONFIG, FRONT, IN_MEMORY, OPERANDS
from luts.errors import InputError
from luts.settings import read_settings
from models.networks import ignored_by


def network_of_run(run: Path) -> models.NetworkConfig:
    """The network that a run's config.toml describes.

    Raises:
        InputError: the folder is not a run, or its config.toml does not describe a network.
    """
    return network_from(described_network(run), run)


def network_from(described: dict[str, Any], run: Path | None) -> models.NetworkConfig:
    """The network of these fields.

    Args:
        described: fields of `models.NetworkConfig` by name.
        run: the run that they, or most of them, come from.

    Raises:
        InputError: a value is wrong.
    """
    title = "the network" if run is None else f"the network of {run}"
    return read_settings(models.NetworkConfig, described, title=title)


def described_network(run: Path) -> dict[str, Any]:
    """Fields of the `models.NetworkConfig` in a run's config.toml.

    Raises:
        InputError: the folder is not a run, or its config.toml does not describe a network.
    """
    try:
        config = tomllib.loads((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{run} is not a run: cannot read {CONFIG}: {error}") from error
    section = config.get("network", config)
    fields = {field.name for field in dataclasses.fields(models.NetworkConfig)}
    # Earlier versions kept what a topology has no use for, too.
    fields -= set(ignored_by(section.get("topology", models.NetworkConfig.topology)))
    described = {key: value for key, value in section.items() if key in fields}
    in_memory = str(config.get("search", {}).get("arch", "")).startswith(IN_MEMORY)
    if in_memory:
        raise InputError(
            f"the network of {run} was in memory only, so that nothing says how to build it; "
            f"energy.cost takes the workload of a network in memory"
        )
    if "arch" not in described:
        raise InputError(f"{run}/{CONFIG} names no `arch`; give a folder made by dse.search")
    return described


def read_routing(path: Path) -> models.Routing:
    """Activation rates from a run's routing.json.

    Raises:
        InputError: the file cannot be read or is not a routing.
    """
    try:
        return models.Routing.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the routing {path}: {error}") from error


def read_operands(run: Path) -> models.SampledOperands:
    """Operands at the sites of a run's network.

    Raises:
        InputError: the folder holds none, or the file is damaged.
    """
    path = run / OPERANDS
    if not path.exists():
        raise InputError(
            f"{run} kept no operands of its sites ({OPERANDS}), which the energy model activity "
            f"takes; python -m dse.search --resume {run} samples them"
        )
    return models.SampledOperands.read(path)


def read_front(run: Path) -> pd.DataFrame:
    """The front of a finished run.

    Raises:
        InputError: the folder holds none.
    """
    try:
        return pd.read_csv(run / FRONT)
    except (OSError, ValueError) as error:
        raise InputError(f"{run} is not a finished run: cannot read {FRONT}: {error}") from error
