"""Options and configuration files that studies have in common."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from luts.console import Parser
from luts.errors import InputError, suggest
from luts.settings import read_settings
from studies._images import IMAGES

STUDIES = Path(__file__).parent
Settings = TypeVar("Settings")

_OPTIONS: dict[str, dict[str, Any]] = {
    "--images": {"type": Path, "default": IMAGES, "help": "folder or archive of CIFAR-10 images"},
    "--data-root": {
        "type": Path,
        "metavar": "DIR",
        "help": "folder of published archives (default: the cache)",
    },
    "--networks": {"nargs": "*", "metavar": "NAME", "help": "only these of the configuration"},
    "--seeds": {"nargs": "*", "type": int, "metavar": "N", "help": "only these seeds"},
    "--results": {"type": Path, "metavar": "DIR", "help": "where results go (default: committed)"},
    "--quiet": {"action": "store_true", "help": "show nothing but the result"},
}


def study_parser(study: str, description: str | None, *options: str) -> Parser:
    """The arguments of ``python -m studies.STUDY``: ``--results``, and some common options.

    Args:
        study: name of its folder.
        description: for ``--help``.
        options: ``--images``, ``--data-root``, ``--networks``, ``--seeds`` or ``--quiet``.
    """
    parser = Parser(prog=f"python -m studies.{study}", description=description)
    for option in (*options, "--results"):
        parser.add_argument(option, **_OPTIONS[option])
    parser.set_defaults(results=STUDIES / study / "results")
    return parser


def read_config(study: str) -> dict[str, Any]:
    """The committed configuration of a study."""
    return tomllib.loads((STUDIES / study / "config.toml").read_text(encoding="utf-8"))


def study_settings(cls: type[Settings], study: str) -> Settings:
    """The committed configuration of a study as the dataclass that describes it.

    Raises:
        InputError: all faults at once, as `luts.settings.read_settings` names them.
    """
    return read_settings(cls, read_config(study), title=f"config.toml of studies.{study}")


def read_preset_table(path: Path, name: str) -> dict[str, Any]:
    """A table of a configuration file that has one per preset.

    Raises:
        InputError: the file cannot be read, or it has no such table.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read presets from {path}: {error}") from error
    check_known("preset", [name], tables)
    table = tables[name]
    if not isinstance(table, dict):
        raise InputError(f"preset {name} is a table of settings, not {table!r}")
    return table


def check_filled(settings: object, *names: str) -> None:
    """Refuse empty texts and lists where something has to be said.

    Raises:
        InputError: some of these settings are empty.
    """
    empty = [name for name in names if not getattr(settings, name)]
    if empty:
        raise InputError(f"{', '.join(empty)} must not be empty")


def check_known(kind: str, given: Iterable[str] | None, known: Iterable[str]) -> None:
    """Refuse names that a configuration does not have.

    Raises:
        InputError: one is not known.
    """
    names = list(known)
    for name in given or ():
        if name not in names:
            raise InputError(f"unknown {kind} {name!r}; {suggest(name, names)}")
