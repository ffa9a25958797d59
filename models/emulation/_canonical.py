"""Products that are called as functions, brought into the few forms that circuits multiply in.

A product of matrices is ``(…, M, K)`` times ``(…, K, N)``. A convolution of one or three
dimensions, or a transposed one, is a two-dimensional convolution of other images: depth becomes
channels, and a transposed convolution reads the image with zeros between its pixels, which are
operands like those of the padding.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Restore = Callable[[torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Matrices:
    """A call that multiplies matrices.

    Attributes:
        operands: both as given.
        x: shape ``(…, M, K)``.
        y: shape ``(…, K, N)``; leading dimensions are those of ``x`` or broadcast to them.
        restore: what was asked for, of ``x @ y``.
        bias: what `torch.nn.functional.linear` adds, shape ``(N,)``, or None.
    """

    operands: tuple[torch.Tensor, torch.Tensor]
    x: torch.Tensor
    y: torch.Tensor
    restore: Restore
    bias: torch.Tensor | None = None

    def transposed(self) -> "Matrices":
        """The same with the operands exchanged."""
        return Matrices(
            self.operands[::-1],
            self.y.transpose(-1, -2),
            self.x.transpose(-1, -2),
            lambda z: self.restore(z.transpose(-1, -2)),
        )


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A call that convolves.

    Attributes:
        operands: both as given.
        x: image, ``(B, C, H, W)``, with all padding.
        weight: ``(out, C / groups, kernel_h, kernel_w)``.
        stride: of rows and columns.
        dilation: of rows and columns.
        groups: of channels.
        restore: what was asked for, of the result ``(B, out, H', W')`` without bias.
        bias: shape ``(out,)``, or None.
        is_transposed: there are zeros between the pixels.
    """

    operands: tuple[torch.Tensor, torch.Tensor]
    x: torch.Tensor
    weight: torch.Tensor
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    restore: Restore
    bias: torch.Tensor | None
    is_transposed: bool = False


def _same(z: torch.Tensor) -> torch.Tensor:
    return z


def _linear(x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor | None = None) -> Matrices:
    made = _matmul(x, w.transpose(-1, -2) if w.dim() > 1 else w)
    return dataclasses.replace(made, operands=(x, w), bias=bias)


def _matmul(x: torch.Tensor, y: torch.Tensor) -> Matrices:
    is_row, is_column = x.dim() == 1, y.dim() == 1

    def restore(z: torch.Tensor) -> torch.Tensor:
        z = z.squeeze(-1) if is_column else z
        return z.squeeze(-1 if is_column else -2) if is_row else z

    return Matrices(
        (x, y), x.unsqueeze(0) if is_row else x, y.unsqueeze(1) if is_column else y, restore
    )


def _added(
    start: torch.Tensor, x: torch.Tensor, y: torch.Tensor, *, beta: float = 1, alpha: float = 1
) -> Matrices:
    made = _matmul(x, y)

    def restore(z: torch.Tensor) -> torch.Tensor:
        z = made.restore(z)
        z = z if alpha == 1 else alpha * z
        return z + (start if beta == 1 else beta * start) if beta else z

    return dataclasses.replace(made, restore=restore)


def _added_batches(
    start: torch.Tensor, x: torch.Tensor, y: torch.Tensor, *, beta: float = 1, alpha: float = 1
) -> Matrices:
    # A sum over a batch of products is one product of matrices that stand side by side.
    beside = x.transpose(0, 1).flatten(1)
    made = _added(start, beside, y.flatten(0, 1), beta=beta, alpha=alpha)
    return dataclasses.replace(made, operands=(x, y))


def _tensordot(x: torch.Tensor, y: torch.Tensor, dims: Any = 2) -> Matrices | None:
    if isinstance(dims, int):
        dims = [*range(x.dim() - dims, x.dim())], [*range(dims)]
    of_x, of_y = ([d % t.dim() for d in ds] for ds, t in zip(dims, (x, y), strict=True))
    letters = [chr(97 + i) for i in range(x.dim() + y.dim())]
    first, second = letters[: x.dim()], letters[x.dim() :]
    for a, b in zip(of_x, of_y, strict=True):
        second[b] = first[a]
    kept = [c for c in (*first, *second) if not (c in first and c in second)]
    return _summed("".join(first), "".join(second), "".join(kept), x, y)


def _inner(x: torch.Tensor, y: torch.Tensor) -> Matrices | None:
    if not (x.dim() and y.dim()):
        return None
    return _tensordot(x, y, dims=([-1], [-1]))


FIRST_DOT = 0x100
"""Letter of the first dimension of an ellipsis; those of a user come before."""


