"""Names and paths in places that have a syntax of their own: users may call things as they like."""

import os
import shlex


def drawn(text: str) -> str:
    """``text`` as matplotlib draws it letter by letter.

    Dollar signs would begin a formula, and a label that begins with ``_`` is left out of legends.
    """
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def quoted(path: str | os.PathLike[str]) -> str:
    """``path`` as one word of a command line."""
    return shlex.quote(str(path))


def csv_cell(value: object) -> object:
    """``value`` as a spreadsheet shows it, not as one that it computes.

    A text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV
    Injection"); numbers, also those that are written out, stay.
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def one_line(error: BaseException) -> str:
    """What an error of a library says, in one line: NumPy's are of several."""
    return " ".join(str(error).split())
