"""Files appear whole or not at all; what cannot be written is refused before the work."""

import errno
import os
import time

import pytest
from torch import nn

from luts import InputError
from models.training import atomically
from models.training._cache import trained
from models.training._files import DEAD_AFTER_S, check_writable


def test_a_cache_that_cannot_be_written_is_refused_before_training(tmp_path):
    (tmp_path / "file").touch()
    trainings = []
    with pytest.raises(InputError, match=r"cannot write .*AXDSE_CACHE"):
        trained(lambda: nn.Linear(1, 1), {}, trainings.append, cache_dir=tmp_path / "file" / "x")
    assert not trainings


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    path = tmp_path / "kept"
    path.write_text("before")
    with pytest.raises(InputError, match=r"cannot write .*kept: No space left"):
        with atomically(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), atomically(path):
        raise FileNotFoundError(errno.ENOENT, "an input")


def test_what_dead_processes_left_is_swept_and_nothing_else(tmp_path):
    dead, alive, other = (
        tmp_path / name for name in (".a.k3_9x1ab.part", ".b.w2aaaaaa.part", ".c.part")
    )
    for path in (dead, alive, other):
        path.touch()
    past = time.time() - DEAD_AFTER_S - 60
    for path in (dead, other):
        os.utime(path, (past, past))
    check_writable(tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == [alive, other]