def _einsum(equation: str, *operands: Any) -> Matrices | None:
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    if len(operands) != 2 or not all(isinstance(o, torch.Tensor) for o in operands):
        return None
    x, y = operands
    terms, arrow, result = equation.replace(" ", "").partition("->")
    first, _, second = terms.partition(",")
    spelt = _without_dots(first, second, result, x.dim(), y.dim())
    if spelt is None:
        return None
    first, second, result = spelt
    if not arrow:
        letters = first + second
        # The dimensions of an ellipsis come first, in their order.
        dots = "".join(c for c in dict.fromkeys(letters) if ord(c) >= FIRST_DOT)
        alone = {c for c in letters if letters.count(c) == 1 and ord(c) < FIRST_DOT}
        result = dots + "".join(sorted(alone))
    if len(set(first)) < len(first) or len(set(second)) < len(second):  # a diagonal
        return None
    return _summed(first, second, result, x, y)


def _without_dots(
    first: str, second: str, result: str, x_dims: int, y_dims: int
) -> tuple[str, str, str] | None:
    """Terms with a letter for each dimension of the ellipsis, or None where it is not the same."""
    dots = [d - len(t) + 3 for t, d in ((first, x_dims), (second, y_dims)) if "..." in t]
    if not dots:
        return first, second, result
    if len(set(dots)) > 1:
        return None
    letters = "".join(chr(FIRST_DOT + i) for i in range(dots[0]))
    return (
        first.replace("...", letters),
        second.replace("...", letters),
        result.replace("...", letters),
    )


def _summed(
    first: str, second: str, result: str, x: torch.Tensor, y: torch.Tensor
) -> Matrices | None:
    """`torch.einsum` of two terms as a product of matrices."""
    size = dict(zip(first, x.shape, strict=True))
    for c, n in zip(second, y.shape, strict=True):
        if size.setdefault(c, n) != n:  # one of them is broadcast
            return None
    x, y = _summed_over(x, first, second + result), _summed_over(y, second, first + result)
    first = "".join(c for c in first if c in second + result)
    second = "".join(c for c in second if c in first + result)
    shared = [c for c in first if c in second]
    batch, inner = [c for c in shared if c in result], [c for c in shared if c not in result]
    rows, columns = [c for c in first if c not in second], [c for c in second if c not in first]
    if not inner:  # nothing is summed
        return None

    def arranged(t: torch.Tensor, term: str, groups: tuple[list[str], ...]) -> torch.Tensor:
        order = [term.index(c) for group in groups for c in group]
        sizes = [math.prod(size[c] for c in group) for group in groups]
        return t.permute(order).reshape(sizes[1:] if not batch else sizes)

    def restore(z: torch.Tensor) -> torch.Tensor:
        letters = [*batch, *rows, *columns]
        z = z.reshape([size[c] for c in letters])
        return z.permute([letters.index(c) for c in result])

    return Matrices(
        (x, y),
        arranged(x, first, (batch, rows, inner)),
        arranged(y, second, (batch, inner, columns)),
        restore,
    )


def _summed_over(t: torch.Tensor, term: str, kept: str) -> torch.Tensor:
    alone = [i for i, c in enumerate(term) if c not in kept]
    return t.sum(alone) if alone else t


