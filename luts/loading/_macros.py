"""Macros of a Verilog source, as far as ports are declared with them: `` `define W 8 ``."""

import re
from collections.abc import Mapping

_DIRECTIVE = re.compile(
    r"\s*`(define|undef|ifdef|ifndef|elsif|else|endif)\b\s*(\w*)(.*)", re.DOTALL
)
_USE = re.compile(r"`([A-Za-z_]\w*)")

MAX_VALUE = 100
"""Characters of a macro that is put in; a width has few."""
MAX_ADDED = 2**20
"""Characters that macros may add to a source altogether."""
MAX_DEPTH = 8

OTHERS = {
    *("include", "timescale", "default_nettype", "celldefine", "endcelldefine", "resetall"),
    *("line", "pragma", "begin_keywords", "end_keywords", "unconnected_drive"),
    *("nounconnected_drive", "__FILE__", "__LINE__"),
}
"""Directives and macros that no source defines."""


def expanded(code: str) -> str:
    """A source without comments, its macros put in and what they leave out left out.

    Macros with arguments, long ones, and those of other files stay as they are.
    """
    macros: dict[str, str] = {}
    kept: list[str] = []
    # Of each ``ifdef`` around a line: whether the line counts, whether a branch has been taken, and
    # whether what is around counts.
    branches: list[tuple[bool, bool, bool]] = []
    room = [MAX_ADDED]
    for line in re.sub(r"\\\r?\n", " ", code).splitlines():
        match = _DIRECTIVE.match(line)
        counts = not branches or branches[-1][0]
        if match is None:
            if counts:
                kept.append(_put_in(line, macros, room))
            continue
        word, name, rest = match.groups()
        if word in ("define", "undef"):
            if counts:
                _define(word, name, rest, macros)
        else:
            kept.append(_branch(word, name, rest, branches, macros))
    return "\n".join(kept)


def unknown(code: str) -> tuple[str, ...]:
    """Names of macros that are still there in an expanded source."""
    return tuple(dict.fromkeys(name for name in _USE.findall(code) if name not in OTHERS))


def _define(word: str, name: str, rest: str, macros: dict[str, str]) -> None:
    macros.pop(name, None)
    if word == "define" and name and not rest.startswith("("):
        macros[name] = rest.strip()


def _branch(
    word: str,
    name: str,
    rest: str,
    branches: list[tuple[bool, bool, bool]],
    macros: Mapping[str, str],
) -> str:
    """Begin, change or end a branch; what stands behind the directive on its line."""
    around = not branches or branches[-1][0]
    match word:
        case "ifdef" | "ifndef":
            taken = (name in macros) == (word == "ifdef")
            branches.append((around and taken, taken, around))
        case "elsif" | "else" if branches:
            _, was_taken, around = branches.pop()
            taken = not was_taken and (word == "else" or name in macros)
            branches.append((around and taken, was_taken or taken, around))
        case "endif" if branches:
            branches.pop()
    behind = rest if word in ("ifdef", "ifndef", "elsif") else f"{name}{rest}"
    return behind if not branches or branches[-1][0] else ""


def _put_in(line: str, macros: Mapping[str, str], room: list[int]) -> str:
    for _ in range(MAX_DEPTH):
        if not 0 < MAX_VALUE * line.count("`") <= room[0]:
            break
        longer = _USE.sub(lambda use: _value(use, macros), line)
        if longer == line:
            break
        room[0] -= max(0, len(longer) - len(line))
        line = longer
    return line


def _value(use: re.Match[str], macros: Mapping[str, str]) -> str:
    value = macros.get(use.group(1))
    return use.group() if value is None or len(value) > MAX_VALUE else value
