"""Ctrl-C while a command still imports what it needs, which takes seconds.

Imported before anything else by each package. Where Python was started with one of our commands
it then ends as one that is at work does: with status 130, and without a traceback.
"""

import os
import signal
import sys
from types import FrameType

PACKAGES = ("luts", "models", "energy", "dse", "studies")
STATUS = 130


def _is_command() -> bool:
    # So while Python looks for the module that its own option -m names, and imports its packages.
    if sys.argv[:1] != ["-m"]:
        return False
    word = sys.orig_argv[-len(sys.argv)]
    module = word.partition("m")[2] if word.startswith("-") else word  # -mdse.search
    return module.partition(".")[0] in PACKAGES


def _end(_signal: int, _frame: FrameType | None) -> None:
    # Not by an exception, as some of what is being imported would catch it.
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    os._exit(STATUS)


def take_over() -> None:
    """End at Ctrl-C until `give_back`, in a process that was started as a command."""
    if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def give_back() -> None:
    """Raise `KeyboardInterrupt` at Ctrl-C from now on, as Python does."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


take_over()
