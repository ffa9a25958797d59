"""Damaged files through a reader, and how it ended."""

import contextlib
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from luts.errors import InputError
from studies.fuzzing._damage import damaged, reshaped
from studies.fuzzing._readers import Reader


@dataclass
class Outcome:
    """How a reader took damaged files.

    Attributes:
        accepted: files that were still legal.
        refused: with an `InputError` of one line.
        undocumented: by what else was raised, how often.
        slowest_s: the longest that one file took, in seconds.
        example: a file that led to an undocumented end.
    """

    accepted: int = 0
    refused: int = 0
    undocumented: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    example: bytes | None = None


def fuzz(reader: Reader, inputs: int, folder: Path, *, seed: int) -> Outcome:
    """Give a reader damaged files.

    Args:
        reader: of files.
        inputs: how many it gets.
        folder: where they are written.
        seed: of the damage.
    """
    rng = np.random.default_rng(seed)
    outcome = Outcome()
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(inputs):
        if reader.is_json and number % 2:
            content = reshaped(reader.seeds[rng.integers(len(reader.seeds))], rng)
        else:
            content = damaged(reader.seeds, rng)
        path.write_bytes(content)
        _try(reader, path, outcome, content)
    return outcome


def _try(reader: Reader, path: Path, outcome: Outcome, content: bytes) -> None:
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            reader.read(path)
        outcome.accepted += 1
    except InputError as error:
        if "\n" in str(error).strip() or not str(error).strip():
            outcome.undocumented["InputError of several lines, or of none"] += 1
            outcome.example = content
        else:
            outcome.refused += 1
    except Exception as error:  # whatever it is, it is what is looked for
        outcome.undocumented[f"{type(error).__name__}: {error}"[:200]] += 1
        outcome.example = content
    outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - started)
