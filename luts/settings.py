"""Settings as frozen dataclasses: read strictly, and written, from one description of each field.

A field is described once, ``trials: Annotated[int, setting("assignments to score", ge=1)] = 60``.
From that come the reader's rules, the options of a command line and the comments of a TOML file.
Types are checked by pydantic, which is imported when the first value is checked.
"""

import argparse
import dataclasses
import functools
import json
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import tomli_w

from luts._setting import Marks, Setting, kind_of, setting, settings_of, shown
from luts.console import indices
from luts.errors import InputError, suggest

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

__all__ = [
    "Marks",
    "Setting",
    "add_settings",
    "check_settings",
    "given_settings",
    "read_settings",
    "setting",
    "settings_of",
    "to_toml",
]

Settings = TypeVar("Settings")


def read_settings(cls: type[Settings], values: Mapping[str, Any], *, title: str) -> Settings:
    """The settings that a table of TOML or JSON, or keyword arguments, stand for.

    Types are strict as in a file: a whole number may stand for a float, a text never for a number,
    true never for a whole number. Lists become tuples where the field is one, tables the
    dataclasses that fields hold.

    Args:
        cls: a frozen dataclass; its fields may be described with `setting`.
        values: by the field's name.
        title: what is read, at the beginning of a complaint, as in ``a training recipe``.

    Raises:
        InputError: all faults at once, each with key, rule and value: an unknown or missing key, a
            wrong type, a number out of range, an unknown name. What the class itself refuses comes
            through as it is.
    """
    from pydantic import ValidationError

    if not isinstance(values, Mapping):
        raise InputError(f"{title} is a table of settings, not {shown(values)}")
    try:
        read: Settings = _adapter_of(cls).validate_json(
            json.dumps([dict(values)], default=_as_json)
        )[0]
    except ValidationError as error:
        details = error.errors(include_url=False)
        own = [d["ctx"]["error"] for d in details if _is_own(d)]
        if len(own) == len(details) == 1:
            raise own[0] from None
        faults = dict.fromkeys(_fault(cls, values, detail) for detail in details)
        raise InputError(f"{title}: {'; '.join(faults)}") from None
    return read


def check_settings(instance: Any) -> None:
    """Check the types and ranges of a dataclass, for its ``__post_init__``.

    Raises:
        InputError: all faults at once, each with key, rule and value.
    """
    from pydantic import ValidationError

    cls: Any = type(instance)
    faults = []
    for known in settings_of(cls):
        value = getattr(instance, known.name)
        try:
            _field_adapter(cls, known.name).validate_python((_plain(value),))
        except ValidationError as error:
            finite = error.errors()[0]["type"] == "finite_number"
            faults.append(known.refusal(known.name, value, finite=finite))
    if faults:
        raise InputError("; ".join(faults))


def add_settings(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    cls: type,
    names: Iterable[str],
    *,
    overrides: Mapping[str, Mapping[str, Any]] = {},
    show_defaults: bool = True,
) -> None:
    """Add an option for each of these settings; one that is not given is None.

    Args:
        parser: where to add them.
        cls: a settings dataclass.
        names: of its fields.
        overrides: by name, arguments of ``add_argument`` that replace what the field says.
        show_defaults: name the defaults of the fields in ``--help``.
    """
    known = {each.name: each for each in settings_of(cls)}
    for name in names:
        options = _option(known[name], show_defaults) | dict(overrides.get(name, {}))
        parser.add_argument(known[name].flag, default=None, **options)


def given_settings(options: argparse.Namespace, cls: type) -> dict[str, Any]:
    """The settings that a command line named, by the field's name."""
    values = {each.name: getattr(options, each.name, None) for each in settings_of(cls)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if value is not None
    }


