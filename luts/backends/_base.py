"""What every backend offers."""

import abc

import torch

from luts._arithmetic import Arithmetic


class Backend(abc.ABC):
    """One way to compute ``Y[m, n] = Σ_k T[x[m, k], w[k, n]]`` exactly.

    A weight is prepared once and used many times.
    """

    name: str

    @abc.abstractmethod
    def refusal(self, arithmetic: Arithmetic, *, device: torch.device, batched: bool) -> str | None:
        """Why this backend cannot do it, or None if it can.

        Args:
            arithmetic: the multiplier and operand order.
            device: where the operands lie.
            batched: the second operand has batch dimensions (attention), not one matrix (a layer).
        """

    @abc.abstractmethod
    def prepare(self, w: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
        """The second operand in the form that `multiply` wants.

        Args:
            w: codes as int8 values, shape ``(..., K, N)``.
            arithmetic: the multiplier and operand order.
        """

    @abc.abstractmethod
    def multiply(
        self, x: torch.Tensor, prepared: torch.Tensor, arithmetic: Arithmetic
    ) -> torch.Tensor:
        """Exact sums, shape ``(..., M, N)``: int32, or float32 where no sum can exceed 2^24.

        Args:
            x: codes as int8 values, shape ``(..., M, K)``.
            prepared: what `prepare` returned.
            arithmetic: the multiplier and operand order.
        """
