"""Run a tool or a stranger's circuit apart from us: bounded in time, memory and output."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

MAX_MEMORY_BYTES = 2**31
MAX_FILE_BYTES = 2**26

# Sets its own limits and becomes the program. `preexec_fn` could do it without the extra
# interpreter, but is unsafe in a process with threads, and PyTorch has many.
_LAUNCHER = """
import os, resource, sys
cpu_s, memory, size = map(int, sys.argv[1:4])
for limit, most in ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, memory),
                    (resource.RLIMIT_FSIZE, size), (resource.RLIMIT_CORE, 0)):
    hard = resource.getrlimit(limit)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(limit, (most, most))
os.execv(sys.argv[4], sys.argv[4:])
"""


@dataclasses.dataclass(frozen=True)
class ProgramExit:
    """How a program ended.

    Attributes:
        status: its exit status, negative for a signal, None where it ran out of time.
        errors: the beginning of what it wrote on standard error.
    """

    status: int | None
    errors: str

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        if self.status is None:
            return "did not end in time"
        if self.status < 0:
            return f"crashed ({signal.Signals(-self.status).name})"
        return f"ended with status {self.status}"


def run(command: list[str], *, folder: Path, time_limit_s: float) -> ProgramExit:
    """Run ``command`` in ``folder``, never through a shell, and end all that it started.

    Args:
        command: absolute path of a program, and its arguments.
        folder: working folder; temporary files go there too.
        time_limit_s: seconds after which it is killed.
    """
    limits = (math.ceil(time_limit_s) + 1, MAX_MEMORY_BYTES, MAX_FILE_BYTES)
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(str, limits)]
    log = folder / "stderr.txt"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*launcher, *command],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        status: int | None
        try:
            status = process.wait(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _kill_group(process)
    if status == -signal.SIGXCPU:
        status = None
    with log.open("rb") as errors:
        return ProgramExit(status, errors.read(20_000).decode("utf-8", errors="replace"))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def first_error(text: str) -> str:
    """The first line of a tool's messages that names an error, else its first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower()]
    return ([*named, *lines] or ["no message"])[0][:300]
