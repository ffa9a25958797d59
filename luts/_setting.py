"""What is known about one setting: its type, its range, its unit and what it does."""

import dataclasses
import functools
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from luts.errors import suggest

if typing.TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_NOUNS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marks:
    """What `setting` says about a field of a dataclass, beside its type.

    Attributes:
        help: what it does, in one sentence without a full stop.
        unit: of a number, or empty.
        metavar: what stands for the value in ``--help``; empty for the name of the field.
        choices: the texts that are known; empty for those of a ``Literal``, or for any.
        ge: least number.
        gt: number that it is above.
        le: largest number.
        lt: number that it is below.
    """

    help: str = ""
    unit: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def allows(self, value: object) -> bool:
        """Whether a value of the right type, or each item of a tuple, is in range and known."""
        if isinstance(value, tuple):
            return all(self.allows(item) for item in value)
        if isinstance(value, str):
            return not self.choices or value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        above = (self.ge is None or value >= self.ge) and (self.gt is None or value > self.gt)
        return (
            above and (self.le is None or value <= self.le) and (self.lt is None or value < self.lt)
        )

    def __get_pydantic_core_schema__(
        self, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """How pydantic takes these marks in ``Annotated``."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not self.allows(value):
            raise ValueError("out of range or unknown")
        return value


def setting(
    help: str,
    *,
    unit: str = "",
    metavar: str = "",
    choices: Sequence[str] = (),
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Marks:
    """What to add to a field's type with ``Annotated``; `Marks` says what each argument is."""
    return Marks(
        help=help, unit=unit, metavar=metavar, choices=tuple(choices), ge=ge, gt=gt, le=le, lt=lt
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting(Marks):
    """One field of a settings dataclass, with all that is known about it.

    Attributes:
        name: of the field, and its key in TOML.
        type: of the field, without its marks.
        default: its default, or ``dataclasses.MISSING``.
    """

    name: str
    type: Any
    default: Any = dataclasses.MISSING

    @property
    def flag(self) -> str:
        """The option of a command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @property
    def kind(self) -> Any:
        """The type, or the first of its alternatives that is not None."""
        return kind_of(self.type)

    def refusal(self, path: str, value: object, kind: Any = None, *, finite: bool = False) -> str:
        """Why a value is refused: key, rule and value.

        Args:
            path: the key, with the tables that it stands in.
            value: what was given.
            kind: of an item, if it is one of several.
            finite: the value is infinite or not a number.
        """
        if not self.choices:
            rule = self._rule(self.kind if kind is None else kind, finite)
            return f"{path} is {rule}, not {shown(value)}"
        for word in value if isinstance(value, tuple | list) else [value]:
            if isinstance(word, str) and word not in self.choices:
                return f"unknown {path} {word!r}: {suggest(word, list(self.choices))}"
        number = "a list of some" if get_origin(self.kind) is tuple else "one"
        return f"{path} is {number} of {', '.join(self.choices)}, not {shown(value)}"

    def _rule(self, kind: Any, finite: bool) -> str:
        """The end of "epochs is …"."""
        origin = get_origin(kind)
        if dataclasses.is_dataclass(kind):
            return "a table of settings"
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return "a table"
        if origin in (tuple, frozenset):
            item = kind_of(get_args(kind)[0]) if get_args(kind) else object
            return f"a list of {_PLURALS.get(item, 'values')}{self._range()}"
        noun = _NOUNS.get(kind, f"a value of type {kind}")
        noun = noun.replace("number", "finite number", 1) if finite else noun
        if self._range() == " above 0":
            return noun.replace("a ", "a positive ", 1)
        return noun + self._range()

    def _range(self) -> str:
        """The bounds of a number, in words."""
        low = "" if self.ge is None else f" from {self.ge}"
        low += "" if self.gt is None else f" above {self.gt}"
        high = "" if self.le is None else f" to {self.le}"
        high += "" if self.lt is None else f" to below {self.lt}"
        if low and high:
            return low + high
        return (f"{low} up" if self.ge is not None else low) or high.replace(" to ", " up to ", 1)


def shown(value: object) -> str:
    """A value as a complaint quotes it: on one line, and not at length."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)


def kind_of(annotation: Any) -> Any:
    """A type without its marks and without None: of alternatives the first."""
    if get_origin(annotation) is Annotated:
        return kind_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kind_of(kinds[0])
    return annotation


def settings_of(cls: Any) -> tuple[Setting, ...]:
    """All fields of a settings dataclass, in their order, with their marks."""
    return _settings_of(cls)


@functools.cache
def _settings_of(cls: Any) -> tuple[Setting, ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        _setting_of(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init
    )


def _setting_of(field: "dataclasses.Field[Any]", annotation: Any) -> Setting:
    marks = Marks()
    if get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        marks = next((extra for extra in extras if isinstance(extra, Marks)), marks)
    known = {mark.name: getattr(marks, mark.name) for mark in dataclasses.fields(Marks)}
    known["choices"] = marks.choices or _literals(annotation)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return Setting(name=field.name, type=annotation, default=default, **known)


def _literals(annotation: Any) -> tuple[str, ...]:
    """The texts of a ``Literal``, alone, optional, or in a tuple."""
    kind = kind_of(annotation)
    if get_origin(kind) is tuple:
        kind = kind_of(get_args(kind)[0])
    return tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()
