"""Files of results: whole or not at all, and with what made them."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd
import torch

from dse import provenance
from luts.errors import InputError
from models.training import atomically


@contextlib.contextmanager
def together(folder: Path) -> Iterator[Callable[[str], Path]]:
    """Yield ``new(name)``, a temporary path whose file takes its place when the block succeeds.

    All do then, the last one first; an error in the block leaves what was there.
    """
    with contextlib.ExitStack() as files:
        yield lambda name: files.enter_context(atomically(folder / name))


def check_free(folder: Path, names: Iterable[str], lacking: str) -> None:
    """Refuse to write over files of somebody else.

    Args:
        folder: of results, without what our own would come with.
        names: of the files that would be written.
        lacking: what that is.

    Raises:
        InputError: one of the files is there.
    """
    for name in names:
        if (folder / name).exists():
            raise InputError(
                f"{folder / name} is there without {lacking}; name another folder with --results, "
                f"or move it away"
            )


def write_table(path: Path, table: pd.DataFrame, *about: object, digits: int = 5) -> None:
    """Write a table as CSV, below a line that begins with ``#`` and says what it was made with.

    Args:
        path: CSV file; what is there is replaced.
        table: one row per line.
        about: what decides the figures beside commit, device and version of PyTorch.
        digits: significant ones of a number that is not whole.
    """
    made = provenance()
    words = (f"commit {made['commit']}", made["device"], f"torch {torch.__version__}", *about)
    text = table.to_csv(index=False, float_format=f"%.{digits}g")
    with atomically(path) as temporary:
        temporary.write_text(f"# {'; '.join(map(str, words))}\n{text}", encoding="utf-8")
