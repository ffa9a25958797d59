"""A multiplier's error over all operands, drawn."""

import os
import tempfile
from pathlib import Path

import numpy as np

from luts._multiplier import Multiplier
from luts.errors import InputError
from luts.text import drawn


def error_heat_map(multiplier: Multiplier, path: Path, *, overwrite: bool = False) -> None:
    """Write a PNG of approximate − exact product over all 65,536 pairs of operands.

    Args:
        multiplier: whose error.
        path: the file to write.
        overwrite: replace a file that is there.

    Raises:
        InputError: ``path`` is there already, is not a PNG, or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"a heat map is a .png, not {path.name}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} is there already; give another name, or --force to replace it")
    # Loaded here, so that importing luts stays cheap; no pyplot, so no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    low = int(multiplier.values.min())
    values = np.arange(low, low + 256)
    codes = values % 256
    error = multiplier.truth_table[np.ix_(codes, codes)] - np.multiply.outer(values, values)
    figure = Figure(figsize=(6.4, 5.2))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    worst = max(int(np.abs(error).max()), 1)
    edges = (low - 0.5, low + 255.5)
    # Rows are first operands: the first operand runs up, the second to the right.
    image = axes.imshow(
        error,
        origin="lower",
        extent=(*edges, *edges),
        cmap="RdBu_r",
        vmin=-worst,
        vmax=worst,
        interpolation="nearest",
    )
    figure.colorbar(image, label="approximate − exact product")
    axes.set_xlabel("second operand (weight)")
    axes.set_ylabel("first operand (activation)")
    axes.set_title(f"{drawn(multiplier.name)}: error of all 65,536 products")
    _write(figure, path)


def _write(figure: "Figure", path: Path) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Save beside the target and move it there, so that no half picture is ever seen."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".png")
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format="png", dpi=150, bbox_inches="tight")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.remove(temporary)
