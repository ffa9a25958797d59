"""Bring your own multiplier: read a circuit's table from a file.

One module per format; each turns a file into every product, `RawTable`. `load` knows the rest:
names, signedness, order of operands and of indices, figures, and what the table is recognised as.
"""

from luts.loading._arrays import BROKEN
from luts.loading._kept import from_kept, kept_bytes
from luts.loading._layout import Layout
from luts.loading._load import READERS, Imported, MismatchWarning, load, read
from luts.loading._named import add_files, files_named
from luts.loading._options import NAMES as OPTIONS
from luts.loading._options import add_layout_options, layout_of

__all__ = [
    "BROKEN",
    "OPTIONS",
    "READERS",
    "Imported",
    "Layout",
    "MismatchWarning",
    "add_files",
    "add_layout_options",
    "files_named",
    "from_kept",
    "kept_bytes",
    "layout_of",
    "load",
    "read",
]
