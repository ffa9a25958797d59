"""Fixtures shared by every test."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 20_260_506

settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(SEED)


@pytest.fixture(autouse=True)
def _seeded_torch() -> None:
    """Fix what torch draws where a library offers no generator argument."""
    torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of reference data: $REFERENCE_DATA, else ../shared beside the repository."""
    folder = Path(os.environ.get("REFERENCE_DATA") or REPOSITORY / "../shared").resolve()
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}: set REFERENCE_DATA to its folder")
    return folder


@pytest.fixture
def asymmetric_table() -> np.ndarray:
    """Exact products but for two marked cells, which tell a first operand from a second.

    An exact table is symmetric and hides operands that were exchanged.
    """
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32)
    table = np.multiply.outer(values, values)
    table[3, 5] += 1_000
    table[250, 7] -= 2_000
    return table
