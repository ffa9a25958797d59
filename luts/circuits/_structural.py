"""Read flat structural Verilog: one-bit expressions, half adders and full adders.

That is how EvoApproxLib publishes its ``*_pdk45.v`` netlists and how `luts.rtl` writes arrays, so
that neither needs a simulator to be read or priced. Anything else is left to Yosys.
"""

import functools
import re
from collections.abc import Callable

from luts.circuits._netlist import ONE, ZERO, Builder, Netlist

ADDERS = {
    "HAX1": ("HA", ("A", "B"), ("YS", "YC")),
    "FAX1": ("FA", ("A", "B", "C"), ("YS", "YC")),
    "half_adder": ("HA", ("a", "b"), ("sum", "carry")),
    "full_adder": ("FA", ("a", "b", "c"), ("sum", "carry")),
}
GATES = {"AND2X1": "AND", "OR2X1": "OR", "NAND2X1": "NAND", "NOR2X1": "NOR"} | {
    "XOR2X1": "XOR",
    "XNOR2X1": "XNOR",
}
CELLS = (
    ADDERS
    | {cell: (kind, ("A", "B"), ("Y",)) for cell, kind in GATES.items()}
    | {cell: (kind, ("A",), ("Y",)) for cell, kind in (("INVX1", "INV"), ("BUFX2", "BUF"))}
)
"""Cells known by name: kind, input ports, output ports."""

ADDER_MODULES = {
    "half_adder": """\
module half_adder(input a, input b, output sum, output carry);
  assign sum = a ^ b;
  assign carry = a & b;
endmodule
""",
    "full_adder": """\
module full_adder(input a, input b, input c, output sum, output carry);
  assign sum = a ^ b ^ c;
  assign carry = (a & b) | (c & (a ^ b));
endmodule
""",
}
"""The adders as `luts.rtl` writes them."""

_TOKEN = re.compile(r"\s*(1'b[01]|[A-Za-z_]\w*(?:\s*\[\s*\d+\s*\])?|~\^|[~&|^()])")
_STATEMENT = re.compile(r"([^;]*);")
_INSTANCE = re.compile(r"(\w+)\s+\w+\s*\((.*)\)\s*$", re.DOTALL)
_DECLARED = re.compile(
    r"(input|output|wire)\s+(?:wire\s+)?(?:signed\s+)?(?:\[\s*(\d+)\s*:\s*0\s*\])?(.*)", re.DOTALL
)

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

Thunk = Callable[[], int]


class NotStructural(Exception):
    """The text holds something that this reader does not know."""


def read_structural(text: str, module: str, ports: tuple[str, str, str]) -> Netlist:
    """The netlist of a module, constants folded.

    Args:
        text: Verilog without comments.
        module: the module's name.
        ports: its first operand, second operand and product.

    Raises:
        NotStructural: it is not flat structural Verilog of known cells.
    """
    match = re.search(rf"\bmodule\s+{re.escape(module)}\b(.*?)\bendmodule\b", text, re.DOTALL)
    if match is None:
        raise NotStructural(f"no module {module}")
    header, _, body = match.group(1).partition(";")
    try:
        return _Reader(header, body, ports).netlist(module)
    except RecursionError:
        raise NotStructural("a way through the circuit is too long") from None


def without_comments(text: str) -> str:
    """Verilog without its comments."""
    return _COMMENT.sub(" ", text)


