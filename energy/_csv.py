"""The one way in which tables become CSV files."""

from pathlib import Path

import pandas as pd

from luts.text import csv_cell
from models.training import atomically


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all; names in it are never formulas.

    Args:
        path: of the file, which is replaced.
        table: whose index is left out.
    """
    safe = table.map(csv_cell)
    safe.columns = [csv_cell(name) for name in table.columns]
    with atomically(path) as temporary:
        safe.to_csv(temporary, index=False)
