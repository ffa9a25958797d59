"""Arrays whose header is longer than NumPy reads: its refusal is of three lines, ours of one."""

import io
import zipfile

import numpy as np
import pytest

from luts import InputError, load
from luts.loading._kept import from_kept
from models import SampledOperands

NAMES = [("a" * 300 + str(i), "<i4") for i in range(60)]


def with_long_header() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(2, dtype=NAMES))
    return file.getvalue()


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", with_long_header())
    return file.getvalue()


def read_kept(path):
    return from_kept(path.read_bytes(), path.name)


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("table.npy", with_long_header(), lambda path: load(path, signed=True)),
        ("table.npz", archive("table"), lambda path: load(path, signed=True)),
        ("kept.npz", archive("table", "about"), read_kept),
        ("operands.npz", archive("version", "names", "codes", "seen"), SampledOperands.read),
    ],
)
def test_the_refusal_is_one_line(name, content, read, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="Header info length") as refused:
        read(path)
    assert len(str(refused.value).splitlines()) == 1
