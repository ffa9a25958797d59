"""The public readers of files, each with whole files to begin with."""

import dataclasses
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import torch
from safetensors.torch import save

import energy
import luts
from dse import Run, SearchConfig
from luts.loading import from_kept, kept_bytes
from models import (
    Assignment,
    Choice,
    OperandSteps,
    Recovery,
    Routing,
    SampledOperands,
    TrainingRecipe,
)
from models.training import default_recipe, read_weights

TABLE = luts.catalog["mul8s_1L2H"].truth_table
IN_ORDER = np.roll(np.roll(TABLE, 128, 0), 128, 1)  # as tables are written: from -128 to 127


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        name: as the results have it.
        file: what a file is called, below a folder that is empty else.
        read: gets its path.
        seeds: whole files.
        is_json: whether values are changed too, not only bytes.
        share: of the files that a reader gets; less for one that takes long.
    """

    name: str
    file: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]
    is_json: bool = False
    share: float = 1.0


def readers(folder: Path) -> tuple[Reader, ...]:
    """All readers.

    Args:
        folder: to write whole files in.
    """
    return (*_tables(folder), *_records(), *_weights(folder), *_run(folder))


def _load(path: Path) -> object:
    return luts.load(path, name="m", signed=True, power_mw=0.3, area_um2=500.0, delay_ns=1.0)


def _tables(folder: Path) -> tuple[Reader, ...]:
    np.save(folder / "t.npy", TABLE)
    np.savez_compressed(folder / "t.npz", table=TABLE)
    rows = "\n".join(",".join(map(str, row)) for row in IN_ORDER.tolist()).encode()
    signs = [*range(-128, 128)]
    three = "\n".join(f"{a};{b};{IN_ORDER[a + 128, b + 128]}" for a in signs for b in signs)
    initial = ",".join("{" + ",".join(map(str, row)) + "}" for row in TABLE.tolist())
    header = f"#include <stdint.h>\nconst int16_t lut[256][256] = {{{initial}}};\n".encode()
    raw = TABLE.astype("<i2").tobytes()
    return (
        Reader("npy", "m.npy", _load, ((folder / "t.npy").read_bytes(),)),
        Reader("npz", "m.npz", _load, ((folder / "t.npz").read_bytes(),)),
        Reader("csv", "m.csv", _load, (rows[:60_000], rows, three.encode()), share=0.1),
        Reader("header", "m.h", _load, (header, header[:2000]), share=0.1),
        Reader("binary", "m.bin", _load, (raw, raw[:100])),
    )


def _records() -> tuple[Reader, ...]:
    choices = {"a.b": Choice("mul8s_1L2H", swapped=True), "c": Choice("array:a3b5d0", rounded=True)}
    assignment = Assignment.of(choices)
    routing = Routing({"a": (0.25, 0.75), "b": (1.0, 0.0)}, "64 training images")
    figures = b"multiplier,power_mw,area_um2,delay_ns,source\nmul8s_1L2H,0.3,500,1.2,me\n"
    operations = b"operation,bits,energy_pj,source\nadd,32,0.1,me\n"
    return (
        Reader("assignment", "a.json", Assignment.read, (assignment.to_json().encode(),), True),
        Reader("routing", "r.json", energy.read_routing, (routing.to_json().encode(),), True),
        Reader("figures", "f.csv", energy.read_figures, (figures, operations)),
        Reader("recovery recipe", "r.json", _from(Recovery.from_dict), (_json(Recovery()),), True),
        Reader(
            "training recipe",
            "t.json",
            _from(TrainingRecipe.from_dict),
            (_json(default_recipe("resnet20", "cifar10")),),
            True,
        ),
        Reader(
            "search settings",
            "s.json",
            _from(SearchConfig.from_dict),
            (_json(SearchConfig()),),
            True,
        ),
    )


def _json(record: Any) -> bytes:
    return json.dumps(dataclasses.asdict(record)).encode()


def _from(read: Callable[[Any], object]) -> Callable[[Path], object]:
    """A reader of a file that holds JSON, of one that takes a mapping."""

    def of_file(path: Path) -> object:
        try:
            values = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return None  # that it is no JSON is not this reader's business
        return read(values) if isinstance(values, dict) else None

    return of_file


def _weights(folder: Path) -> tuple[Reader, ...]:
    state = {"conv.weight": torch.randn(2, 3, 3, 3), "bn.num_batches_tracked": torch.tensor(3)}
    torch.save(state, folder / "w.pt")
    torch.save({"model": state, "epoch": 3}, folder / "w2.pt")
    zipped = tuple((folder / name).read_bytes() for name in ("w.pt", "w2.pt"))
    return (
        Reader("safetensors", "w.safetensors", read_weights, (save(state),)),
        Reader("checkpoint", "w.pt", read_weights, zipped),
    )


def _run(folder: Path) -> tuple[Reader, ...]:
    run = Run.create(SearchConfig(), folder / "run")
    text = (run.path / "config.toml").read_text(encoding="utf-8")
    less = tomllib.loads(text)
    less.pop("making", None)
    whole = (text.encode(), tomli_w.dumps(less).encode())
    routings = [Routing({"a": (0.25, 0.75)}, "one"), Routing({"a": (1.0, 0.0)}, "one")]
    before, after, held = np.arange(6, dtype=np.uint8).reshape(3, 2)
    steps = OperandSteps(before, after, held, 2)
    operands = SampledOperands({"a": steps, "b": steps}, "64 training images").to_bytes()
    kept = kept_bytes(luts.catalog["mul8s_1KR3"])
    return (
        Reader("run folder", "run/config.toml", lambda path: Run.open(path.parent), whole),
        Reader(
            "routing of inputs",
            "run/routing_inputs.json",
            energy.read_per_input,
            (energy.per_input_json(routings).encode(),),
            True,
        ),
        Reader(
            "operands",
            f"run/{energy.run_files.OPERANDS}",
            lambda path: energy.read_operands(path.parent),
            (operands,),
        ),
        Reader("kept multiplier", "k.npz", lambda p: from_kept(p.read_bytes(), p.name), (kept,)),
    )
