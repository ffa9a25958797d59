"""The modules of a Verilog file: ports, widths, parameters, and which of them is the circuit."""

import ast
import dataclasses
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, cast

from luts.errors import InputError
from luts.loading._layout import Layout, without_comments
from luts.loading._macros import expanded, unknown

Direction = Literal["input", "output", "inout"]

IDLE = {
    *("clk", "clock", "clk_i", "rst", "rst_i", "rst_n", "rst_ni", "reset", "reset_n", "resetn"),
    *("nreset", "arst", "arst_n", "aresetn"),
}
"""Names of one-bit inputs that a combinational circuit has and does not use; held at 0."""

MAX_PRODUCT_BITS = 63

_MARK = re.compile(r"\b(?:module|macromodule|endmodule)\b")
_NAME = re.compile(r"\s*(?:automatic\s+|static\s+)?([A-Za-z_]\w*)")
_INSTANCE = re.compile(r"\b([A-Za-z_]\w*)\s+(?=[#A-Za-z_\\])")
"""``name label (`` or ``name #(``, and other words before words."""

_ROUTINE = re.compile(r"\b(endfunction|endtask|function|task)\b")
_PORT = re.compile(
    r"\s*(?:(input|output|inout)\b)?((?:\s*\b(?:wire|reg|logic|signed|unsigned|var|tri)\b)*)"
    r"\s*(\[[^\]]*\])?\s*([A-Za-z_]\w*)\s*(?:=.*)?",
    re.DOTALL,
)
_PARAMETER = re.compile(
    r"\s*(?:(?:parameter|localparam)\b)?(?:\s*\b(?:integer|int|signed|unsigned|logic)\b)*"
    r"\s*(?:\[[^\]]*\])?\s*([A-Za-z_]\w*)\s*=(.*)",
    re.DOTALL,
)
MAX_CONSTANT = 200
"""Characters of a constant expression that is worked out."""

_LEADING_ZEROS = re.compile(r"(?<![\w.])0+(?=\d)")
_NUMBER = re.compile(r"(?:\d+\s*)?'[sS]?([bodhBODH])([0-9a-fA-F_]+)")
_BASES = {"b": 2, "o": 8, "d": 10, "h": 16}
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: lambda a, b: a << min(b, 64),
    ast.RShift: operator.rshift,
}


@dataclasses.dataclass(frozen=True)
class Port:
    """A port; its width is None where it is no constant that is known here."""

    name: str
    direction: Direction
    width: int | None
    is_signed: bool

    def __str__(self) -> str:
        return f"{self.direction} {self.name} ({self.width or '?'})"


@dataclasses.dataclass(frozen=True)
class Module:
    """A Verilog module as its file declares it.

    Attributes:
        name: the module's name.
        ports: in the order of its port list.
        is_instantiated: another module of the file has it in it.
    """

    name: str
    ports: tuple[Port, ...]
    is_instantiated: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {', '.join(map(str, self.ports)) or 'no ports'}"


@dataclasses.dataclass(frozen=True)
class Circuit:
    """A module as a multiplier.

    Attributes:
        name: the module's name.
        first: the input of 8 bits that comes first in its port list.
        second: the other one.
        product: the output.
        bits: the output's width.
        is_signed: whether both inputs are declared ``signed``.
        held: value and width of each other input, by name.
    """

    name: str
    first: str
    second: str
    product: str
    bits: int
    is_signed: bool = False
    held: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


def modules(text: str, parameters: Mapping[str, int] | None = None) -> list[Module]:
    """Every module of a source, its widths worked out with ``parameters`` instead of defaults."""
    code = re.sub(r"\(\*[^()*]*\*\)", " ", expanded(without_comments(text)))
    # Single blanks, or patterns that allow for blanks in many places would try every division.
    code = " ".join(code.split())
    sources = list(_sources(code))
    ports = [_ports(header, body, parameters or {}) for _, header, body in sources]
    inside: Counter[str] = Counter()
    for (name, _, body), own in zip(sources, ports, strict=True):
        if own:  # a test bench has none
            inside.update({*_INSTANCE.findall(body)} - {name})
    named = zip(sources, ports, strict=True)
    return [Module(name, own, inside[name] > 0) for (name, _, _), own in named]


