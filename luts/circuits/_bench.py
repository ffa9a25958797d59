"""Multipliers in Verilog, and a test bench of a weight-stationary array that multiplies with them.

The array is `luts/data/processing_array.v`: Kung, "Why systolic architectures?", IEEE Computer
15(1), 1982, with weights that stay, as in Jouppi et al., ISCA 2017, arXiv 1704.04760. The bench
reads codes and sums from text files and knows nothing of where they come from.
"""

import dataclasses
import json
import re
import string
from collections.abc import Sequence
from importlib import resources

from luts._multiplier import Multiplier, VerilogModule
from luts.circuits._family import cuts_of_table, netlist_of
from luts.circuits._rtl import array_verilog, module_name, netlist_verilog
from luts.circuits._structural import ADDER_MODULES

OURS = ("multiplier", "processing_element", "processing_array", "testbench")
"""Modules that no circuit may be named like."""

_CIRCUIT = """\
    {keyword} (CIRCUIT == {number}) begin : circuit_{number}
      // {name}
      wire {sign}[{top}:0] bits;
      {module} circuit (.{first}({a}), .{second}({b}), .{product}(bits));
      {result}
    end"""


def verilog_of(multiplier: Multiplier) -> VerilogModule | None:
    """A multiplier in Verilog: its own source, else an array's, else its netlist; None without.

    Args:
        multiplier: the circuit.
    """
    if multiplier.verilog is not None:
        return multiplier.verilog
    cuts, netlist = cuts_of_table(multiplier.sha256), netlist_of(multiplier)
    if cuts is not None:
        return VerilogModule(array_verilog(cuts), module_name(cuts), "a", "b", "product", 16)
    if netlist is None:
        return None
    text = "\n".join([netlist_verilog(netlist, "circuit"), *ADDER_MODULES.values()])
    return VerilogModule(text, "circuit", "a", "b", "product", len(netlist.product))


@dataclasses.dataclass(frozen=True)
class BenchSite:
    """Vectors that the test bench checks.

    Attributes:
        label: what to call them in messages; letters, digits, ``_``, ``.`` and ``-`` only.
        multiplier: the circuit.
        swapped: whether weights go to the circuit's first port.
        positions: M, outputs of one channel.
        depth: K, products of one output.
        channels: N, columns of weights.
        files: paths of the codes ``[M, K]`` and ``[K, N]``, two hexadecimal digits a line, and of
            the sums ``[M, N]``, eight digits.
    """

    label: str
    multiplier: Multiplier
    swapped: bool
    positions: int
    depth: int
    channels: int
    files: tuple[str, str, str]

    def __post_init__(self) -> None:
        assert re.fullmatch(r"[\w.-]+", self.label, re.ASCII), self.label


def array_bench(circuits: Sequence[Multiplier], sites: Sequence[BenchSite]) -> dict[str, str]:
    """Verilog files, by name: the circuits in their order, the array, and a test bench.

    The test bench checks ``sites``; its top module is ``testbench``, its parameters ``ROWS`` and
    ``COLUMNS`` are the array's size. Without sites there is none.

    Args:
        circuits: distinct, all with Verilog (`verilog_of`); at least one.
        sites: whose circuits are among them.
    """
    modules = _apart(circuits)
    files = {f"{module.name}.v": module.text for module in modules}
    files["multiplier.v"] = _multiplexer(circuits, modules)
    files["processing_array.v"] = _data("processing_array.v")
    if sites:
        files["testbench.v"] = _testbench(sites, circuits)
    return files


def _data(name: str) -> str:
    return resources.files("luts").joinpath(f"data/{name}").read_text(encoding="utf-8")


