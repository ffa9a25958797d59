"""The integer contract: symmetric signed 8-bit codes with float32 scales.

Codes lie in −127…127, rounding is half to even, activations have one scale per tensor, weights one
per output channel, or per tensor where that is asked for. Jacob et al., CVPR 2018, arXiv
1712.05877, restricted to zero point 0.
"""

from typing import Literal, get_args

import torch

from luts import MAX_CODE, largest_magnitudes
from luts.errors import InputError, suggest

CalibrationMethod = Literal["max", "percentile", "mse"]
CALIBRATION_METHODS: tuple[str, ...] = get_args(CalibrationMethod)
WeightScales = Literal["channel", "tensor"]
WEIGHT_SCALES: tuple[str, ...] = get_args(WeightScales)

PERCENTILE = 99.99
_MSE_CANDIDATES = 64
_SAMPLES_PER_BATCH = 2**18


def weight_scale(weight: torch.Tensor, of: WeightScales = "channel") -> torch.Tensor:
    """Scale of every output channel, float32 of shape ``(out,)``.

    Args:
        weight: shape ``(out, …)``.
        of: ``"channel"``: each represents its own largest weight. ``"tensor"``: all represent the
            largest of the layer.
    """
    largest = largest_magnitudes(weight)
    if of == "tensor" and len(largest):
        largest = largest.max().expand_as(largest)
    return positive_scale(largest)


def positive_scale(largest: torch.Tensor) -> torch.Tensor:
    """``largest / 127``, or 1 where nothing but zeros has to be represented."""
    scale = largest.float() / MAX_CODE
    # A scale so small that it is subnormal would divide to infinity.
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(scale < tiny, 1.0, scale)


def mapped_codes(codes: torch.Tensor, weight_map: torch.Tensor) -> torch.Tensor:
    """``weight_map[code]`` for every code.

    Args:
        codes: int8 of any shape.
        weight_map: int8 of shape ``(256,)``, on the same device.
    """
    if codes.device.type != "cpu" or codes.numel() == 0:
        return weight_map[codes.view(torch.uint8).long()]
    # Indexing takes an int64 for every code; Python translates bytes six times as fast.
    meant = bytearray(codes.contiguous().numpy())
    used = meant.translate(weight_map.numpy().tobytes())
    return torch.frombuffer(used, dtype=torch.int8).view(codes.shape)


class Observer:
    """Collects an activation's magnitudes and says which scale represents them.

    Args:
        method: ``"max"``: the largest magnitude is code 127. ``"percentile"``: the 99.99th
            percentile is. ``"mse"``: the clipping point with the least squared error is.

    Raises:
        InputError: an unknown method.
    """

    def __init__(self, method: str) -> None:
        if method not in CALIBRATION_METHODS:
            known = list(CALIBRATION_METHODS)
            raise InputError(f"unknown calibration {method!r}; {suggest(method, known)}")
        self.method = method
        self.largest = torch.zeros(())
        self.largest_of_calls: list[torch.Tensor] = []
        self._samples: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor) -> None:
        """Look at one batch."""
        if x.numel() == 0:
            return
        magnitudes = x.detach().abs().flatten()
        self.largest_of_calls.append(magnitudes.max().float().cpu())
        # Unlike Python's max, it keeps what is not a number.
        self.largest = torch.maximum(self.largest, self.largest_of_calls[-1])
        if self.method != "max":
            step = -(-magnitudes.numel() // _SAMPLES_PER_BATCH)
            self._samples.append(magnitudes[::step].float().clone())

    @property
    def seen(self) -> bool:
        """Whether there was anything to look at."""
        return bool(self.largest_of_calls)

    def scale(self) -> torch.Tensor:
        """The scale, float32 of shape ``()``.

        Raises:
            InputError: something observed was infinite or not a number.
        """
        largest = self.largest
        if not bool(torch.isfinite(largest)):
            raise InputError(
                "calibration met an activation that is infinite or not a number: check the inputs "
                "and the float network's outputs"
            )
        if self.method == "max" or not self._samples:
            return positive_scale(largest)
        samples = torch.cat(self._samples)
        if self.method == "percentile":
            rank = max(1, round(samples.numel() * PERCENTILE / 100))
            return positive_scale(samples.kthvalue(rank).values)
        return _least_squares_scale(samples, largest)


def _least_squares_scale(samples: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    best, best_error = positive_scale(largest), float("inf")
    for step in range(_MSE_CANDIDATES // 4, _MSE_CANDIDATES + 1):
        scale = positive_scale(largest * step / _MSE_CANDIDATES)
        codes = (samples / scale).round().clamp(max=MAX_CODE)
        error = float(((codes * scale - samples) ** 2).mean())
        if error < best_error:
            best, best_error = scale, error
    return best