class _Reader:
    def __init__(self, header: str, body: str, ports: tuple[str, str, str]) -> None:
        self.widths: dict[str, int] = {}
        self.drivers: dict[str, Thunk] = {}
        self.known: dict[str, int] = {}
        self.waiting: set[str] = set()
        self.ports = ports
        for declaration in re.split(r",(?=\s*(?:input|output))", header.strip(" ()\n\t")):
            self._declare(declaration.strip(" ()\n\t"))
        self.statements = [s.strip() for s in _STATEMENT.findall(body)]
        for statement in self.statements:
            self._declare(statement)
        first, second, self.product = ports
        if not {first, second, self.product} <= set(self.widths):
            raise NotStructural("ports without a width")
        self.builder = Builder((self.widths[first], self.widths[second]))
        for bit in range(self.widths[first]):
            self.known[f"{first}[{bit}]"] = self.builder.first(bit)
        for bit in range(self.widths[second]):
            self.known[f"{second}[{bit}]"] = self.builder.second(bit)

    def netlist(self, name: str) -> Netlist:
        for statement in self.statements:
            if re.match(r"(input|output|wire)\b", statement):
                continue
            if statement.startswith("assign"):
                self._assign(statement.removeprefix("assign"))
            else:
                self._instance(statement)
        bits = [self._net(f"{self.product}[{i}]") for i in range(self.widths[self.product])]
        return self.builder.build(name, bits)

    def _declare(self, statement: str) -> None:
        match = _DECLARED.match(statement)
        if match:
            if "=" in statement:
                raise NotStructural(statement)
            for name in re.findall(r"[A-Za-z_]\w*", match.group(3)):
                self.widths[name] = int(match.group(2) or 0) + 1

    def _assign(self, text: str) -> None:
        target, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise NotStructural(text)
        if target.startswith("{"):
            self._sum(_parts(target), [_parts(term) for term in value.split("+")])
            return
        if value.startswith("{"):
            parts = _parts(value)
            if self.widths.get(target) != len(parts):
                raise NotStructural(text)
            for bit, part in enumerate(parts):
                self._drive(f"{target}[{bit}]", functools.partial(self._expression, part))
            return
        self._drive(target, functools.partial(self._expression, value))

    def _sum(self, target: list[str], terms: list[list[str]]) -> None:
        """``{…} = {…} + {…}`` as a ripple-carry adder."""
        if len(terms) != 2:
            raise NotStructural("a sum of other than two")
        made: list[int] = []

        def output(at: int) -> int:
            carry = ZERO
            for bit in range(len(target)) if not made else ():
                nets = [self._expression(t[bit]) if bit < len(t) else ZERO for t in terms]
                sum_, carry = self.builder.add([*nets, carry])
                made.append(sum_)
            return made[at]

        for at, name in enumerate(target):
            self._drive(name, functools.partial(output, at))

    def _instance(self, statement: str) -> None:
        match = _INSTANCE.match(statement)
        if match is None or match.group(1) not in CELLS:
            raise NotStructural(f"cell {statement[:40]!r}")
        kind, inputs, outputs = CELLS[match.group(1)]
        ports = dict(_connections(match.group(2)))
        if not set(inputs) <= set(ports):
            raise NotStructural(statement)
        values = [functools.partial(self._expression, ports[port]) for port in inputs]
        made: list[tuple[int, ...]] = []

        def output(at: int) -> int:
            if not made:
                made.append(self._cell(kind, [value() for value in values]))
            return made[0][at]

        for at, port in enumerate(outputs):
            if ports.get(port, "").strip():
                self._drive(ports[port], functools.partial(output, at))

    def _cell(self, kind: str, nets: list[int]) -> tuple[int, ...]:
        if kind in ("HA", "FA"):
            return self.builder.add(nets)
        if kind in ("INV", "BUF"):
            return (self.builder.inv(nets[0]) if kind == "INV" else nets[0],)
        return (self.builder.gate(kind, nets[0], nets[1]),)

    def _drive(self, target: str, value: Thunk) -> None:
        name = _plain(target, self.widths)
        if name in self.drivers or name in self.known:
            raise NotStructural(f"{name} is driven twice")
        self.drivers[name] = value

    def _net(self, name: str) -> int:
        if name not in self.known:
            if name not in self.drivers or name in self.waiting:
                raise NotStructural(f"nothing drives {name}, or it drives itself")
            self.waiting.add(name)
            self.known[name] = self.drivers[name]()
        return self.known[name]

    def _expression(self, text: str) -> int:
        tokens = _tokens(text)
        net = self._binary(tokens, ("|", "^", "&"))
        if tokens:
            raise NotStructural(text)
        return net

    def _binary(self, tokens: list[str], operators: tuple[str, ...]) -> int:
        """Verilog's order of precedence: ``&`` before ``^`` and ``~^`` before ``|``."""
        if not operators:
            return self._unary(tokens)
        net = self._binary(tokens, operators[1:])
        while tokens and tokens[0].removeprefix("~") == operators[0]:
            kind = {"|": "OR", "^": "XOR", "~^": "XNOR", "&": "AND"}[tokens.pop(0)]
            net = self.builder.gate(kind, net, self._binary(tokens, operators[1:]))
        return net

    def _unary(self, tokens: list[str]) -> int:
        token = tokens.pop(0) if tokens else ""
        if token == "~":
            return self.builder.inv(self._unary(tokens))
        if token == "(":
            net = self._binary(tokens, ("|", "^", "&"))
            if not tokens or tokens.pop(0) != ")":
                raise NotStructural("parentheses")
            return net
        if token in ("1'b0", "1'b1"):
            return ONE if token == "1'b1" else ZERO
        if not re.match(r"[A-Za-z_]", token):
            raise NotStructural(token)
        return self._net(_plain(token, self.widths))


def _parts(text: str) -> list[str]:
    """What stands in a concatenation, lowest bit first."""
    if not re.fullmatch(r"\{[^{}]*\}", text.strip()):
        raise NotStructural(text)
    return [part.strip() for part in reversed(text.strip("{} \n\t").split(","))]


def _connections(text: str) -> list[tuple[str, str]]:
    """Ports and what is connected to them, parentheses balanced."""
    pairs, at = [], 0
    for match in re.finditer(r"\.\s*(\w+)\s*\(", text):
        if match.start() < at:
            continue
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        pairs.append((match.group(1), text[match.end() : end - 1]))
        at = end
    return pairs


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotStructural(text)
        tokens.append(re.sub(r"\s", "", match.group(1)))
        at = match.end()
    return tokens


def _plain(name: str, widths: dict[str, int]) -> str:
    """The name of one bit: a vector of one bit is the bit itself."""
    name = re.sub(r"\s", "", name)
    if widths.get(name, 1) > 1:
        raise NotStructural(f"{name} is not one bit")
    return name
