"""The machine that measures: its processor, the memory of this process."""

from pathlib import Path


def processor() -> str:
    """The processor's name, cut to what a file name bears."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1] for line in lines if line.startswith("model name")]
    return "-".join((names or ["cpu"])[0].split()).lower()


def status_mb(field: str) -> float:
    """Megabytes that ``/proc/self/status`` gives for a field, as ``VmRSS`` or ``VmHWM``.

    Raises:
        OSError: it does not have the field, as on systems other than Linux.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"no {field} in /proc/self/status")
