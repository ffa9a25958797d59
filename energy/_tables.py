"""Tables of figures in CSV files: units in the headers, a source in every row."""

import csv
from collections.abc import Iterator
from importlib import resources

PUBLISHED_OPERATIONS = "tables/operations_45nm.csv"


def published_operations() -> Iterator[tuple[str, int, float, str]]:
    """Name, bits, energy in picojoule and source of each operation in the shipped table."""
    text = resources.files("energy").joinpath(PUBLISHED_OPERATIONS).read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        yield row["operation"], int(row["bits"]), float(row["energy_pj"]), row["source"]
