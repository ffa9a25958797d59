"""A folder that is there whole or not at all."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from luts.errors import InputError


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its place when the block succeeds.

    What killed processes left of the same folder is removed.

    Args:
        path: not there, or an empty folder.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        mine = os.open(temporary, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror or error}") from error
    try:
        # The system lets go of it when the process ends, however it ends.
        with contextlib.suppress(OSError):
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
        # mkdtemp makes private folders; give the result the permissions of an ordinary one.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        os.close(mine)
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Remove what nobody writes any more; an empty folder may be just about to be written."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
    for left in path.parent.glob(".*"):
        if ours.fullmatch(left.name) and left.is_dir():
            with contextlib.suppress(OSError):
                _remove_dead(left)


def _remove_dead(left: Path) -> None:
    if not any(left.iterdir()):
        return
    theirs = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(left, ignore_errors=True)
    finally:
        os.close(theirs)