def _tuple(value: Any, count: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * count
    return tuple(value) * count if len(value) == 1 else tuple(value)


def _convolution(count: int) -> Callable[..., Convolution]:
    # The signature is PyTorch's.
    def read(
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Convolution:
        steps, gaps = _tuple(stride, count), _tuple(dilation, count)
        if isinstance(padding, str):
            totals = [g * (k - 1) for g, k in zip(gaps, weight.shape[2:], strict=True)]
            totals = totals if padding == "same" else [0] * count
            edges = [(total // 2, total - total // 2) for total in totals]
        else:
            edges = [(p, p) for p in _tuple(padding, count)]
        is_batched = input.dim() == count + 2
        image = input if is_batched else input.unsqueeze(0)
        image = F.pad(image, [n for edge in reversed(edges) for n in edge])
        return _flat(
            (input, weight),
            *(image, weight, bias, steps, gaps, groups),
            restore=_same if is_batched else lambda z: z.squeeze(0),
        )

    return read


# What a convolution of any dimensions is made of.
def _flat(
    operands: tuple[torch.Tensor, torch.Tensor],
    image: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    *,
    restore: Restore,
) -> Convolution:
    """A padded convolution of one, two or three dimensions as one of two."""
    if len(stride) == 1:
        x, w = image.unsqueeze(2), weight.unsqueeze(2)
        sizes = (1, stride[0]), (1, dilation[0])
        return Convolution(operands, x, w, *sizes, groups, lambda z: restore(z.squeeze(2)), bias)
    if len(stride) == 2:
        sizes = (stride[0], stride[1]), (dilation[0], dilation[1])
        return Convolution(operands, image, weight, *sizes, groups, restore, bias)
    taps = weight.shape[2]
    depth = (image.shape[2] - dilation[0] * (taps - 1) - 1) // stride[0] + 1
    last = stride[0] * (depth - 1) + 1
    slices = [
        image[:, :, dilation[0] * tap : dilation[0] * tap + last : stride[0]] for tap in range(taps)
    ]
    x = torch.stack(slices, 2).permute(0, 3, 1, 2, 4, 5)  # (B, D', C, taps, H, W)
    batch = x.shape[:2]

    def deep(z: torch.Tensor) -> torch.Tensor:
        return restore(z.view(*batch, *z.shape[1:]).transpose(1, 2))

    sizes = (stride[1], stride[2]), (dilation[1], dilation[2])
    flat = x.flatten(2, 3).flatten(0, 1), weight.flatten(1, 2)
    return Convolution(operands, *flat, *sizes, groups, deep, bias)


def _transposed_convolution(count: int) -> Callable[..., Convolution]:
    # The signature is PyTorch's.
    def read(
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Convolution:
        steps, gaps, cut, extra = (
            _tuple(v, count) for v in (stride, dilation, padding, output_padding)
        )
        is_batched = input.dim() == count + 2
        image = input if is_batched else input.unsqueeze(0)
        apart = [(n - 1) * s + 1 for n, s in zip(image.shape[2:], steps, strict=True)]
        spread = image.new_zeros(*image.shape[:2], *apart)
        pixels = (slice(None), slice(None), *(slice(None, None, step) for step in steps))
        spread[pixels] = image
        edges: list[int] = []
        for dim in reversed(range(count)):
            before = gaps[dim] * (weight.shape[2 + dim] - 1) - cut[dim]
            edges += before, before + extra[dim]
        kernel = weight.flip([*range(2, 2 + count)])
        kernel = kernel.view(groups, -1, *kernel.shape[1:])
        made = _flat(
            (input, weight),
            *(F.pad(spread, edges), kernel.transpose(1, 2).flatten(0, 1), bias),
            *((1,) * count, gaps, groups),
            restore=_same if is_batched else lambda z: z.squeeze(0),
        )
        return dataclasses.replace(made, is_transposed=True)

    return read


Reader = Callable[..., Matrices | Convolution | None]

_PAIR, _IMAGE = ("input", "other"), ()
READERS: dict[Any, tuple[str, Reader, tuple[str, ...]]] = {
    F.linear: ("linear", _linear, ("input", "weight", "bias")),
    torch.matmul: ("matmul", _matmul, _PAIR),
    torch.Tensor.matmul: ("matmul", _matmul, ("self", "other")),
    torch.Tensor.__matmul__: ("matmul", _matmul, ()),
    torch.Tensor.__rmatmul__: ("matmul", lambda x, y: _matmul(y, x), ()),
    torch.linalg.matmul: ("matmul", _matmul, _PAIR),
    torch.mm: ("matmul", _matmul, ("input", "mat2")),
    torch.Tensor.mm: ("matmul", _matmul, ("self", "mat2")),
    torch.mv: ("matmul", _matmul, ("input", "vec")),
    torch.Tensor.mv: ("matmul", _matmul, ("self", "vec")),
    torch.bmm: ("bmm", _matmul, ("input", "mat2")),
    torch.Tensor.bmm: ("bmm", _matmul, ("self", "mat2")),
    torch.addmm: ("addmm", _added, ("input", "mat1", "mat2")),
    torch.Tensor.addmm: ("addmm", _added, ("self", "mat1", "mat2")),
    torch.addmv: ("addmv", _added, ("input", "mat", "vec")),
    torch.Tensor.addmv: ("addmv", _added, ("self", "mat", "vec")),
    torch.addbmm: ("addbmm", _added_batches, ("input", "batch1", "batch2")),
    torch.Tensor.addbmm: ("addbmm", _added_batches, ("self", "batch1", "batch2")),
    torch.baddbmm: ("baddbmm", _added, ("input", "batch1", "batch2")),
    torch.Tensor.baddbmm: ("baddbmm", _added, ("self", "batch1", "batch2")),
    torch.einsum: ("einsum", _einsum, ()),
    torch.tensordot: ("tensordot", _tensordot, ("a", "b", "dims")),
    torch.inner: ("inner", _inner, _PAIR),
    torch.Tensor.inner: ("inner", _inner, ("self", "other")),
    F.conv1d: ("conv1d", _convolution(1), _IMAGE),
    F.conv2d: ("conv2d", _convolution(2), _IMAGE),
    F.conv3d: ("conv3d", _convolution(3), _IMAGE),
    F.conv_transpose1d: ("conv_transpose1d", _transposed_convolution(1), _IMAGE),
    F.conv_transpose2d: ("conv_transpose2d", _transposed_convolution(2), _IMAGE),
    F.conv_transpose3d: ("conv_transpose3d", _transposed_convolution(3), _IMAGE),
}
"""What its products are called, what reads the arguments of a function, and names of those that the
reader calls otherwise, in order."""
