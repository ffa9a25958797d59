"""``python -m luts.rtl NAME --out DIR``: Verilog of an array multiplier, and its test bench."""

from pathlib import Path

import luts
from luts.circuits import array_testbench, array_verilog, cuts_of, cuts_of_table, module_name
from luts.console import Parser, Terminal, run
from luts.errors import InputError
from luts.text import quoted


def main() -> None:
    """Write the circuit that the command line names, and a self-checking test bench."""
    parser = Parser(
        prog="python -m luts.rtl",
        description="Write synthesisable Verilog of an array multiplier and an exhaustive "
        "self-checking test bench. Nothing is overwritten.",
    )
    parser.add_argument("name", metavar="NAME", help="array:a3b5d0 with any cuts, or mul8s_1L2H")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    arguments = parser.parse_args()
    multiplier = luts.catalog[arguments.name]
    cuts = cuts_of(multiplier.name) or cuts_of_table(multiplier.sha256)
    if cuts is None:
        raise InputError(
            f"{multiplier.name} is not an array multiplier, so that its gates are not known; name "
            "an array (array:a3b5d0) or one of the set mul8s"
        )
    module = module_name(cuts)
    files = {f"{module}.v": array_verilog(cuts), f"{module}_testbench.v": array_testbench(cuts)}
    _write(arguments.out, files)
    console = Terminal()
    for name in files:
        console.say(f"wrote {arguments.out / name}")
    sources = " ".join(quoted(arguments.out / name) for name in files)
    console.say(f"to check it: iverilog -o {module}.vvp {sources} && vvp {module}.vvp")


def _write(folder: Path, files: dict[str, str]) -> None:
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise InputError(f"{folder / there[0]} is there already; give another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error


if __name__ == "__main__":
    run(main)
