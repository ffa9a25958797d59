"""Which weight codes a circuit tells apart: in a narrow one many have the same products."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from models.emulation._expected import CODES, FORBIDDEN

Rows = npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True, eq=False)
class CodeClasses:
    """Weight codes by the products that they have.

    Attributes:
        codes: one code of each class; that of the forbidden code alone is left out.
        of: index in `codes` of each code's class, −1 for none; shape ``(256,)``.
    """

    codes: Rows
    of: Rows

    @classmethod
    def of_table(cls, table: npt.NDArray[Any]) -> "CodeClasses":
        """The classes of a truth table, ``[x code, weight code]`` of shape ``(256, 256)``."""
        index: dict[bytes, int] = {}
        codes: list[int] = []
        of = np.full(CODES, -1)
        columns = np.ascontiguousarray(table.T)
        for code in [code for code in range(CODES) if code != FORBIDDEN]:
            key = columns[code].tobytes()
            if key not in index:
                index[key] = len(codes)
                codes.append(code)
            of[code] = index[key]
        of[FORBIDDEN] = index.get(columns[FORBIDDEN].tobytes(), -1)
        return cls(np.array(codes), of)
