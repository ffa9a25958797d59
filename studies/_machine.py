"""The machine that measures: its processor, the memory of this process."""

import re
from pathlib import Path


def processor() -> str:
    """The processor's name, cut to what a file name bears."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1] for line in lines if line.startswith("model name")]
    return "-".join(re.findall(r"[a-z0-9.]+", (names or ["cpu"])[0].lower().replace("(r)", "")))


def status_mb(field: str, process: int | None = None) -> float:
    """Megabytes that ``/proc/…/status`` gives for a field, as ``VmRSS`` or ``VmHWM``.

    Args:
        field: its name.
        process: by its number; this one by default.

    Raises:
        OSError: it does not have the field, as on systems other than Linux.
    """
    file = Path("/proc", "self" if process is None else str(process), "status")
    for line in file.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"no {field} in {file}")


def handles(process: int) -> int:
    """Open files, sockets and pipes of a process.

    Raises:
        OSError: it is gone, or this is not Linux.
    """
    return len(list(Path("/proc", str(process), "fd").iterdir()))
