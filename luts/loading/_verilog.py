"""Circuits as Verilog: a combinational module, simulated over all operands."""

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
from luts.loading._modules import Circuit, choose

_NEIGHBOUR = re.compile(r"[A-Za-z_]\w*\.(?:v|sv|vh|svh)")
MAX_BYTES = 2**23

LIBRARY = "library"
"""Folder of the file's neighbours, one module a file: where modules that it lacks are looked up."""

MAX_NEIGHBOURS = 500

_TOP = """\
module {name}(input [7:0] first, input [7:0] second, output [{top}:0] product);
  {module} {parameters}circuit({ports});
endmodule
"""
_PURE = "pure"
_BENCH = """\
module luts_testbench;
  reg [7:0] first, second;
  wire [{top}:0] product;
  reg [{top}:0] products [0:65535];
  integer step, pair, file;
  luts_top circuit(.first(first), .second(second), .product(product));
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


def read(request: Request) -> RawTable:
    """Evaluate the file's module over all operands.

    Flat netlists of known adders and gates are read here; anything else is simulated with
    ``iverilog``, or evaluated by ``yosys`` where that is not there.

    Args:
        request: the file; the module is `Layout.symbol`, or the one with two inputs of 8 bits and
            one output that no other module of the file has in it. Modules that the file lacks come
            from files of their names beside it. Parameters and ports that are held constant are
            those of the layout; unused clocks and resets are held at 0.

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
            verilog=_complete(request, module, netlist),
        )
    iverilog, vvp, yosys = (shutil.which(tool) for tool in ("iverilog", "vvp", "yosys"))
    if not (iverilog and vvp) and not yosys:
        raise InputError(
            f"{request.shown} needs iverilog or yosys, and neither is on the PATH; install one, or "
            "give the circuit as .c or its table as .npy"
        )
    module = choose(request.text(), request.layout, request.shown)
    request.is_signed(module.name, declared=module.is_signed)
    with tempfile.TemporaryDirectory(prefix="luts-") as name:
        folder = Path(name)
        _prepared(request, folder, module)
        if iverilog and vvp:
            products = _simulate(request, folder, module, (iverilog, vvp))
        else:
            products = _evaluate(request, folder, module, str(yosys))
    return RawTable(
        products,
        by_code=True,
        bits=module.bits,
        note=f"product port of {module.bits} bits" if module.bits > 16 else "",
        netlist=lambda: _synthesised(request, module, products) if yosys else None,
        verilog=_source(request, module),
    )


def _source(request: Request, module: Circuit) -> VerilogModule:
    """The circuit in one text: with the neighbours that it names, its settings around it."""
    text = "\n".join([request.text(), *_named_neighbours(request)])
    if module.held or request.layout.parameters:
        name = f"{module.name}_8x8"
        return VerilogModule(
            f"{text}\n{_top(request, module, name)}", name, *_yosys.PORTS, module.bits
        )
    return VerilogModule(
        text, module.name, module.first, module.second, module.product, module.bits
    )


def _neighbours(request: Request) -> list[Path]:
    """Verilog files beside the circuit's whose names are plain words."""
    source = request.path.resolve()
    found = (path for path in source.parent.iterdir() if _NEIGHBOUR.fullmatch(path.name))
    fit = (p for p in sorted(found) if p.is_file() and p.stat().st_size < MAX_BYTES)
    return [path for path in fit if path.stem != source.stem][:MAX_NEIGHBOURS]


def _named_neighbours(request: Request) -> list[str]:
    """Texts of the neighbours that the circuit, or one of them, has a module of."""
    waiting = {p.stem: p for p in _neighbours(request) if p.suffix in (".v", ".sv")}
    code = without_comments(request.text())
    for name in re.findall(r"\bmodule\s+(\w+)", code):
        waiting.pop(name, None)
    texts, words = [], set(re.findall(r"\w+", code))
    while named := [name for name in waiting if name in words]:
        for name in named:
            texts.append(waiting.pop(name).read_bytes().decode("utf-8", errors="replace"))
            words |= set(re.findall(r"\w+", without_comments(texts[-1])))
    return texts


def _complete(request: Request, module: Circuit, netlist: Netlist) -> VerilogModule:
    """The file as it is, or its netlist written out where it leaves cells to a library."""
    code = without_comments(request.text())
    defined = set(re.findall(r"\bmodule\s+(\w+)", code))
    if set(re.findall(r"\b\w+\b", code)) & set(CELLS) <= defined:
        return _source(request, module)
    written = "\n".join([netlist_verilog(netlist, module.name), *ADDER_MODULES.values()])
    return VerilogModule(written, module.name, "a", "b", "product", module.bits)


