"""What all ``python -m`` modules share: arguments, errors, progress on the terminal.

They live in the lowest package because every other one may import it.
"""

import argparse
import contextlib
import ctypes
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import NoReturn, TextIO, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from luts import _interrupt
from luts.errors import InputError

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 20.0
"""Of progress, where it is not drawn."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
MOST_OF_OLD_GLIBC = 2**25
"""The largest threshold that older versions take."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and exit with status 2."""

    def error(self, message: str) -> NoReturn:
        """Print one line without the usage block, and exit with status 2."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def run(main: Callable[[], None]) -> NoReturn:
    """Call ``main`` and exit: 0, 2 with one line for an `InputError`, 130 for Ctrl-C.

    Warnings are one line each, and each is said once, wherever it comes from.
    """
    _interrupt.give_back()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn_once()
            main()
    except InputError as error:
        sys.stderr.write("error: " + " ".join(str(error).split()) + "\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(_interrupt.STATUS)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; stop Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


def _warn_once() -> Callable[..., None]:
    said: set[str] = set()

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        line = " ".join(str(message).split())
        if line not in said:
            said.add(line)
            sys.stderr.write(f"warning: {line}\n")

    return warn


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
        self._bars: Progress | None = None
        self._lines: list[_Line] = []
        self._log: _Log | None = None

    def note(self, text: str) -> None:
        """One line of plain text."""
        self.console.say(text)
        if self._log is not None:
            self._log.write(text)

    @contextlib.contextmanager
    def logging_to(self, path: Path) -> Iterator[None]:
        """Inside, write to a file too what is shown, and every 25 s what is being done.

        Raises:
            InputError: the file cannot be written to.
        """
        try:
            file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        with file:
            self._log = _Log(file)
            try:
                yield
            finally:
                self._log.end()
                self._log = None

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        """A progress bar; the value is ``advance(steps=1, *, status="")``.

        Bars may be opened inside others. Where no bar can be drawn there is a line every twenty
        seconds, and one at the end of the outermost.
        """
        with self._shown(title, total) as show:
            if self._log is None:
                yield show
                return
            with self._log.doing(title, total) as count:

                def advance(steps: int = 1, *, status: str | None = None) -> None:
                    count(steps)
                    show(steps, status=status)

                yield advance

    @contextlib.contextmanager
    def _shown(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        if self.quiet:
            yield lambda steps=1, *, status=None: None
        elif self.console.is_terminal:
            with self._drawn(title, total) as advance:
                yield advance
        else:
            with self._spoken(title, total) as advance:
                yield advance

    @contextlib.contextmanager
    def _drawn(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        outer = self._bars
        with contextlib.ExitStack() as stack:
            bars = outer or stack.enter_context(Progress(*_columns(), console=self.console))
            self._bars = bars
            task = bars.add_task(title, total=total, status="")

            def advance(steps: int = 1, *, status: str | None = None) -> None:
                fields = {} if status is None else {"status": status}
                bars.update(task, advance=steps, **fields)  # type: ignore[arg-type]

            try:
                yield advance
            finally:
                self._bars = outer
                if outer is not None:
                    bars.remove_task(task)

    @contextlib.contextmanager
    def _spoken(self, title: str, total: int | None) -> Iterator[Callable[..., None]]:
        line = _Line(title, total)
        self._lines.append(line)
        ended = threading.Event()
        if len(self._lines) == 1:
            # A thread, as a single step may take minutes.
            threading.Thread(target=self._say_until, args=(ended,), daemon=True).start()
        try:
            yield line
        finally:
            ended.set()
            self._lines.remove(line)
            if not self._lines and line.done:
                self.console.say(str(line))

    def _say_until(self, ended: threading.Event) -> None:
        while not ended.wait(SECONDS_BETWEEN_LINES):
            self.console.say("; ".join(map(str, tuple(self._lines))))

    def track(self, items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
        """Yield ``items`` under a progress bar."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.bar(title, total) as advance:
            for item in items:
                yield item
                advance()


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description:<22}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )


class _Log:
    """Lines with the time in a file; a thread adds one every 25 s.

    Args:
        file: open for writing.
    """

    seconds_between = 25.0

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._doing: list[_Line] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._tell, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """One line; that the disk is full, or the file closed already, stops nothing."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._file.write(f"{now}  {text}\n")
            self._file.flush()

    @contextlib.contextmanager
    def doing(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Inside, what is being done; the value counts steps."""
        step = _Line(title, total)
        self._doing.append(step)
        self.write(f"{title}: begins")
        try:
            yield step
        finally:
            self._doing.remove(step)
            self.write(str(step))

    def end(self) -> None:
        """Let the thread go."""
        self._ended.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._ended.wait(self.seconds_between):
            doing = self._doing[-1:]
            self.write(str(doing[0]) if doing else "at work")


class _Line:
    """Progress where no bar can be drawn."""

    def __init__(self, title: str, total: int | None) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self.status = ""
        self.started = time.monotonic()

    def __call__(self, steps: int = 1, *, status: str | None = None) -> None:
        self.done += steps
        self.status = self.status if status is None else status

    def __str__(self) -> str:
        count = f"{self.done}/{self.total}" if self.total is not None else str(self.done)
        seconds = time.monotonic() - self.started
        return f"{self.title}: {count}, {seconds:.0f} s  {self.status}".rstrip()


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


def keep_freed_memory() -> None:
    """Let this process keep the memory of tensors that are gone for those to come.

    For commands alone: it holds for the whole process. Left to itself, glibc gives the memory of
    large tensors back to the system, and clearing its pages for the next tensor takes a sixth to a
    quarter of a forward pass on a CPU. In one pass the most memory taken is the same, within
    5 MB; what is free stays with the process until it ends. What the user has set for it in the
    environment stays, and nothing is done with another C library.
    """
    is_set = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if is_set or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30) or mallopt(M_MMAP_THRESHOLD, MOST_OF_OLD_GLIBC)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
