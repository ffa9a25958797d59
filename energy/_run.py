"""What a run's folder says of its network and routing."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import models
from luts.errors import InputError


def network_of_run(run: Path) -> models.NetworkConfig:
    """The network that a run's config.toml describes.

    Raises:
        InputError: the folder is no run, or its config.toml does not describe a network.
    """
    return models.NetworkConfig(**described_network(run))


def described_network(run: Path) -> dict[str, Any]:
    """Fields of the `models.NetworkConfig` in a run's config.toml.

    Raises:
        InputError: the folder is no run, or its config.toml does not describe a network.
    """
    try:
        config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{run} is not a run: cannot read config.toml: {error}") from error
    section = config.get("network", config)
    fields = {field.name for field in dataclasses.fields(models.NetworkConfig)}
    found = {key: value for key, value in section.items() if key in fields}
    if "arch" not in found:
        raise InputError(f"{run}/config.toml names no `arch`; give a folder made by dse.search")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}


def read_routing(path: Path) -> models.Routing:
    """Activation rates from a run's routing.json.

    Raises:
        InputError: the file cannot be read or is no routing.
    """
    try:
        return models.Routing.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the routing {path}: {error}") from error