def to_toml(instance: Any, table: str) -> str:
    """Settings as a table of TOML, each with what it does as a comment.

    Args:
        instance: of a settings dataclass.
        table: name of the table; of those inside it the first part.

    Returns:
        Text that `read_settings` reads back to an equal value; None is left out, so that it has to
        be the default.
    """
    lines, inner = [f"[{table}]"], []
    for known in settings_of(type(instance)):
        value, key = getattr(instance, known.name), f"{table}.{known.name}"
        if value is None:
            continue
        if _is_settings(value):
            inner.append(to_toml(value, key))
        elif isinstance(value, tuple) and value and all(map(_is_settings, value)):
            inner += [to_toml(item, key).replace(f"[{key}]", f"[[{key}]]", 1) for item in value]
        elif isinstance(value, Mapping) and value and all(map(_is_settings, value.values())):
            inner += [to_toml(item, f"{key}.{_toml(name)}") for name, item in value.items()]
        else:
            unit = f" ({known.unit})" if known.unit else ""
            comment = f"  # {' '.join(known.help.split())}{unit}" if known.help else ""
            lines.append(f"{known.name} = {_toml(value)}{comment}")
    return "\n".join(lines) + "\n" + "".join("\n" + text for text in inner)


def _toml(value: Any) -> str:
    if isinstance(value, tuple | list | set | frozenset):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Path):
        value = os.fspath(value)
    return tomli_w.dumps({"k": _plain(value)}).removeprefix("k = ").rstrip("\n")


def _is_settings(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _option(known: Setting, show_default: bool) -> dict[str, Any]:
    """Arguments of ``add_argument`` for a setting."""
    kind, options = known.kind, {"help": _option_help(known, show_default)}
    if known.metavar:
        options["metavar"] = known.metavar
    if kind is bool:
        options.pop("metavar", None)
        on = argparse.BooleanOptionalAction if known.default is True else "store_true"
        return options | {"action": on}
    if get_origin(kind) is tuple:
        numbers_ = kind_of(get_args(kind)[0]) is int
        return options | ({"type": indices} if numbers_ else {"action": "append"})
    return options | ({"type": kind} if kind in (int, float, Path) else {})


def _option_help(known: Setting, show_default: bool) -> str:
    said = [known.help + (f", {known.unit}" if known.unit else "")]
    if known.choices:
        said.append(": " + ", ".join(known.choices))
    says_nothing = known.required or known.default in (None, "", ()) or known.kind is bool
    if show_default and not says_nothing:
        said.append(f" (default {known.default})")
    return "".join(said).replace("%", "%%")


def _adapter_of(kind: Any) -> "TypeAdapter[Any]":
    """What reads a tuple of one value of this kind."""
    return _adapter(kind)


@functools.cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    from pydantic import ConfigDict, TypeAdapter

    # In a tuple, as pydantic takes a configuration for a dataclass itself from its attributes only.
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(tuple[kind], config=config)


@functools.cache
def _field_adapter(cls: Any, name: str) -> "TypeAdapter[Any]":
    return _adapter(get_type_hints(cls, include_extras=True)[name])


def _is_own(detail: "ErrorDetails") -> bool:
    """Whether the class itself refused its values."""
    return isinstance(detail.get("ctx", {}).get("error"), InputError)


def _fault(cls: type, values: Mapping[str, Any], detail: "ErrorDetails") -> str:
    """One of pydantic's errors in our words."""
    if _is_own(detail):
        return str(detail["ctx"]["error"])
    kind: Any = cls
    value: Any = values
    path, known = "", None
    for key in detail["loc"][1:]:
        if dataclasses.is_dataclass(kind):
            dotted = f"{path}.{key}" if path else str(key)
            fields = {each.name: each for each in settings_of(kind)}
            if key not in fields:
                return f"no setting {dotted!r}: {suggest(str(key), list(fields))}"
            known = fields[str(key)]
            if key not in value:
                return f"{dotted} is missing" + (f" ({known.help})" if known.help else "")
            kind, value, path = known.kind, value[key], dotted
        elif dataclasses.is_dataclass(item := _item(kind)):
            kind, value = item, value[key]
            path += f"[{key}]" if isinstance(key, int) else f".{key}"
        else:
            break
    if known is None:
        return f"not readable: {detail['msg']}"
    return known.refusal(path, value, kind, finite=detail["type"] == "finite_number")


def _item(kind: Any) -> Any:
    """The kind of what a tuple or a mapping holds."""
    return (
        kind_of(get_args(kind)[-1 if get_origin(kind) is not tuple else 0])
        if get_args(kind)
        else None
    )


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's own."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def _as_json(value: Any) -> Any:
    """What JSON cannot hold: paths as text, dataclasses as tables; the rest fits no setting."""
    if isinstance(value, Path):
        return os.fspath(value)
    if _is_settings(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    plain = _plain(value)
    return {"": repr(value)} if plain is value else plain
