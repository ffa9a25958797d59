"""What every backend offers."""

import abc
from typing import Any

import torch

from luts._arithmetic import Arithmetic
from luts._quantise import codes_of, quantise
from luts._task import Emitted, Epilogue, Scaling, Task


class Backend(abc.ABC):
    """One way to compute sums of a circuit's products exactly.

    A layer's weight is prepared once and used many times. First operands are float32, which is
    quantised, when a scaling is given; otherwise they are int8 codes, and the result is int32 sums.
    A layer takes codes with a scaling too.
    """

    name: str

    @abc.abstractmethod
    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Why this backend cannot do it, or None if it can."""

    @abc.abstractmethod
    def prepare(self, w: torch.Tensor, arithmetic: Arithmetic, task: Task) -> Any:
        """A layer's weight in the form that `layer` wants.

        Args:
            w: codes, int8 of shape ``(out, in / groups, kernel rows, kernel columns)``.
            arithmetic: the multiplier and operand order.
            task: the layer.
        """

    @abc.abstractmethod
    def layer(
        self,
        x: torch.Tensor,
        prepared: Any,
        arithmetic: Arithmetic,
        task: Task,
        scaling: Scaling | None,
    ) -> torch.Tensor:
        """A layer's output, shape ``(batch, out, out rows, out columns)``.

        Padding consists of zeros that the circuit multiplies like any other operand.

        Args:
            x: shape ``(batch, in, rows, columns)``.
            prepared: what `prepare` returned.
            arithmetic: the multiplier and operand order.
            task: the layer.
            scaling: how to quantise and scale; None for codes and sums.
        """

    def emit(
        self,
        codes: torch.Tensor,
        prepared: Any,
        arithmetic: Arithmetic,
        task: Task,
        scaling: Scaling,
        epilogue: Epilogue,
    ) -> Emitted:
        """What `layer` gives for ``codes``, and then ``epilogue``."""
        return epilogue.apply(self.layer(codes, prepared, arithmetic, task, scaling))

    @abc.abstractmethod
    def batched(
        self, x: torch.Tensor, y: torch.Tensor, arithmetic: Arithmetic, scaling: Scaling | None
    ) -> torch.Tensor:
        """``x @ y``, shape ``(…, M, N)``.

        Args:
            x: shape ``(…, M, K)``.
            y: shape ``(…, K, N)``; batch dimensions broadcast.
            arithmetic: the multiplier and operand order.
            scaling: how to quantise and scale; None for codes and sums.
        """


class MatrixBackend(Backend):
    """A backend that multiplies matrices of codes; convolutions are unfolded for it."""

    @abc.abstractmethod
    def prepare_matrix(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """The second operand in the form that `multiply` wants.

        Args:
            w: codes, int8 of shape ``(…, K, N)``.
            arithmetic: the multiplier and operand order.
        """

    @abc.abstractmethod
    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Exact sums, shape ``(…, M, N)``: int32, or float32 where no sum can exceed 2^24.

        Args:
            x: codes, int8 of shape ``(…, M, K)``.
            prepared: what `prepare_matrix` returned.
            arithmetic: the multiplier and operand order.
        """

    def prepare(self, w: torch.Tensor, arithmetic: Arithmetic, task: Task) -> list[torch.Tensor]:
        """One matrix per channel group."""
        groups = w.flatten(1).chunk(task.geometry.groups)
        return [self.prepare_matrix(group.t(), arithmetic) for group in groups]

    def layer(
        self,
        x: torch.Tensor,
        prepared: list[torch.Tensor],
        arithmetic: Arithmetic,
        task: Task,
        scaling: Scaling | None,
    ) -> torch.Tensor:
        """Unfold, multiply, scale."""
        codes = x if scaling is None else codes_of(x, scaling.x)
        windows = _windows(codes, task)
        batch, rows, columns = windows.shape[:3]
        parts = windows.chunk(task.geometry.groups, dim=3)
        wanted = task.out_channels // task.geometry.groups  # a backend may pad
        sums = [
            self.multiply(part.reshape(batch * rows * columns, task.inner), operand, arithmetic)[
                :, :wanted
            ]
            for part, operand in zip(parts, prepared, strict=True)
        ]
        y = torch.cat(sums, dim=1) if len(sums) > 1 else sums[0]
        y = y.view(batch, rows, columns, task.out_channels).permute(0, 3, 1, 2)
        return y.to(torch.int32) if scaling is None else scaling.apply(y, channel_dim=-3)

    def batched(
        self, x: torch.Tensor, y: torch.Tensor, arithmetic: Arithmetic, scaling: Scaling | None
    ) -> torch.Tensor:
        """Quantise, multiply, scale."""
        if scaling is None:
            return self.multiply(x, self.prepare_matrix(y, arithmetic), arithmetic).to(torch.int32)
        assert scaling.y is not None
        operand = self.prepare_matrix(quantise(y, scaling.y), arithmetic)
        sums = self.multiply(quantise(x, scaling.x), operand, arithmetic)
        return scaling.apply(sums, channel_dim=-1)


def _windows(codes: torch.Tensor, task: Task) -> torch.Tensor:
    """Windows of ``codes``: int8 ``(batch, out rows, out columns, in, kernel…)``, a view."""
    geometry = task.geometry
    (ph, pw), (sh, sw), (dh, dw) = geometry.padding, geometry.stride, geometry.dilation
    rows, columns = geometry.out_size(*codes.shape[2:])
    codes = torch.nn.functional.pad(codes, (pw, pw, ph, ph))
    b, c, h, w = codes.stride()
    return codes.as_strided(
        (codes.shape[0], rows, columns, codes.shape[1], *geometry.kernel),
        (b, h * sh, w * sw, c, h * dh, w * dw),
        codes.storage_offset(),
    )
