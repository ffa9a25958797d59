"""What is to be done to a network after approximation, as data."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from luts.errors import InputError, suggest
from models.emulation import CRITERIA, Gradient, GradientKind
from models.training._recipe import TrainingRecipe

WeightTuning = Literal["none", "squared", "centred", "mean"]
OperandOrder = Literal["given", "choose"]
IMAGES = 1_000


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Training through the emulated circuits.

    Args:
        training: optimiser, schedule, epochs (a fraction stops within one), load balance, images'
            augmentation.
        gradient: how the circuits' slopes are estimated; see `models.emulation.Gradient`.
        half_window: codes on either side that a slope is smoothed over.
        distillation: share of the loss that compares logits with the float network's (Hinton et
            al., arXiv 1503.02531); 0 for labels only, 1 for the float network only.
        temperature: that both logits are divided by in this comparison.
        feature_distillation: weight of the mean squared difference from what the float network's
            last layer reads, relative to its variance; 0 for none.
        learn_scales: train the activation scales too (Esser et al., ICLR 2020, arXiv 1902.08153).
        train_routers: train the routers of topology ``hard`` too, in balance. An assignment is
            charged with the activation rates of the exact network, which then move further; and
            the gates' gradient can undo what was recovered (VGG11 under mul8s_1L1G: 52 % of the
            validation images, 35 % after a quarter of an epoch; 68 % with routers frozen).
    """

    training: TrainingRecipe
    gradient: GradientKind = "straight-through"
    half_window: int = Gradient().half_window
    distillation: float = 0.0
    temperature: float = 2.0
    feature_distillation: float = 0.0
    learn_scales: bool = False
    train_routers: bool = False

    def __post_init__(self) -> None:
        self.slopes  # noqa: B018  (raises if there is no such gradient)
        _require(0 <= self.distillation <= 1, "distillation", self.distillation, "from 0 to 1")
        for name, least in (("temperature", 1e-6), ("feature_distillation", 0.0)):
            value = getattr(self, name)
            rule = "a positive number" if least else "a number from 0"
            _require(math.isfinite(value) and value >= least, name, value, rule)

    @property
    def slopes(self) -> Gradient:
        """The gradient and its window as one value."""
        return Gradient(self.gradient, self.half_window)

    @property
    def needs_teacher(self) -> bool:
        """Whether the float network is compared with."""
        return self.distillation > 0 or self.feature_distillation > 0


@dataclasses.dataclass(frozen=True)
class Recovery:
    """A recipe: steps in the order in which they are taken, from free to costly.

    Args:
        recalibrate: take BatchNorm's statistics anew under the approximate arithmetic.
        correct_bias: take the mean error out of every channel of the layers without BatchNorm (of
            all layers, if BatchNorm is not recalibrated).
        tune_weights: replace each weight code by that of least expected error: ``squared``,
            ``centred`` (squared, less the mean that the first two steps remove), ``mean`` or
            ``none``.
        operand_order: ``choose`` the circuit's port for the activation at every site by expected
            error, or take the order as ``given``.
        fine_tuning: train through the circuits, or None.
        images: training images that statistics are taken on.
    """

    recalibrate: bool = True
    correct_bias: bool = True
    tune_weights: WeightTuning = "none"
    operand_order: OperandOrder = "given"
    fine_tuning: FineTuning | None = None
    images: int = IMAGES

    def __post_init__(self) -> None:
        known = ["none", *CRITERIA]
        if self.tune_weights not in known:
            raise InputError(
                f"unknown tune_weights {self.tune_weights!r}: "
                f"{suggest(str(self.tune_weights), known)}"
            )
        orders = list(get_args(OperandOrder))
        if self.operand_order not in orders:
            raise InputError(
                f"unknown operand_order {self.operand_order!r}: "
                f"{suggest(str(self.operand_order), orders)}"
            )
        _require(self.images >= 1, "images", self.images, "at least 1")

    @property
    def criterion(self) -> str | None:
        """The error by which weight codes are replaced, or None if they are not."""
        return None if self.tune_weights == "none" else self.tune_weights

    def to_dict(self) -> dict[str, Any]:
        """Plain values for TOML and JSON; what is None is left out."""
        values = dataclasses.asdict(self)
        if self.fine_tuning is None:
            del values["fine_tuning"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recovery":
        """The inverse of `to_dict`.

        Raises:
            InputError: an unknown key or an illegal value.
        """
        given = dict(_checked(cls, values, "recovery"))
        tuning = given.get("fine_tuning")
        if tuning is not None:
            tuning = dict(_checked(FineTuning, tuning, "fine_tuning"))
            training = tuning.get("training")
            if not isinstance(training, Mapping):
                raise InputError("fine_tuning needs a table fine_tuning.training with its epochs")
            tuning["training"] = TrainingRecipe.from_dict(training)
            given["fine_tuning"] = FineTuning(**tuning)
        return cls(**given)


def _checked(cls: type, values: Any, title: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise InputError(f"{title} is a table of settings, not {values!r}")
    fields = {field.name: field.default for field in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in fields:
            raise InputError(f"{title} has no {key!r}: {suggest(key, list(fields))}")
        default = fields[key]
        if not _of_kind(value, default):
            raise InputError(f"{title}: {key} is like {default!r}, not {value!r}")
    return values


def _of_kind(value: object, default: object) -> bool:
    """Whether a value from a file can stand where ``default`` stands."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, int | str):
        return isinstance(value, type(default)) and not isinstance(value, bool)
    return True


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise InputError(f"{name} is {rule}, not {value}")
