"""One process at a time works on a run: a lock that ends with the process that holds it."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from luts.errors import InputError

LOCK = ".lock"
"""File in the run folder whose lock is held; what stands in it says by whom."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a run folder for this process.

    Raises:
        InputError: another process has it, or nothing can be written there.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write to the run folder {folder}: {error.strerror or error}"
        ) from error
    with file:
        try:
            # The system lets go of it when the process ends, however it ends.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{folder} is being searched by {file.read(200).strip() or 'another process'}: "
                f"wait for it, or end it; several processes search together with --storage, each "
                f"in a folder of its own"
            ) from None
        except OSError as error:
            raise InputError(
                f"the file system of {folder} has no locks ({error.strerror or error}); "
                f"name a run folder on another one"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        # Nobody else writes here now: what is half written, a process that was killed has left.
        for part in (*folder.glob(".*.part"), *folder.glob("*/.*.part")):
            part.unlink(missing_ok=True)
        yield
