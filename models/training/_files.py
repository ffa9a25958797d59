"""Where cached files live, and how a file is written so that nobody ever sees half of it."""

import contextlib
import errno
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_cache_path

from luts.errors import InputError

CACHE_VARIABLE = "AXDSE_CACHE"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What a write fails with where there is no room."""

# As `tempfile.mkstemp` names what `_new_part` asks for; other programs have .part files as well.
_PART = re.compile(r"\..+\.[a-z0-9_]{8}\.part")

DEAD_AFTER_S = 86_400
"""Age of a half-written file that nobody works on any more."""


def cache_folder() -> Path:
    """The folder of everything that can be made again: ``$AXDSE_CACHE``, or the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_cache_path("axdse", appauthor=False)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work of which it keeps the result.

    What processes that were killed left half written beside it, more than a day ago, is removed.

    Raises:
        InputError: nothing can be written there.
    """
    _new_part(path).unlink(missing_ok=True)
    for part in path.parent.glob(".*.part"):
        if not _PART.fullmatch(part.name):
            continue
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > DEAD_AFTER_S:
                part.unlink()


def _new_part(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; make its folder writable, or name "
            f"another (the cache is ${CACHE_VARIABLE})"
        ) from error
    os.close(handle)
    return Path(name)


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    Raises:
        InputError: nothing can be written there, or the disk is full.
    """
    temporary = _new_part(path)
    try:
        yield temporary
        # mkstemp makes private files; give the result the permissions an ordinary file would have.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InputError(f"cannot write {path}: {error.strerror}; make room there") from error
    finally:
        temporary.unlink(missing_ok=True)
