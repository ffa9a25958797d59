"""Checks a preset's settings by the dataclass that they become."""

import dataclasses
import sys
from collections.abc import Callable
from string import Formatter
from typing import Any, get_type_hints

from luts.errors import InputError, suggest

PLACEHOLDERS = ("arch", "topology", "dataset", "seed")
"""That the file name of weights may have."""


def _is_whole(value: Any, least: int) -> bool:
    # `type`, because Python's True is an int.
    return type(value) is int and value >= least


_RULES: dict[object, tuple[str, Callable[[Any, int], bool]]] = {
    str: ("text in quotes", lambda value, least: isinstance(value, str)),
    bool: ("true or false", lambda value, least: isinstance(value, bool)),
    int: ("a whole number from {least}", _is_whole),
    int | None: ("a whole number from {least}", _is_whole),
    float: (
        "a number from {least}",
        lambda value, least: type(value) in (int, float) and least <= value <= sys.float_info.max,
    ),
}
"""By a field's type; what is not here has a reader of its own."""


def read_settings(cls: type, given: object, title: str) -> dict[str, Any]:
    """A table of settings whose names and values a dataclass takes.

    Numbers are at least 0, or what a field's metadata call ``least``.

    Raises:
        InputError: it is not a table, or a setting is unknown, of another type, or out of range.
    """
    if not isinstance(given, dict):
        raise InputError(f"{title} is a table, a line per setting, not {given!r}")
    # What is called name is the table's.
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name != "name"}
    types = get_type_hints(cls)
    for key, value in given.items():
        if key not in fields:
            raise InputError(f"{title} has no setting {key!r}; {suggest(key, list(fields))}")
        if types[key] in _RULES:
            rule, holds = _RULES[types[key]]
            least = fields[key].metadata.get("least", 0)
            if not holds(value, least):
                raise InputError(f"{key} of {title} is {rule.format(least=least)}, not {value!r}")
    return dict(given)


def check_template(template: str, title: str) -> None:
    """Check the placeholders in the file name of weights.

    Raises:
        InputError: it has another one, or a brace that is not closed.
    """
    try:
        legal = all(
            name is None or (name in PLACEHOLDERS and not form and not conversion)
            for _, name, form, conversion in Formatter().parse(template)
        )
    except ValueError:
        legal = False
    if not legal:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise InputError(f"weights of {title} takes {known} in braces only, not {template!r}")
