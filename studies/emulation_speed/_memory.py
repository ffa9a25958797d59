"""Peak memory of one forward pass, measured in a process of its own."""

import ctypes
import dataclasses
import gc
import json
import subprocess
import sys
from pathlib import Path

import torch

from studies._machine import status_mb
from studies.emulation_speed._methods import network_emulated
from studies.emulation_speed._subjects import SpeedStudy, circuits, network


def peak_mb(name: str, circuit: str | None, study: SpeedStudy) -> float:
    """Megabytes at the peak of a forward pass, the network's weights and cached factors included.

    Args:
        name: of the network.
        circuit: of the emulated network, or None for the float one.
        study: the configuration.
    """
    arguments = json.dumps([name, circuit, dataclasses.asdict(study)])
    run = subprocess.run(
        [sys.executable, "-m", "studies.emulation_speed._memory", arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(run.stdout)


def _give_back() -> None:
    """Return what is free to the system, so that it counts as free."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _main(name: str, circuit: str | None, study: SpeedStudy) -> float:
    network(name, study)[0](network(name, study)[1](1))  # libraries take their memory first
    _give_back()
    before = status_mb("VmRSS")
    net, make_batch = network(name, study)
    if circuit is not None:
        net = network_emulated(net, make_batch, circuits()[circuit])
    x = make_batch(study.memory_batch)
    _give_back()
    with torch.inference_mode():
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        net(x)
    return status_mb("VmHWM") - before


if __name__ == "__main__":
    _name, _circuit, _values = json.loads(sys.argv[1])
    sys.stdout.write(f"{_main(_name, _circuit, SpeedStudy(**_values))}\n")
