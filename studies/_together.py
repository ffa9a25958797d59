"""Files that are written together."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from models.training import atomically


@contextlib.contextmanager
def together(folder: Path) -> Iterator[Callable[[str], Path]]:
    """Yield ``new(name)``, a temporary path whose file takes its place when the block succeeds.

    All do then, the last one first; an error in the block leaves what was there.
    """
    with contextlib.ExitStack() as files:
        yield lambda name: files.enter_context(atomically(folder / name))