def _structural(request: Request) -> tuple[Circuit, Netlist] | None:
    """The module and its netlist where both can be read without a tool."""
    code = without_comments(request.text())
    names = set(re.findall(r"\bmodule\s+(\w+)", code))
    # A cell that the file defines itself may be anything, unless it is as we write it.
    own = {name for name, text in ADDER_MODULES.items() if _squeezed(text) in _squeezed(code)}
    if (names & set(CELLS)) - own:
        return None
    try:
        module = choose(request.text(), request.layout, request.shown)
        ports = (module.first, module.second, module.product)
        netlist = read_structural(code, module.name, ports)
    except (InputError, NotStructural):
        return None
    is_plain = not (module.held or request.layout.parameters)
    fits = netlist.widths == (8, 8) and len(netlist.product) == module.bits
    return (module, netlist) if fits and is_plain else None


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", without_comments(text))


def _synthesised(request: Request, module: Circuit, products: Int64) -> Netlist | None:
    """The netlist as Yosys makes it, adders recognised; None where it cannot read the file.

    Raises:
        InputError: the circuit is not combinational, or another one than was simulated.
    """
    yosys = shutil.which("yosys")
    if yosys is None:
        return None
    with tempfile.TemporaryDirectory(prefix="luts-") as name:
        folder = Path(name)
        _prepared(request, folder, module)
        script = _yosys.script(adders=True)
        (folder / "synth.ys").write_text(script, encoding="utf-8")
        try:
            step(request, folder, [yosys, "-q", "-s", "synth.ys"])
            text = (folder / "netlist.json").read_text(encoding="utf-8")
        except (InputError, OSError):
            return None
    netlist = _yosys.netlist(text, _yosys.TOP, _yosys.PORTS, shown=request.shown)
    pairs = np.arange(65_536)
    differing = netlist.products(pairs >> 8, pairs & 255) != products.ravel()
    if differing.any():
        raise InputError(
            f"{request.shown}: {int(differing.sum()):,} of 65,536 products differ between its "
            f"simulation and what yosys makes of it; complete its sensitivity lists (always @*)"
        )
    return netlist


def _prepared(request: Request, folder: Path, circuit: Circuit) -> None:
    """The circuit's file, its neighbours, and a top with two operands and a product alone.

    The tools see fixed or plain names only: iverilog hands its arguments on to a shell.
    """
    (folder / "circuit.v").write_bytes(request.path.read_bytes())
    library = folder / LIBRARY
    library.mkdir()
    for path in _neighbours(request):
        (library / path.name).write_bytes(path.read_bytes())
    (folder / "top.v").write_text(_top(request, circuit, _yosys.TOP), encoding="utf-8")


def _top(request: Request, circuit: Circuit, name: str) -> str:
    parameters = ", ".join(f".{each}({value})" for each, value in request.layout.parameters.items())
    held = [f".{each}({bits}'d{value})" for each, (value, bits) in circuit.held.items()]
    joined = (circuit.first, "first"), (circuit.second, "second"), (circuit.product, "product")
    return _TOP.format(
        name=name,
        top=circuit.bits - 1,
        module=circuit.name,
        parameters=f"#({parameters}) " if parameters else "",
        ports=", ".join([*(f".{port}({net})" for port, net in joined), *held]),
    )


def _simulate(request: Request, folder: Path, module: Circuit, tools: tuple[str, str]) -> Int64:
    iverilog, vvp = tools
    bench = _BENCH.format(top=module.bits - 1, results=RESULTS_FD, pure=_PURE)
    (folder / "bench.v").write_text(bench, encoding="utf-8")
    library = ["-y", LIBRARY, "-Y", ".v", "-Y", ".sv", "-I", LIBRARY]
    sources = ["bench.v", "top.v", "circuit.v"]
    top = ["-s", "luts_testbench", "-o", "circuit.vvp"]
    build = [iverilog, "-g2012", *library, *top, *sources]
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


def _evaluate(request: Request, folder: Path, module: Circuit, yosys: str) -> Int64:
    (folder / "synth.ys").write_text(_yosys.script(), encoding="utf-8")
    step(request, folder, [yosys, "-q", "-s", "synth.ys"])
    netlist = (folder / "netlist.json").read_text(encoding="utf-8")
    return _yosys.products(netlist, _yosys.TOP, _yosys.PORTS, shown=request.shown)


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
            message += " (a netlist of library cells needs their modules, here or beside it)"
        raise InputError(f"{request.shown}: {tool} {outcome.ended}: {message}")
    return outcome.results
