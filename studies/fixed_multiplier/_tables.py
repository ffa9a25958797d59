"""Tables of the study: one row per cell, and means with their spread over seeds."""

from collections.abc import Iterable

import pandas as pd

from luts import catalog
from models import TOPOLOGIES
from studies._matrix import Record
from studies._spread import half_width
from studies.fixed_multiplier._plan import RECOVERIES

SUBJECT = ["arch", "dataset"]
POINT = [*SUBJECT, "recovery", "topology", "multiplier"]


def matrix(records: Iterable[Record]) -> pd.DataFrame:
    """One row per cell, with what it was made with.

    ``drop_points`` is the test accuracy lost to the exact multiplier of the same network, recovery
    and seed, in percentage points; empty where that cell was not measured.
    """
    rows = pd.DataFrame([_row(record) for record in records])
    if rows.empty:
        return rows
    exact = rows[rows["power_rel"] == 1].set_index([*SUBJECT, "recovery", "topology", "seed"])
    reference = exact["test_accuracy_pct"].rename("exact_pct")
    rows = rows.join(reference, on=[*SUBJECT, "recovery", "topology", "seed"])
    rows.insert(8, "drop_points", (rows.pop("exact_pct") - rows["test_accuracy_pct"]).round(6))
    return rows.sort_values([*POINT, "seed"], key=_places, kind="stable", ignore_index=True)


def _row(record: Record) -> dict[str, object]:
    base, making = record["base"], record["making"]
    validation = record["validation"]
    return {
        **record["cell"],
        "power_rel": round(record["power_rel"], 6),
        "test_accuracy_pct": 100 * record["test"]["accuracy"],
        "energy_rel": record["energy_rel"],
        "test_cross_entropy": record["test"]["cross_entropy"],
        "test_images": record["test"]["images"],
        "validation_accuracy_pct": None if validation is None else 100 * validation["accuracy"],
        "float_test_accuracy_pct": 100 * base["float_test"]["accuracy"],
        "seconds": record["seconds"],
        "how": record["how"],
        "note": record["note"],
        "float_weights": base["weights"],
        "float_weights_sha256": base["weights_sha256"][:12],
        "data": base["data"]["name"],
        **{key: value for key, value in record["settings"].items()},
        "commit": making["commit"],
        "device": making["device"],
        "threads": making["threads"],
        "torch": making["versions"]["torch"],
    }


def _places(column: pd.Series) -> pd.Series:
    """What a column is sorted by: the order of the words that we use."""
    orders: dict[str, list[str]] = {
        "topology": list(TOPOLOGIES),
        "recovery": list(RECOVERIES),
        "multiplier": list(catalog.names("mul8s")),
    }
    order = orders.get(str(column.name))
    if order is None:
        return column
    return column.map({word: place for place, word in enumerate(order)}).fillna(len(order))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of every point, and half the width of its 95 % confidence interval."""
    grouped = rows.groupby(POINT, sort=False)
    accuracy, drop = grouped["test_accuracy_pct"], grouped["drop_points"]
    columns = {
        "power_rel": grouped["power_rel"].first(),
        "energy_rel": grouped["energy_rel"].mean(),
        "test_accuracy_pct": accuracy.mean(),
        "accuracy_half_width": accuracy.agg(half_width),
        "accuracy_min_pct": accuracy.min(),
        "accuracy_max_pct": accuracy.max(),
        "drop_points": drop.mean(),
        "drop_half_width": drop.agg(half_width),
        "seeds": accuracy.count(),
        "seconds": grouped["seconds"].sum(),
        "of_seeds": grouped["seed"].agg(_listed),
        "commits": grouped["commit"].agg(_listed),
        "devices": grouped["device"].agg(_listed),
    }
    return pd.DataFrame(columns).reset_index()


def _listed(column: pd.Series) -> str:
    return "; ".join(str(value) for value in column.unique())
