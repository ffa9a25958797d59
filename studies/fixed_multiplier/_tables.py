"""Tables of the study: one row per cell, and means with their spread over seeds."""

import math
from collections.abc import Iterable

import pandas as pd

from luts import catalog
from models import TOPOLOGIES
from studies._matrix import Record
from studies._spread import half_width
from studies.fixed_multiplier._plan import RECOVERIES
from studies.fixed_multiplier._sampling import accuracy_error, paired_error, unpacked

SUBJECT = ["arch", "dataset"]
POINT = [*SUBJECT, "recovery", "topology", "multiplier"]


def matrix(records: Iterable[Record]) -> pd.DataFrame:
    """One row per cell, with what it was made with.

    ``drop_points`` is the test accuracy lost to the exact multiplier of the same network, recovery
    and seed, in percentage points; ``drop_share_pct`` the same in percent of what the exact one has
    above chance; ``drop_error_points`` the standard error of the drop that comes from the sample of
    test images. They are empty where the exact multiplier's cell was not measured.
    """
    cells = list(records)
    exact = {_alike(record): record for record in cells if record["power_rel"] == 1}
    rows = pd.DataFrame([_row(record, exact.get(_alike(record))) for record in cells])
    if rows.empty:
        return rows
    if "variant" in rows:
        rows["variant"] = rows["variant"].fillna("")
    order = [*point_of(rows), "seed"]
    return rows.sort_values(order, key=_places, kind="stable", ignore_index=True)


def point_of(rows: pd.DataFrame) -> list[str]:
    """The columns that tell points apart: some tables have both operand orders, or protocols."""
    more = [name for name in ("swapped", "variant") if name in rows and rows[name].any()]
    return [*POINT, *more]


def of_order(rows: pd.DataFrame, order: bool) -> pd.DataFrame:
    """Rows of one operand order, and of the circuits for which both are the same."""
    return rows[~rows["multiplier"].isin(_non_commutative(rows)) | (swapped(rows) == order)]


def of_variant(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Rows of one protocol, the usual one if the name is empty."""
    if "variant" not in rows:
        return rows if not variant else rows[:0]
    return rows[rows["variant"] == variant]


def orders_of(rows: pd.DataFrame) -> tuple[bool, ...]:
    """The operand orders of which there are rows, as ``swapped``: that of activations first."""
    has_two = rows["multiplier"].isin(_non_commutative(rows))
    return tuple(sorted({bool(value) for value in swapped(rows)[has_two]})) or (False,)


def swapped(rows: pd.DataFrame) -> pd.Series:
    """Whether the weight is on the first port, by row; no, where a table has one order alone."""
    return rows["swapped"] if "swapped" in rows else pd.Series(False, index=rows.index)


def _non_commutative(rows: pd.DataFrame) -> list[str]:
    return [name for name in rows["multiplier"].unique() if not catalog[name].is_commutative]


def _alike(record: Record) -> tuple[object, ...]:
    """All of a cell but its multiplier, whose operand order is part of it."""
    cell = record["cell"]
    names = ("arch", "dataset", "topology", "recovery", "seed")
    return (*(cell[name] for name in names), cell.get("variant", ""))


def _row(record: Record, exact: Record | None) -> dict[str, object]:
    base, making = record["base"], record["making"]
    validation = record["validation"]
    cell, settings = record["cell"], record["settings"]
    return {
        # The operand order is among the settings, where every cell has it.
        **{key: value for key, value in cell.items() if key not in ("swapped", "variant")},
        "power_rel": round(record["power_rel"], 6),
        "test_accuracy_pct": 100 * record["test"]["accuracy"],
        **_drop(record, exact),
        "energy_rel": record["energy_rel"],
        "test_cross_entropy": record["test"]["cross_entropy"],
        "validation_accuracy_pct": None if validation is None else 100 * validation["accuracy"],
        "float_test_accuracy_pct": 100 * base["float_test"]["accuracy"],
        "seconds": record["seconds"],
        "how": record["how"],
        "note": record["note"],
        "float_weights": base["weights"],
        "float_weights_sha256": base["weights_sha256"][:12],
        "data": said_of(base["data"]),
        **{key: value for key, value in settings.items() if key != "protocol"},
        # Not the setting, where 0 stands for all.
        "test_images": record["test"]["images"],
        "commit": making["commit"],
        "device": making["device"],
        "threads": making["threads"],
        "torch": making["versions"]["torch"],
        **({"variant": cell["variant"]} if "variant" in cell else {}),
    }


def said_of(data: Record) -> str:
    """A data set's name, and how much of it there is where that is not all."""
    whole = data.get("part_of")
    if whole is None:
        return str(data["name"])
    has = {"train": data["train"] + data["validation"], "test": data["test"]}
    parts = [
        f"{has[part]:,} of {whole[part]:,} {word} images"
        for part, word in (("train", "training"), ("test", "test"))
        if has[part] != whole[part]
    ]
    return f"{data['name']} ({', '.join(parts)})"


def _drop(record: Record, exact: Record | None) -> dict[str, float]:
    accuracy, images = record["test"]["accuracy"], record["test"]["images"]
    own = {"accuracy_error_points": accuracy_error(accuracy, images)}
    if exact is None:
        names = ("drop_points", "drop_share_pct", "drop_error_points")
        return dict.fromkeys(names, float("nan")) | own
    reference = exact["test"]["accuracy"]
    drop, above_chance = reference - accuracy, reference - 1 / _classes(record)
    return {
        "drop_points": round(100 * drop, 6),
        "drop_share_pct": 100 * drop / above_chance if above_chance > 0 else float("nan"),
        "drop_error_points": 0.0 if exact is record else _drop_error(record, exact),
        **own,
    }


def _classes(record: Record) -> int:
    # Cells from before this was kept are of digits or CIFAR-10.
    classes: int = record["base"].get("classes", 10)
    return classes


def _drop_error(record: Record, exact: Record) -> float:
    """Of two accuracies on the same images; where these are not kept, as if of different ones."""
    images = record["test"]["images"]
    if "right" in record and "right" in exact:
        return paired_error(unpacked(exact["right"], images), unpacked(record["right"], images))
    return math.hypot(*(accuracy_error(one["test"]["accuracy"], images) for one in (record, exact)))


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
    """Mean over seeds of every point, and half the width of its 95 % confidence interval.

    Of a single seed that width is not known; ``drop_error_points``, the largest standard error that
    comes from the test images, is.
    """
    grouped = rows.groupby(point_of(rows), sort=False)
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
        "drop_share_pct": grouped["drop_share_pct"].mean(),
        "drop_error_points": grouped["drop_error_points"].max(),
        "seeds": accuracy.count(),
        "seconds": grouped["seconds"].sum(),
        "of_seeds": grouped["seed"].agg(_listed),
        "commits": grouped["commit"].agg(_listed),
        "devices": grouped["device"].agg(_listed),
    }
    return pd.DataFrame(columns).reset_index()


def _listed(column: pd.Series) -> str:
    return "; ".join(str(value) for value in column.unique())
