"""Cells of one network must start from the same float weights."""

import json
from pathlib import Path

from luts.errors import InputError


def refuse_other_weights(cells: Path, network: str, sha256: str) -> None:
    """Compare with what is in a folder of cells before another joins them.

    Args:
        cells: one JSON file each, with ``network`` and ``weights_sha256``.
        network: name of the network in the configuration.
        sha256: digest of its float weights here.

    Raises:
        InputError: a cell of that network was measured with other weights.
    """
    for path in sorted(cells.glob(f"{network}-*.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        if cell["network"] == network and cell["weights_sha256"] != sha256:
            raise InputError(
                f"{path.name} was measured with other weights of {network} "
                f"({cell['weights_sha256'][:12]}) than those here ({sha256[:12]}): name another "
                "folder with --results"
            )
