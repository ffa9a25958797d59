"""``axdse COMMAND …``: every command under one name; each is also ``python -m PACKAGE.COMMAND``."""

import importlib
import sys

from luts.console import run
from luts.errors import InputError, suggest

COMMANDS = {
    "search": ("dse.search", "which multiplier each layer and each expert should use"),
    "front": ("dse.front", "finished runs side by side"),
    "export": ("dse.export", "a trial as files for hardware"),
    "show": ("luts.show", "multipliers of the catalogue, or of a file"),
    "rtl": ("luts.rtl", "Verilog and test bench of an array multiplier"),
    "report": ("energy.report", "what an assignment costs, site by site"),
    "selftest": ("luts.selftest", "whether every backend is exact on this machine"),
    "train": ("models.train", "train one network on one data set"),
}


def main() -> None:
    """Run the command that the first word names, with the words that follow."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        lines = [
            f"  {name:8} {what} (python -m {module})" for name, (module, what) in COMMANDS.items()
        ]
        sys.stdout.write("usage: axdse COMMAND …, with --help for its options\n\n")
        sys.stdout.write("\n".join(lines) + "\n")
        return
    name = words[0]
    if name not in COMMANDS:
        raise InputError(f"unknown command {name!r}; {suggest(name, list(COMMANDS))}")
    sys.argv = [f"axdse {name}", *words[1:]]
    importlib.import_module(COMMANDS[name][0]).main()


def axdse() -> None:
    """The console command."""
    run(main)


if __name__ == "__main__":
    axdse()
