"""Files and folders that settings name, wherever a run is used from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE_MARK = ".py:"
FOLDER_PREFIX = "imagefolder:"


def located(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a search, with what is a file or a folder by its absolute path.

    Args:
        settings: some of them, by name.
    """
    found = dict(settings)
    for name, locate in (
        ("arch", _located_arch),
        ("dataset", _located_dataset),
        ("data_root", _absolute),
        ("weights", lambda text: text if "://" in text else _absolute(text)),
    ):
        if isinstance(found.get(name), str) and found[name]:
            found[name] = locate(found[name])
    return found


def is_same_place(name: str, one: Any, other: Any) -> bool:
    """Whether two values of a setting agree, relative paths being of the folder at hand."""
    return bool(located({name: one}) == located({name: other}))


def placeless(name: str, value: Any) -> Any:
    """A setting without the folder, which may be another on each machine."""
    if name == "arch" and isinstance(value, str) and FILE_MARK in value:
        return Path(value).name
    if name == "dataset" and isinstance(value, str) and value.startswith(FOLDER_PREFIX):
        return FOLDER_PREFIX + Path(value.removeprefix(FOLDER_PREFIX)).name
    return value


def _located_arch(arch: str) -> str:
    return _absolute(arch) if FILE_MARK in arch else arch


def _located_dataset(name: str) -> str:
    path = name.removeprefix(FOLDER_PREFIX)
    return name if path == name or not path else FOLDER_PREFIX + _absolute(path)


def _absolute(text: str) -> str:
    return str(Path(text).expanduser().absolute())
