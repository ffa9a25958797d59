"""Circuits as Verilog: a combinational module, simulated over all operands."""

import dataclasses
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np

from luts._multiplier import VerilogModule
from luts.circuits import (
    ADDER_MODULES,
    CELLS,
    Netlist,
    NotStructural,
    netlist_verilog,
    read_structural,
)
from luts.errors import InputError
from luts.loading import _process, _yosys
from luts.loading._launcher import RESULTS_FD
from luts.loading._layout import Int64, RawTable, Request, without_comments

_MODULE = re.compile(
    r"\bmodule\s+([A-Za-z_]\w*)\s*(?:#\s*\([^;]*?\)\s*)?\(([^;]*)\)\s*;(.*?)\bendmodule\b",
    re.DOTALL,
)
_PORTS = re.compile(
    r"\b(input|output|inout)\b((?:\s|\b(?:wire|reg|logic|signed|unsigned|var)\b)*)"
    r"(\[[^\]]*\])?\s*((?!input\b|output\b|inout\b)[A-Za-z_]\w*"
    r"(?:\s*,\s*(?!input\b|output\b|inout\b)[A-Za-z_]\w*)*)"
)
_PURE = "pure"
_BENCH = """\
module luts_testbench;
  reg [7:0] first, second;
  wire [{top}:0] product;
  reg [{top}:0] products [0:65535];
  integer step, pair, file;
  {module} circuit(.{first}(first), .{second}(second), .{product}(product));
  initial begin
    file = $fopen("/dev/fd/{results}", "w");
    // Up, down, and in leaps: what depends on earlier operands gives another product then.
    for (step = 0; step < 3 * 65536; step = step + 1) begin
      pair = step < 65536 ? step : step < 2 * 65536 ? 2 * 65536 - 1 - step
          : ((step * 40503) ^ (step >> 8)) & 65535;
      first = pair >> 8;
      second = pair & 255;
      #1;
      if (step < 65536) begin
        products[pair] = product;
        $fwrite(file, "%h\\n", product);
      end else if (products[pair] !== product) begin
        $fwrite(file, "%0d %h\\n", pair, product);
        $finish;
      end
    end
    $fwrite(file, "{pure}\\n");
    $fclose(file);
    $finish;
  end
endmodule
"""


@dataclasses.dataclass(frozen=True)
class Module:
    """A Verilog module with two 8-bit inputs and one output.

    Attributes:
        name: the module's name.
        first: the input that comes first in its port list.
        second: the other one.
        product: the output.
        bits: the output's width.
        is_signed: whether both inputs are declared ``signed``.
    """

    name: str
    first: str
    second: str
    product: str
    bits: int
    is_signed: bool = False


def read(request: Request) -> RawTable:
    """Evaluate the file's module over all operands.

    Flat netlists of known adders and gates are read here; anything else is simulated with
    ``iverilog``, or evaluated by ``yosys`` where that is not there.

    Args:
        request: the file; the module is `Layout.symbol`, or the only one that has two inputs of 8
            bits and one output.

    Raises:
        InputError: neither tool is there, the source is in error, has no or several such modules,
            or an output is undefined.
    """
    structural = _structural(request)
    if structural is not None:
        module, netlist = structural
        request.is_signed(module.name, declared=module.is_signed)
        pairs = np.arange(65_536)
        products = netlist.products(pairs >> 8, pairs & 255).reshape(256, 256)
        return RawTable(
            products,
            by_code=True,
            bits=module.bits,
            netlist=lambda: netlist,
            verilog=_complete(request.text(), module, netlist),
        )
    iverilog, vvp, yosys = (shutil.which(tool) for tool in ("iverilog", "vvp", "yosys"))
    if not (iverilog and vvp) and not yosys:
        raise InputError(
            f"{request.shown} needs iverilog or yosys, and neither is on the PATH; install one, or "
            "give the circuit as .c or its table as .npy"
        )
    module = _choose(request)
    request.is_signed(module.name, declared=module.is_signed)
    with tempfile.TemporaryDirectory(prefix="luts-") as name:
        folder = Path(name)
        # The tools see fixed names only: iverilog hands its arguments on to a shell.
        (folder / "circuit.v").write_bytes(request.path.read_bytes())
        if iverilog and vvp:
            products = _simulate(request, folder, module, (iverilog, vvp))
        else:
            products = _evaluate(request, folder, module, str(yosys))
    return RawTable(
        products,
        by_code=True,
        bits=module.bits,
        netlist=lambda: _synthesised(request, module, products) if yosys else None,
        verilog=_source(request.text(), module),
    )


