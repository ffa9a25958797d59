"""Run a tool or a stranger's circuit apart from us: bounded in time, memory and output."""

import contextlib
import dataclasses
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

MAX_MEMORY_BYTES = 2**31
MAX_FILE_BYTES = 2**26
MAX_ERROR_BYTES = 20_000
MAX_RESULT_BYTES = 2**21
"""More than any table of 65,536 products, as numbers or as text."""

WALL_FACTOR = 5
"""Seconds on the clock for each second of processor time: other programs may keep it busy."""

WITH_NAMESPACES = True
"""Try them; without, processes and files are bounded all the same."""

LAUNCHER = Path(__file__).with_name("_launcher.py")


@dataclasses.dataclass(frozen=True)
class ProgramExit:
    """How a program ended.

    Attributes:
        status: its exit status, negative for a signal, None where it ran out of time.
        errors: the beginning of what it wrote on standard error.
        results: the beginning of what it wrote to descriptor 3.
    """

    status: int | None
    errors: str
    results: bytes = b""

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        if self.status is None:
            return "did not end in time"
        if self.status < 0:
            return f"crashed ({signal.Signals(-self.status).name})"
        return f"ended with status {self.status}"


def run(
    command: list[str], *, folder: Path, time_limit_s: float, is_stranger: bool = False
) -> ProgramExit:
    """Run ``command``, never through a shell, and end all that it started.

    A tool works in ``folder`` and writes only there. A stranger's program works in an empty folder,
    writes no file, starts no process, and sees nothing of our environment; neither has a network.
    What the system does not offer (namespaces, Landlock, seccomp) is left out.

    Args:
        command: absolute path of a program, and its arguments.
        folder: working folder of a tool; temporary files go there too.
        time_limit_s: processor seconds after which it is killed; on the clock, `WALL_FACTOR` times
            as many.
        is_stranger: it is no tool, but what a tool made of a stranger's circuit.
    """
    place = folder
    if is_stranger:
        place = folder / "empty"
        place.mkdir()
    with contextlib.ExitStack() as stack:
        pipes = [os.pipe() for _ in range(3)]
        readers = [stack.enter_context(open(read, "rb", buffering=0)) for read, _ in pipes]
        writers = [stack.enter_context(open(write, "wb", buffering=0)) for _, write in pipes]
        results, errors, status = (writer.fileno() for writer in writers)
        settings = {
            "folder": str(place),
            "results_fd": results,
            "status_fd": status,
            "is_stranger": is_stranger,
            "with_namespaces": WITH_NAMESPACES,
            "memory_bytes": MAX_MEMORY_BYTES,
            "file_bytes": 0 if is_stranger else MAX_FILE_BYTES,
            "cpu_s": math.ceil(time_limit_s),
            "wall_s": WALL_FACTOR * time_limit_s,
            "environment": _environment(place, is_stranger=is_stranger),
        }
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(settings)]
        process = subprocess.Popen(
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=(results, status),
            start_new_session=True,
        )
        try:
            for writer in writers:
                writer.close()
            until = time.monotonic() + WALL_FACTOR * time_limit_s + 5
            written, messages, said = _read_all([reader.fileno() for reader in readers], until)
            died = None if said else _ended_alone(process, until)
        finally:
            _end(process)
    ending = _status(said, time_limit_s) if died is None else died
    return ProgramExit(ending, messages.decode("utf-8", errors="replace"), written)


def _ended_alone(process: subprocess.Popen[bytes], until: float) -> int | None:
    """How the launcher ended that says nothing: it says so itself when the time is over."""
    if time.monotonic() >= until:
        return None
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(timeout=1) or 1
    return None


def _environment(folder: Path, *, is_stranger: bool) -> dict[str, str]:
    here = {"LC_ALL": "C", "HOME": str(folder), "TMPDIR": str(folder)}
    return here if is_stranger else {**here, "PATH": os.environ.get("PATH", os.defpath)}


def _read_all(descriptors: list[int], until: float) -> tuple[bytes, bytes, bytes]:
    """Results, errors and what the launcher says, each up to a bound, until all are closed."""
    bounds = dict(zip(descriptors, (MAX_RESULT_BYTES, MAX_ERROR_BYTES, 1000), strict=True))
    read = {descriptor: bytearray() for descriptor in descriptors}
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() < until:
            for key, _ in selector.select(max(0.0, until - time.monotonic())):
                piece = os.read(key.fd, 2**16)
                if not piece:
                    selector.unregister(key.fd)
                # What is beyond is read and dropped: a full pipe would stop the program.
                read[key.fd] += piece[: bounds[key.fd] - len(read[key.fd])]
    results, errors, said = (bytes(read[descriptor]) for descriptor in descriptors)
    return results, errors, said


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the launcher; asked, it ends all descendants first."""
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _status(said: bytes, time_limit_s: float) -> int | None:
    outcome = json.loads(said or b"{}")
    status: int | None = outcome.get("status")
    is_late = outcome.get("cpu_s", 0.0) >= math.ceil(time_limit_s)
    is_ended = status == -signal.SIGXCPU or (is_late and status == -signal.SIGKILL)
    return None if is_ended else status


def first_error(text: str) -> str:
    """The first line of a tool's messages that names an error, else its first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower()]
    return ([*named, *lines] or ["no message"])[0][:300]
