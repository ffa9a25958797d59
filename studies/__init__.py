"""One folder per question: a command, its configuration and its committed results."""

import luts as _luts  # noqa: F401 - first, as it sees to Ctrl-C while the rest is imported