def _apart(circuits: Sequence[Multiplier]) -> list[VerilogModule]:
    """The circuits' modules, renamed where two files or ours define the same name."""
    taken, modules = set(OURS), []
    for number, multiplier in enumerate(circuits):
        module = verilog_of(multiplier)
        assert module is not None, multiplier.name
        text, name = module.text, module.name
        for defined in dict.fromkeys(re.findall(r"^\s*module\s+([A-Za-z_]\w*)", text, re.M)):
            if defined in taken:
                fresh = f"{defined}_{number}"
                text = re.sub(rf"\b{defined}\b", fresh, text)
                name = fresh if name == defined else name
                defined = fresh
            taken.add(defined)
        modules.append(dataclasses.replace(module, text=text, name=name))
    return modules


def _multiplexer(circuits: Sequence[Multiplier], modules: Sequence[VerilogModule]) -> str:
    parts = []
    for number, (multiplier, module) in enumerate(zip(circuits, modules, strict=True)):
        signed = multiplier.signed
        parts.append(
            _CIRCUIT.format(
                keyword="if" if number == 0 else "else if",
                number=number,
                name=json.dumps(multiplier.name),
                sign="signed " if signed else "",
                top=module.bits - 1,
                module=module.name,
                first=module.first,
                second=module.second,
                product=module.product,
                a="first" if signed else "first_magnitude",
                b="second" if signed else "second_magnitude",
                result=_widened(module.bits, signed=signed),
            )
        )
    return string.Template(_data("multiplier.v")).substitute(circuits="\n".join(parts))


def _widened(bits: int, *, signed: bool) -> str:
    """From the circuit's output to a signed product of 17 bits, which hold every product."""
    top = f"bits[{bits - 1}]" if signed else "1'b0"
    fill = f"{{{17 - bits}{{{top}}}}}"
    wide = "bits[16:0]" if bits > 17 else "bits" if bits == 17 else f"{{{fill}, bits}}"
    return f"assign product = {wide};" if signed else f"assign product = sign ? -{wide} : {wide};"


def _testbench(sites: Sequence[BenchSite], circuits: Sequence[Multiplier]) -> str:
    kinds = list(dict.fromkeys((circuits.index(s.multiplier), s.swapped) for s in sites))
    arrays, cases, checks = [], [], []
    for number, (circuit, swapped) in enumerate(kinds):
        arrays += [
            f"  wire [32*COLUMNS-1:0] sums_{number};",
            f"  processing_array #(.ROWS(ROWS), .COLUMNS(COLUMNS), .CIRCUIT({circuit}), "
            f".SWAPPED({int(swapped)})) array_{number} (",
            f"    .clock(clock), .load(load && chosen == {number}), .weights(weights), "
            ".used(used),",
            f"    .activations(chosen == {number} ? activations : {{ROWS{{8'd0}}}}), "
            f".sums(sums_{number})",
            "  );",
        ]
        cases.append(f"      {number}: sums = sums_{number};")
    arrays += ["", "  always @*", "    case (chosen)", *cases]
    arrays += ["      default: sums = {COLUMNS{32'd0}};", "    endcase"]
    for site in sites:
        which = kinds.index((circuits.index(site.multiplier), site.swapped))
        sizes = (site.positions * site.depth, site.depth * site.channels)
        counts = (*sizes, site.positions * site.channels)
        memories = ("activation_codes", "weight_codes", "expected")
        for file, memory, count in zip(site.files, memories, counts, strict=True):
            checks.append(f'    $readmemh("{file}", {memory}, 0, {count - 1});')
        checks += [
            "    errors_before = errors;",
            f"    check({which}, {site.positions}, {site.depth}, {site.channels});",
            f'    if (errors != errors_before) $display("FAILED at {site.label}");',
        ]
    return string.Template(_data("testbench.v")).substitute(
        most_activations=max(site.positions * site.depth for site in sites),
        most_weights=max(site.depth * site.channels for site in sites),
        most_sums=max(site.positions * site.channels for site in sites),
        arrays="\n".join(arrays) + "\n",
        checks="\n".join(checks),
        sites=len(sites),
    )
