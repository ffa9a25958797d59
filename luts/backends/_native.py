"""Factorised products by the compiled kernels, without unfolding and in one call."""

import functools

import torch

from luts._arithmetic import Arithmetic
from luts._native import (
    Packed,
    isa,
    max_depth,
    native_batched,
    native_emit,
    native_layer,
    native_pack,
)
from luts._quantise import codes_of, quantise
from luts._staircase import CircuitTerms, terms_of
from luts._task import Emitted, Epilogue, Scaling, Task
from luts.backends._base import Backend

MIN_COLUMNS = 4
"""Narrower channel groups would waste most of the kernels' sixteen columns."""

BIT_CYCLES = (0, 3, 6, 11, 18)
"""Cycles that one word of 32 counted bits costs, by depth, where four int8 products cost 1."""


class NativeBackend(Backend):
    """Quantise, multiply (AMX, VNNI or 16-bit AVX2 products), take off the cut bits, scale."""

    name = "native"

    def refusal(self, arithmetic: Arithmetic, task: Task) -> str | None:
        """Refuse tables without factors, other devices, unfit processors."""
        if task.device.type != "cpu":
            return f"not made for {task.device.type}"
        if arithmetic.factorisation is None:
            return "the table has no short factorisation"
        if isa() in ("none", "portable"):
            return "no compiled vector kernels"
        if not products_are_exact():
            return "the kernels failed their test in this process"
        return None

    @staticmethod
    def is_narrow(task: Task) -> bool:
        """Whether most of the sixteen columns that are computed at once would be padding."""
        groups = task.geometry.groups
        return groups > 1 and task.out_channels // groups < MIN_COLUMNS

    def prepare(self, w: torch.Tensor, arithmetic: Arithmetic, task: Task) -> Packed:
        """Pack the weight's factors and bits."""
        return native_pack(w, cheapest_terms(arithmetic, task), task.geometry)

    def layer(
        self,
        x: torch.Tensor,
        prepared: Packed,
        arithmetic: Arithmetic,
        task: Task,
        scaling: Scaling | None,
    ) -> torch.Tensor:
        """One call; the output lies in channels-last memory."""
        if scaling is None:
            return native_layer(x, prepared)
        return native_layer(
            x if x.dtype == torch.float32 else codes_of(x, scaling.x),
            prepared,
            x_scale=scaling.x.item(),
            scale=scaling.factor,
            bias=scaling.offset,
        )

    def emit(
        self,
        codes: torch.Tensor,
        prepared: Packed,
        arithmetic: Arithmetic,
        task: Task,
        scaling: Scaling,
        epilogue: Epilogue,
    ) -> Emitted:
        """One call, which writes no more than is wanted."""
        values, emitted = native_emit(
            codes,
            packed=prepared,
            scale=scaling.factor,
            bias=scaling.offset,
            added=epilogue.added,
            adds_rectified=epilogue.adds_rectified,
            codes_scale=epilogue.codes_scale,
            is_rectified=epilogue.is_rectified,
            keeps_values=epilogue.keeps_values,
        )
        return Emitted(values, emitted)

    def batched(
        self, x: torch.Tensor, y: torch.Tensor, arithmetic: Arithmetic, scaling: Scaling | None
    ) -> torch.Tensor:
        """One call; the second operand is packed on the way."""
        task = Task(x.device, x.shape[-1], y.shape[-1], batched=True)
        terms = cheapest_terms(arithmetic, task)
        if scaling is None:
            return native_batched(x, y, terms)
        assert scaling.y is not None
        return native_batched(
            x if x.dtype == torch.float32 else quantise(x, scaling.x),
            y if y.dtype == torch.float32 else quantise(y, scaling.y),
            terms,
            x_scale=scaling.x.item(),
            y_scale=scaling.y.item(),
            scale=scaling.factor.item(),
        )


def cheapest_terms(arithmetic: Arithmetic, task: Task) -> CircuitTerms:
    """The circuit as int8 products alone, or with cut bits counted, whichever is faster."""
    plain = terms_of(arithmetic, max_depth=0)
    assert plain is not None
    geometry = task.geometry
    per_group = task.channels // geometry.groups
    counted = terms_of(arithmetic, max_depth=max_depth())
    if counted is None or not counted.depth or (geometry.groups > 1 and per_group % 8):
        return plain
    whole = -(-per_group // 8) * 8
    if geometry.groups == 1 and geometry.dilation[1] == 1:
        per_group, whole = per_group * geometry.kernel[1], whole * geometry.kernel[1]
    cost = plain.count * -(-per_group // 4)
    counted_cost = -(-whole // 4) + BIT_CYCLES[counted.depth] * -(-whole // 32)
    return counted if counted_cost < cost else plain


@functools.cache
def products_are_exact() -> bool:
    """Whether the kernels give exact sums at the extremes in this process."""
    from luts._catalog import catalog

    generator = torch.Generator().manual_seed(0)
    for name in ("mul8s_1KV8", "mul8s_1KX2"):
        arithmetic = Arithmetic(catalog[name])
        table = arithmetic.torch_table(torch.device("cpu"))
        for m, k, n in ((13, 64, 70), (1, 257, 1)):
            task = Task(torch.device("cpu"), k, n)
            pairs = [(a, b) for a in (127, -128) for b in (127, -128)]
            operands = [(torch.full((m, k), a), torch.full((k, n), b)) for a, b in pairs]
            operands.append(
                (
                    torch.randint(-128, 128, (m, k), generator=generator),
                    torch.randint(-128, 128, (k, n), generator=generator),
                )
            )
            for x, w in operands:
                index = x[:, :, None] % 256 * 256 + w[None] % 256
                packed = NATIVE.prepare(w.t()[:, :, None, None].to(torch.int8), arithmetic, task)
                x_codes = x.to(torch.int8)[:, :, None, None]
                y = NATIVE.layer(x_codes, packed, arithmetic, task, None)[:, :, 0, 0]
                if not torch.equal(y.long(), table[index].sum(dim=1)):
                    return False
    return True


NATIVE = NativeBackend()