def circuit_of(module: Module, layout: Layout) -> Circuit | None:
    """The module as a multiplier, or None where its ports are not those of one."""
    held, operands, outputs = {}, [], []
    for port in module.ports:
        if port.direction == "output":
            outputs.append(port)
        elif port.name in layout.ties:
            held[port.name] = (layout.ties[port.name], port.width or 1)
        elif port.width == 1 and port.name.lower() in IDLE:
            held[port.name] = (0, 1)
        else:
            operands.append(port)
    if [port.width for port in operands] != [8, 8] or len(outputs) != 1:
        return None
    bits = outputs[0].width
    if bits is None or bits > MAX_PRODUCT_BITS:
        return None
    first, second = operands
    is_signed = first.is_signed and second.is_signed
    return Circuit(module.name, first.name, second.name, outputs[0].name, bits, is_signed, held)


def choose(text: str, layout: Layout, shown: str) -> Circuit:
    """The circuit of a file: `Layout.symbol`, or the one that no other module has in it.

    Raises:
        InputError: there is none or there are several; every module is listed with its ports.
    """
    circuit = _chosen(text, layout, shown)
    _check_used(text, layout, circuit, shown)
    return circuit


def _check_used(text: str, layout: Layout, circuit: Circuit, shown: str) -> None:
    """Refuse settings that change nothing, or that do not fit.

    Raises:
        InputError: a parameter or an input that is not there, or a value too wide for its input.
    """
    code = without_comments(text)
    for name in layout.parameters:
        if not re.search(rf"\b{re.escape(name)}\b", code):
            raise InputError(f"{shown} has no parameter {name!r} to set; its modules name none")
    for name, value in layout.ties.items():
        if name not in circuit.held:
            others = ", ".join(circuit.held) or "none"
            raise InputError(
                f"{shown}: {circuit.name} has no input {name!r} to hold constant beside its "
                f"operands; those that it has are {others}"
            )
        bits = circuit.held[name][1]
        if not 0 <= value < 1 << bits:
            raise InputError(f"{shown}: {name} has {bits} bits, which {value} does not fit into")


def _chosen(text: str, layout: Layout, shown: str) -> Circuit:
    found = modules(text, layout.parameters)
    circuits = {each.name: circuit for each in found if (circuit := circuit_of(each, layout))}
    listed = "; ".join(map(str, found[:10])) or "none"
    if layout.symbol is not None:
        if layout.symbol not in circuits:
            raise InputError(
                f"{shown} has no module {layout.symbol!r} with two 8-bit inputs and one output; "
                f"its modules are {listed}"
            )
        return circuits[layout.symbol]
    tops = [each for each in found if each.ports and not each.is_instantiated]
    chosen = [each.name for each in tops if each.name in circuits]
    if len(chosen) == 1:
        return circuits[chosen[0]]
    blocks = [name for name in circuits if name not in chosen]
    if chosen:
        raise InputError(
            f"{shown} has {len(chosen)} modules with two 8-bit inputs and one output: "
            f"{', '.join(chosen[:10])}; choose one with --symbol "
            f"(layout=luts.Layout(symbol={chosen[0]!r}))"
        )
    offer = f"; its blocks {', '.join(blocks[:10])} can be named with --symbol" if blocks else ""
    if missing := unknown(expanded(without_comments(text))):
        offer += f"; it defines no macro `{', `'.join(missing[:5])}: write numbers there"
    raise InputError(
        f"{shown} has no module with two 8-bit inputs and one output at its top; its modules are "
        f"{listed}{offer}; hold other inputs constant with --tie PORT=VALUE, set widths with "
        f"--parameter NAME=VALUE; a multiplier looks like "
        f"`module m(input [7:0] A, input [7:0] B, output [15:0] O);`"
    )


def _sources(code: str) -> Iterator[tuple[str, str, str]]:
    """Name, header (parameters and port list) and body of every module."""
    start = None
    for match in _MARK.finditer(code):
        if match.group() != "endmodule":
            start = match.end()
            continue
        if start is None:
            continue
        text, start = code[start : match.start()], None
        name = _NAME.match(text)
        if name is not None:
            header, _, body = text[name.end() :].partition(";")
            yield name.group(1), header, body


