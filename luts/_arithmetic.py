"""A multiplier in one operand order, ready to compute with.

A port that ignores the t low bits of its operand may be fed codes that are rounded to multiples of
2^t, half to even, rather than cut: whatever makes the codes rounds anyway, at 8 − t bits in place
of 8. Rounding saturates at the multiples that a port holds, from −128 to 128 − 2^t. Rounded
operands are a function of each code, so that they are part of the table.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import torch

from luts._factorisation import Factorisation, factorise
from luts._ignored_bits import ignored_bits
from luts._multiplier import N_CODES, Multiplier, Table


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """What happens at a site: which circuit, and which of its ports gets the activation.

    Attributes:
        multiplier: the circuit.
        swapped: the weight goes to the circuit's first port, so that a product is ``T[w, x]``.
        rounded: each port is fed codes rounded to the bits that it does not ignore.
    """

    multiplier: Multiplier
    swapped: bool = False
    rounded: bool = False

    def __deepcopy__(self, memo: dict[int, object]) -> "Arithmetic":
        """Itself: it never changes, and copies of networks hold one per site."""
        return self

    @functools.cached_property
    def table(self) -> Table:
        """Products by signed codes, int32 of shape ``(256, 256)``, indexed ``[x_code, w_code]``."""
        table = self.multiplier.signed_table
        if self.swapped:
            table = np.ascontiguousarray(table.T)
        return table[np.ix_(*self.fed_codes)] if self.rounds else table

    @property
    def rounds(self) -> bool:
        """Whether operands are rounded and that makes a difference to the circuit."""
        return self.rounded and any(ignored_bits(self.multiplier))

    @functools.cached_property
    def fed_codes(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Code that the circuit is fed for each code of an activation and of a weight.

        Each uint8 of shape ``(256,)``; the code itself where nothing is rounded.
        """
        first, second = ignored_bits(self.multiplier) if self.rounded else (0, 0)
        if self.swapped:
            first, second = second, first
        return rounded_codes(first), rounded_codes(second)

    @property
    def key(self) -> tuple[str, bool, bool]:
        """What decides `table`: equal circuits under other names have the same."""
        return self.multiplier.sha256, self.swapped, self.rounds

    @property
    def factorisation(self) -> Factorisation | None:
        """An exact short sum of products equal to `table`, or None."""
        return _factorised(self)[0]

    @functools.cached_property
    def max_abs_product(self) -> int:
        """Largest product magnitude."""
        return int(np.abs(self.table).max())

    def torch_table(self, device: torch.device) -> torch.Tensor:
        """`table` flattened on ``device``, int32 of shape ``(65536,)``."""
        return _device_table(self, str(device))


@functools.cache
def rounded_codes(ignored: int) -> npt.NDArray[np.uint8]:
    """The nearest code that is a multiple of ``2^ignored``, for each code.

    Args:
        ignored: low bits that a port ignores, 0…8; of 8 nothing is left but zeros.

    Returns:
        uint8 of shape ``(256,)``, by code. Half to even, saturating.
    """
    values = np.arange(N_CODES, dtype=np.uint8).view(np.int8).astype(np.float64)
    step = 1 << ignored
    steps = np.clip(np.rint(values / step), -(128 // step), 128 // step - 1) * (ignored < 8)
    codes: npt.NDArray[np.uint8] = (steps * step).astype(np.int8).view(np.uint8)
    codes.flags.writeable = False
    return codes


_FACTORISED: dict[tuple[str, bool, bool], tuple[Factorisation | None]] = {}


def _factorised(arithmetic: Arithmetic) -> tuple[Factorisation | None]:
    if arithmetic.key not in _FACTORISED:
        _FACTORISED[arithmetic.key] = (_factorise(arithmetic),)
    return _FACTORISED[arithmetic.key]


def _factorise(arithmetic: Arithmetic) -> Factorisation | None:
    if not arithmetic.rounds:
        return factorise(arithmetic.table)
    cut = dataclasses.replace(arithmetic, rounded=False).factorisation
    if cut is None:
        return factorise(arithmetic.table)
    x_codes, w_codes = arithmetic.fed_codes
    rounded = Factorisation(u=cut.u[:, x_codes], v=cut.v[:, w_codes])
    assert np.array_equal(rounded.table(), arithmetic.table)
    return rounded


@functools.lru_cache(maxsize=64)
def _device_table(arithmetic: Arithmetic, device: str) -> torch.Tensor:
    return torch.from_numpy(arithmetic.table.copy()).flatten().to(device)