def _source(text: str, module: Module) -> VerilogModule:
    ports = (module.first, module.second, module.product)
    return VerilogModule(text, module.name, *ports, module.bits)


def _complete(text: str, module: Module, netlist: Netlist) -> VerilogModule:
    """The file as it is, or its netlist written out where it leaves cells to a library."""
    code = without_comments(text)
    defined = set(re.findall(r"\bmodule\s+(\w+)", code))
    if set(re.findall(r"\b\w+\b", code)) & set(CELLS) <= defined:
        return _source(text, module)
    written = "\n".join([netlist_verilog(netlist, module.name), *ADDER_MODULES.values()])
    return VerilogModule(written, module.name, "a", "b", "product", module.bits)


def _structural(request: Request) -> tuple[Module, Netlist] | None:
    """The module and its netlist where both can be read without a tool."""
    code = without_comments(request.text())
    names = set(re.findall(r"\bmodule\s+(\w+)", code))
    # A cell that the file defines itself may be anything, unless it is as we write it.
    own = {name for name, text in ADDER_MODULES.items() if _squeezed(text) in _squeezed(code)}
    if (names & set(CELLS)) - own:
        return None
    try:
        module = _choose(request)
        ports = (module.first, module.second, module.product)
        netlist = read_structural(code, module.name, ports)
    except (InputError, NotStructural):
        return None
    fits = netlist.widths == (8, 8) and len(netlist.product) == module.bits
    return (module, netlist) if fits else None


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", without_comments(text))


def _synthesised(request: Request, module: Module, products: Int64) -> Netlist | None:
    """The netlist as Yosys makes it, adders recognised; None where it cannot read the file.

    Raises:
        InputError: the circuit is not combinational, or another one than was simulated.
    """
    yosys = shutil.which("yosys")
    if yosys is None:
        return None
    with tempfile.TemporaryDirectory(prefix="luts-") as name:
        folder = Path(name)
        (folder / "circuit.v").write_bytes(request.path.read_bytes())
        script = _yosys.script(module.name, adders=True)
        (folder / "synth.ys").write_text(script, encoding="utf-8")
        try:
            step(request, folder, [yosys, "-q", "-s", "synth.ys"])
            text = (folder / "netlist.json").read_text(encoding="utf-8")
        except (InputError, OSError):
            return None
    ports = (module.first, module.second, module.product)
    netlist = _yosys.netlist(text, module.name, ports, shown=request.shown)
    pairs = np.arange(65_536)
    differing = netlist.products(pairs >> 8, pairs & 255) != products.ravel()
    if differing.any():
        raise InputError(
            f"{request.shown}: {int(differing.sum()):,} of 65,536 products differ between its "
            f"simulation and what yosys makes of it; complete its sensitivity lists (always @*)"
        )
    return netlist


def modules(text: str) -> list[Module]:
    """Modules of ``text`` that have two inputs of 8 bits and one output."""
    multipliers = []
    for name, header, body in _MODULE.findall(without_comments(text)):
        inner = re.sub(r"\b(function|task)\b.*?\bend\1\b", " ", body, flags=re.DOTALL)
        ports: dict[str, tuple[str, int | None]] = {}
        signed: set[str] = set()
        for direction, words, width, names in _PORTS.findall(f"{header} ; {inner}"):
            for port in re.findall(r"\w+", names):
                ports[port] = (direction, _width(width))
                if "signed" in words.split():
                    signed.add(port)
        order = sorted(ports, key=lambda port: _place(port, header))
        inputs = [(port, ports[port][1]) for port in order if ports[port][0] != "output"]
        outputs = [(port, ports[port][1]) for port in order if ports[port][0] == "output"]
        if [width for _, width in inputs] == [8, 8] and len(outputs) == 1:
            (product, bits), (first, _), (second, _) = outputs[0], *inputs
            if bits is not None and bits < 64:
                is_signed = {first, second} <= signed
                multipliers.append(Module(name, first, second, product, bits, is_signed))
    return multipliers