def _ports(header: str, body: str, given: Mapping[str, int]) -> tuple[Port, ...]:
    groups = _groups(header)
    names: dict[str, int] = {}
    if header.lstrip().startswith("#") and groups:
        _define(_split(groups[0]), names, given)
        groups = groups[1:]
    statements = [
        statement for statement in _outside_routines(body).split(";") if statement.strip()
    ]
    for statement in statements:
        if re.match(r"\s*(?:parameter|localparam)\b", statement):
            _define(_split(statement), names, given)
    listed = _split(groups[0]) if groups else []
    declared: dict[str, Port] = {}
    for items in (listed, *map(_split, statements)):
        declared |= _declared(items, names, known=declared)
    order = [match.group(4) for match in map(_PORT.fullmatch, listed) if match]
    return tuple(declared[name] for name in order if name in declared)


def _declared(
    items: list[str], names: Mapping[str, int], *, known: Mapping[str, Port]
) -> dict[str, Port]:
    """Ports of one declaration; direction, sign and range hold until the next direction."""
    ports: dict[str, Port] = {}
    direction: Direction | None = None
    words, width = "", None
    for item in items:
        match = _PORT.fullmatch(item)
        if match is None:
            break
        if match.group(1):
            direction = cast(Direction, match.group(1))
            words, width = match.group(2), match.group(3)
        if direction is None:
            break
        if match.group(4) not in known:
            ports[match.group(4)] = Port(
                match.group(4), direction, _width(width, names), "signed" in words.split()
            )
    return ports


def _define(items: list[str], names: dict[str, int], given: Mapping[str, int]) -> None:
    for item in items:
        match = _PARAMETER.fullmatch(item)
        if match is None:
            continue
        name = match.group(1)
        value = given[name] if name in given else constant(match.group(2), names)
        if value is not None:
            names[name] = value


def _groups(text: str) -> list[str]:
    """What stands in outermost parentheses."""
    found, depth, start = [], 0, 0
    for match in re.finditer(r"[()]", text):
        depth += 1 if match.group() == "(" else -1
        if match.group() == "(" and depth == 1:
            start = match.end()
        elif match.group() == ")" and depth == 0:
            found.append(text[start : match.start()])
    return found


def _split(text: str) -> list[str]:
    """``text`` at its commas outside of parentheses, brackets and braces."""
    pieces, depth, start = [], 0, 0
    for match in re.finditer(r"[()\[\]{},]", text):
        if match.group() == ",":
            if depth == 0:
                pieces.append(text[start : match.start()])
                start = match.end()
        else:
            depth += 1 if match.group() in "([{" else -1
    return [*pieces, text[start:]]


def _outside_routines(body: str) -> str:
    kept, start, is_inside = [], 0, False
    for match in _ROUTINE.finditer(body):
        if match.group() in ("function", "task") and not is_inside:
            kept.append(body[start : match.start()])
            is_inside = True
        elif match.group().startswith("end"):
            start, is_inside = match.end(), False
    return ";".join([*kept, "" if is_inside else body[start:]])


def _width(text: str | None, names: Mapping[str, int]) -> int | None:
    if not text:
        return 1
    high, mark, low = text.strip()[1:-1].partition(":")
    ends = constant(high, names), constant(low, names)
    if not mark or ends[0] is None or ends[1] is None:
        return None
    return abs(ends[0] - ends[1]) + 1


def constant(text: str, names: Mapping[str, int]) -> int | None:
    """Value of a constant expression of numbers and parameters, or None where it is another."""
    if len(text) > MAX_CONSTANT:
        return None
    plain = _NUMBER.sub(
        lambda m: _integer(m.group(2).replace("_", ""), _BASES[m.group(1).lower()]), text
    )
    plain = _LEADING_ZEROS.sub("", plain)
    try:
        return _value(ast.parse(plain.strip(), mode="eval").body, names)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, KeyError):
        return None


def _integer(digits: str, base: int) -> str:
    try:
        return str(int(digits, base))
    except ValueError:
        return "?"


def _value(node: ast.expr, names: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(number)):
            value = number
        case ast.Name(id=name):
            value = names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = -_value(operand, names)
        case ast.BinOp(left=left, op=how, right=right) if type(how) in _OPERATORS:
            value = _OPERATORS[type(how)](_value(left, names), _value(right, names))
        case _:
            raise ValueError("no constant")
    if abs(value) > 2**31:
        raise ValueError("too large")
    return value
