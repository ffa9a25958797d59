"""A multiplier in one operand order, ready to compute with."""

import dataclasses
import functools

import numpy as np
import torch

from luts._factorisation import Factorisation, factorise
from luts._multiplier import Multiplier, Table


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """What happens at a site: which circuit, and which of its ports gets the activation.

    Attributes:
        multiplier: the circuit.
        swapped: the weight goes to the circuit's first port, so that a product is ``T[w, x]``.
    """

    multiplier: Multiplier
    swapped: bool = False

    def __deepcopy__(self, memo: dict[int, object]) -> "Arithmetic":
        """Itself: it never changes, and copies of networks hold one per site."""
        return self

    @functools.cached_property
    def table(self) -> Table:
        """Products by signed codes, int32 of shape ``(256, 256)``, indexed ``[x_code, w_code]``."""
        table = self.multiplier.signed_table
        return np.ascontiguousarray(table.T) if self.swapped else table

    @property
    def factorisation(self) -> Factorisation | None:
        """An exact short sum of products equal to `table`, or None."""
        return _factorised(self.multiplier.sha256, self)[0]

    @functools.cached_property
    def max_abs_product(self) -> int:
        """Largest product magnitude."""
        return int(np.abs(self.table).max())

    def torch_table(self, device: torch.device) -> torch.Tensor:
        """`table` flattened on ``device``, int32 of shape ``(65536,)``."""
        return _device_table(self, str(device))


_FACTORISED: dict[tuple[str, bool], tuple[Factorisation | None]] = {}


def _factorised(sha256: str, arithmetic: Arithmetic) -> tuple[Factorisation | None]:
    # Keyed by the table, so that equal circuits under other names share the work.
    key = (sha256, arithmetic.swapped)
    if key not in _FACTORISED:
        _FACTORISED[key] = (factorise(arithmetic.table),)
    return _FACTORISED[key]


@functools.lru_cache(maxsize=64)
def _device_table(arithmetic: Arithmetic, device: str) -> torch.Tensor:
    return torch.from_numpy(arithmetic.table.copy()).flatten().to(device)