def _place(port: str, header: str) -> int:
    match = re.search(rf"\b{port}\b", header)
    return match.start() if match else len(header)


def _width(text: str) -> int | None:
    if not text:
        return 1
    match = re.fullmatch(r"\[\s*(\d{1,4})\s*:\s*0\s*\]", text)
    return int(match.group(1)) + 1 if match else None


def _choose(request: Request) -> Module:
    candidates = modules(request.text())
    hint = "a multiplier looks like `module m(input [7:0] A, input [7:0] B, output [15:0] O);`"
    kind = "module with two 8-bit inputs and one output"
    name = request.choose(kind, [module.name for module in candidates], hint)
    return next(module for module in candidates if module.name == name)


def _simulate(request: Request, folder: Path, module: Module, tools: tuple[str, str]) -> Int64:
    iverilog, vvp = tools
    bench = _BENCH.format(
        top=module.bits - 1,
        module=module.name,
        first=module.first,
        second=module.second,
        product=module.product,
        results=RESULTS_FD,
        pure=_PURE,
    )
    (folder / "bench.v").write_text(bench, encoding="utf-8")
    sources = ["bench.v", "circuit.v"]
    build = [iverilog, "-g2012", "-s", "luts_testbench", "-o", "circuit.vvp", *sources]
    step(request, folder, build)
    simulation = [vvp, "-n", str(folder / "circuit.vvp")]
    lines = step(request, folder, simulation, is_stranger=True).decode("ascii", "replace").split()
    products, rest = lines[:65_536], lines[65_536:]
    if len(products) < 65_536:
        raise InputError(f"{request.shown}: the simulation ended after {len(lines):,} products")
    undefined = next((i for i, line in enumerate(products) if re.search("[^0-9a-f]", line)), None)
    if undefined is not None:
        raise InputError(
            f"{request.shown}: its output is undefined ({products[undefined]}) for operand codes "
            f"{undefined >> 8} and {undefined & 255}; a multiplier is combinational"
        )
    if rest != [_PURE]:
        raise InputError(f"{request.shown}: {_impurity(products, rest)}")
    return np.array([int(line, 16) for line in products], dtype=np.int64).reshape(256, 256)


def _impurity(products: list[str], said: list[str]) -> str:
    """What is wrong with a circuit, from the operands at which its bench stopped."""
    if len(said) != 2 or not said[0].isdecimal() or int(said[0]) >= len(products):
        return "the simulation ended before every pair of operands had been tried three times"
    pair, other = int(said[0]), said[1]
    return (
        f"its product of operand codes {pair >> 8} and {pair & 255} depends on those before "
        f"({products[pair]} or {other}), and a multiplier's depends on its operands alone; give "
        f"the output a value for all inputs in always @*, without memory or $random"
    )


def _evaluate(request: Request, folder: Path, module: Module, yosys: str) -> Int64:
    (folder / "synth.ys").write_text(_yosys.script(module.name), encoding="utf-8")
    step(request, folder, [yosys, "-q", "-s", "synth.ys"])
    netlist = (folder / "netlist.json").read_text(encoding="utf-8")
    ports = (module.first, module.second, module.product)
    return _yosys.products(netlist, module.name, ports, shown=request.shown)


def step(request: Request, folder: Path, command: list[str], *, is_stranger: bool = False) -> bytes:
    """Run one tool on the circuit, or the circuit itself; what it writes to descriptor 3.

    Raises:
        InputError: it fails or does not end in time.
    """
    limit_s = request.layout.time_limit_s
    outcome = _process.run(command, folder=folder, time_limit_s=limit_s, is_stranger=is_stranger)
    tool = Path(command[0]).name
    if outcome.status is None:
        raise InputError(
            f"{request.shown}: {tool} does not end within {limit_s:g} s of processor time; "
            "mend it or give layout=luts.Layout(time_limit_s=…)"
        )
    if outcome.status != 0:
        message = _process.first_error(outcome.errors)
        if re.search("unknown module|not part of the design", message, re.IGNORECASE):
            message += " (a netlist of library cells needs their modules in the same file)"
        raise InputError(f"{request.shown}: {tool} {outcome.ended}: {message}")
    return outcome.results
