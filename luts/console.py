"""What all ``python -m`` modules share: arguments, errors, progress on the terminal.

They live in the lowest package because every other one may import it.
"""

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import NoReturn, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from luts.errors import InputError

Item = TypeVar("Item")


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and exit with status 2."""

    def error(self, message: str) -> NoReturn:
        """Print one line without the usage block, and exit with status 2."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def run(main: Callable[[], None]) -> NoReturn:
    """Call ``main`` and exit: 0, 2 with one line for an `InputError`, 130 for Ctrl-C."""
    try:
        main()
    except InputError as error:
        sys.stderr.write("error: " + " ".join(str(error).split()) + "\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; stop Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


class Terminal(Console):
    """Standard output, or standard error: text appears as it is, brackets and colons included.

    Args:
        width: columns where the output is no terminal and has no width of its own.
        quiet: show nothing.
        stderr: write to standard error.
    """

    def __init__(self, *, width: int = 200, quiet: bool = False, stderr: bool = False) -> None:
        # Names and paths come from users: neither markup nor emoji codes are looked for in them.
        super().__init__(markup=False, emoji=False, quiet=quiet, stderr=stderr)
        if not self.is_terminal:
            self.width = width

    def say(self, line: str) -> None:
        """One line of plain text, however long."""
        self.print(line, highlight=False, soft_wrap=True)


class Reporter:
    """Where a long job shows what it does: progress bars and notes on standard error.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Terminal(stderr=True, quiet=quiet)

    def note(self, text: str) -> None:
        """One line of plain text."""
        self.console.say(text)

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        """A progress bar; the value is ``advance(steps=1, *, status="")``."""
        if not self.console.is_terminal:
            yield _Lines(self.console, title, total)
            return
        columns = (
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
        )
        with Progress(*columns, console=self.console, disable=self.quiet) as progress:
            task = progress.add_task(title, total=total, status="")

            def advance(steps: int = 1, *, status: str | None = None) -> None:
                fields = {} if status is None else {"status": status}
                progress.update(task, advance=steps, **fields)  # type: ignore[arg-type]

            yield advance

    def track(self, items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
        """Yield ``items`` under a progress bar."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.bar(title, total) as advance:
            for item in items:
                yield item
                advance()


class _Lines:
    """Progress where no bar can be drawn: a line now and then, and one at the end."""

    seconds_between = 20.0

    def __init__(self, console: Terminal, title: str, total: int | None) -> None:
        self.console = console
        self.title = title
        self.total = total
        self.done = 0
        self.started = self.spoken = time.monotonic()

    def __call__(self, steps: int = 1, *, status: str | None = None) -> None:
        self.done += steps
        now = time.monotonic()
        finished = steps > 0 and self.done == self.total
        if finished or now - self.spoken > self.seconds_between:
            self.spoken = now
            count = f"{self.done}/{self.total}" if self.total is not None else str(self.done)
            line = f"{self.title}: {count}, {now - self.started:.0f} s  {status or ''}".rstrip()
            self.console.say(line)


SILENT = Reporter(quiet=True)


def indices(text: str) -> tuple[int, ...]:
    """The type of an option that takes numbers as in ``1,3,5``."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"numbers are written as in 1,3,5, not {text!r}") from None


def quieten_libraries() -> None:
    """Keep libraries' own log lines off the terminal; our reporter speaks instead."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
