"""Synthesisable Verilog of a netlist, and a self-checking test bench over all operands.

Adders stand as instances of the two modules at the end of the file; every other cell is one
``assign``. The test bench sums the rows of partial products that are kept as numbers, and so
knows nothing of how the array adds them.
"""

from luts.circuits._array import Cuts, array_netlist
from luts.circuits._netlist import FIRST_INPUT, Netlist, NetlistCell
from luts.circuits._structural import ADDER_MODULES

_GATES = {"INV": "~{0}", "AND": "{0} & {1}", "NAND": "~({0} & {1})", "OR": "{0} | {1}"} | {
    "NOR": "~({0} | {1})",
    "XOR": "{0} ^ {1}",
    "XNOR": "~({0} ^ {1})",
    "MUX": "({2} & {1}) | (~{2} & {0})",
}

_BENCH = """\
// Checks all 65,536 products of {module} against the sum of the partial products
// a_i b_j with i >= {a}, j >= {b} and i + j >= {d}. Prints PASSED or FAILED.
`timescale 1ns / 1ps

module {module}_testbench;
  reg signed [7:0] a, b;
  wire signed [15:0] product;
  integer pair, i, lowest, kept, expected, errors;

  {module} circuit (.a(a), .b(b), .product(product));

  initial begin
    errors = 0;
    for (pair = 0; pair < 65536; pair = pair + 1) begin
      {{a, b}} = pair[15:0];
      expected = 0;
      for (i = {a}; i < 8; i = i + 1)
        if (a[i]) begin
          // Row i: b without the bits that are cut, times the weight of a_i.
          lowest = ({d} - i > {b}) ? {d} - i : {b};
          kept = (b >>> lowest) <<< lowest;
          expected = (i == 7) ? expected - (kept <<< i) : expected + (kept <<< i);
        end
      #10;
      if (product !== expected[15:0]) begin
        errors = errors + 1;
        if (errors <= 10)
          $display("a = %0d, b = %0d: product %0d, expected %0d", a, b, product, expected);
      end
    end
    if (errors == 0) $display("PASSED: all 65536 products are right");
    else $display("FAILED: %0d of 65536 products are wrong", errors);
    $finish;
  end
endmodule
"""


def module_name(cuts: Cuts) -> str:
    """The Verilog name of an array, ``mul8s_array_a3b5d0``."""
    return "mul8s_" + cuts.name.replace(":", "_")


def array_verilog(cuts: Cuts) -> str:
    """Synthesisable Verilog of the array with these cuts."""
    kept, netlist = cuts.canonical, array_netlist(cuts)
    counts = ", ".join(f"{n} {kind}" for kind, n in netlist.counts.items())
    head = (
        f"// {cuts.name}: signed 8x8 broken-array multiplier. Of the partial products a_i b_j it\n"
        f"// keeps those with i >= {kept.break_a}, j >= {kept.break_b} and i + j >= "
        f"{kept.break_diagonal}.\n"
        f"// Cells: {counts}.\n"
        "// Baugh-Wooley carry-save array: a partial product of one sign bit is inverted.\n"
    )
    used = [
        name
        for name, kind in (("half_adder", "HA"), ("full_adder", "FA"))
        if kind in netlist.counts
    ]
    return "\n".join(
        [
            head + netlist_verilog(netlist, module_name(cuts)),
            *(ADDER_MODULES[name] for name in used),
        ]
    )


def array_testbench(cuts: Cuts) -> str:
    """A test bench that checks the array with these cuts over all operands."""
    kept = cuts.canonical
    return _BENCH.format(
        module=module_name(cuts), a=kept.break_a, b=kept.break_b, d=kept.break_diagonal
    )


def netlist_verilog(netlist: Netlist, module: str) -> str:
    """One module with the ports ``a``, ``b`` and ``product``, both operands signed."""
    names = _names(netlist)
    first, second = (width - 1 for width in netlist.widths)
    top = len(netlist.product) - 1
    wires = [names[net] for cell in netlist.cells for net in cell.outputs]
    lines = [
        f"module {module}(",
        f"  input signed [{first}:0] a,",
        f"  input signed [{second}:0] b,",
        f"  output signed [{top}:0] product",
        ");",
        *(f"  wire {', '.join(wires[i : i + 10])};" for i in range(0, len(wires), 10)),
        "",
        *(_statement(cell, at, names) for at, cell in enumerate(netlist.cells)),
        "",
        *(f"  assign product[{bit}] = {names[net]};" for bit, net in enumerate(netlist.product)),
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _statement(cell: NetlistCell, at: int, names: dict[int, str]) -> str:
    inputs = [names[net] for net in cell.inputs]
    if cell.kind not in ("HA", "FA"):
        return f"  assign {names[cell.outputs[0]]} = {_GATES[cell.kind].format(*inputs)};"
    adder, letter = ("half_adder", "h") if cell.kind == "HA" else ("full_adder", "f")
    ports = [f".{port}({net})" for port, net in zip("abc", inputs, strict=False)]
    sum_, carry = (names[net] for net in cell.outputs)
    return f"  {adder} {letter}{at} ({', '.join(ports)}, .sum({sum_}), .carry({carry}));"


def _names(netlist: Netlist) -> dict[int, str]:
    """A readable name for each net: operand bits, partial products, sums and carries."""
    names = {0: "1'b0", 1: "1'b1"}
    for bit in range(sum(netlist.widths)):
        first = bit < netlist.widths[0]
        at = bit if first else bit - netlist.widths[0]
        names[FIRST_INPUT + bit] = f"{'a' if first else 'b'}[{at}]"
    for at, cell in enumerate(netlist.cells):
        if cell.kind in ("HA", "FA"):
            names |= dict(zip(cell.outputs, (f"s{at}", f"c{at}"), strict=True))
            continue
        operands = [names[net] for net in cell.inputs]
        is_partial = len(operands) == 2 and [name[0] for name in operands] == ["a", "b"]
        name = f"p{operands[0][2:-1]}_{operands[1][2:-1]}" if is_partial else f"g{at}"
        names[cell.outputs[0]] = name
    return names
