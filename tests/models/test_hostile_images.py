"""Small files that would unpack to gigabytes are refused before they do."""

import tracemalloc

import pytest

from luts.errors import InputError
from models import load_data
from models.training._archive import MAX_IMAGE_BYTES
from tests.models.image_files import picture, tree, write_folder, write_tar, write_zip

MIB = 2**20


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AXDSE_CACHE", str(tmp_path / "cache"))


def refusal(path):
    """What is said of a folder or an archive, and how much was allocated until then."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as refused:
            load_data(f"imagefolder:{path}", seed=0, image_size=8)
        return str(refused.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["zip", "tar.xz", "folder"])
def test_a_file_that_unpacks_to_more_than_an_image_is_not_unpacked(tmp_path, kind):
    path, name = tmp_path / f"pets.{kind}", "train/ant/0.png"
    files = tree(per_class=2) | {name: bytes(MAX_IMAGE_BYTES + 1)}
    if kind == "zip":
        write_zip(path, files, compressed=True)
        assert path.stat().st_size < MIB
    elif kind == "tar.xz":
        write_tar(path, files, "w:xz")
        assert path.stat().st_size < MIB
    else:
        write_folder(path, files)
    del files
    told, allocated = refusal(path)
    assert name in told and f"{MAX_IMAGE_BYTES + 1:,} bytes" in told and "\n" not in told
    assert allocated < 16 * MIB


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path):
    files = tree(per_class=2) | {"train/ant/0.png": picture(0, size=(9000, 8000), mode="L")}
    assert len(files["train/ant/0.png"]) < MIB
    told, allocated = refusal(write_folder(tmp_path / "pets", files))
    assert "train/ant/0.png has 9000×8000 pixels" in told and "scale it down" in told
    assert allocated < 16 * MIB
