"""What tests of several modules here start from."""

import pytest

from tests.studies.tiny_matrix import TINY


@pytest.fixture
def config(tmp_path_factory):
    """A file with the tiny preset of the fixed-multiplier matrix, in a folder of its own."""
    path = tmp_path_factory.mktemp("config") / "presets.toml"
    path.write_text(TINY)
    return path
