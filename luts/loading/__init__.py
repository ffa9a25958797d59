"""Bring your own multiplier: read a circuit's table from a file.

One module per format; each turns a file into every product, `RawTable`. `load` knows the rest:
names, signedness, order of operands and of indices, figures, and what the table is recognised as.
"""

from luts.loading._layout import Layout
from luts.loading._load import READERS, Imported, MismatchWarning, load, read

__all__ = ["READERS", "Imported", "Layout", "MismatchWarning", "load", "read"]
