"""How a layer lays its window over its input."""

import dataclasses
import functools

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The window of a convolution; a linear layer is the case with nothing but ones.

    Attributes:
        kernel, stride, dilation: rows, columns.
        padding: zeros on both sides of the rows, of the columns. They are operands like any other:
            the circuit multiplies them.
        groups: channel groups that do not mix.
    """

    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - windows are few and small
    def out_size(self, height: int, width: int) -> Pair:
        """Rows and columns of the output; 0 where the window does not fit."""
        sizes = zip(
            (height, width), self.kernel, self.stride, self.padding, self.dilation, strict=True
        )
        rows, columns = (
            max(0, (size + 2 * p - d * (k - 1) - 1) // s + 1) for size, k, s, p, d in sizes
        )
        return rows, columns


POINT = Geometry()
"""The window of a linear layer."""
