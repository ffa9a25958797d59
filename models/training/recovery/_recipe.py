"""What is to be done to a network after approximation, as data."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from luts.settings import check_settings, read_settings, setting
from models.emulation import CRITERIA, Gradient, GradientKind
from models.training._recipe import TrainingRecipe

WeightTuning = Literal["none", "squared", "centred", "mean"]
Rescale = Literal["none", "activations", "both"]
OperandOrder = Literal["given", "choose"]
IMAGES = 1_000


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """Training through the emulated circuits.

    Raises:
        InputError: a value of the wrong type, out of range or unknown; all of them together.
    """

    training: Annotated[
        TrainingRecipe,
        setting(
            "optimiser, schedule, epochs (a fraction stops within one), load balance, images' "
            "augmentation"
        ),
    ]
    gradient: Annotated[GradientKind, setting("how the circuits' slopes are estimated")] = (
        "straight-through"
    )
    half_window: Annotated[
        int, setting("codes on either side that a slope is smoothed over", ge=0, le=126)
    ] = Gradient().half_window
    distillation: Annotated[
        float,
        setting(
            "share of the loss that compares logits with the float network's (Hinton et al., arXiv "
            "1503.02531); 0 for labels only, 1 for the float network only",
            ge=0,
            le=1,
        ),
    ] = 0.0
    temperature: Annotated[
        float, setting("that both logits are divided by in this comparison", gt=0)
    ] = 2.0
    feature_distillation: Annotated[
        float,
        setting(
            "weight of the mean squared difference from what the float network's last layer reads, "
            "relative to its variance; 0 for none",
            ge=0,
        ),
    ] = 0.0
    learn_scales: Annotated[
        bool, setting("train the activation scales too (Esser et al., ICLR 2020, arXiv 1902.08153)")
    ] = False
    # An assignment is charged with the activation rates of the exact network, which move further
    # when routers learn; and the gates' gradient can undo what was recovered (VGG11 under
    # mul8s_1L1G: 52 % of the validation images, 35 % after a quarter of an epoch; 68 % with
    # routers frozen).
    train_routers: Annotated[
        bool, setting("train the routers of topology hard too, in balance")
    ] = False

    def __post_init__(self) -> None:
        check_settings(self)

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

    Raises:
        InputError: a value of the wrong type, out of range or unknown; all of them together.
    """

    recalibrate: Annotated[
        bool, setting("take BatchNorm's statistics anew under the approximate arithmetic")
    ] = True
    correct_bias: Annotated[
        bool,
        setting(
            "take the mean error out of every channel of the layers without BatchNorm (of all "
            "layers, if BatchNorm is not recalibrated)"
        ),
    ] = True
    tune_weights: Annotated[
        WeightTuning,
        setting(
            "replace each weight code by that of least expected error: squared, centred (squared, "
            "less the mean that the first two steps remove), mean or none",
            choices=("none", *CRITERIA),
        ),
    ] = "none"
    operand_order: Annotated[
        OperandOrder,
        setting(
            "choose the circuit's port for the activation at every site by expected error, or take "
            "the order as given"
        ),
    ] = "given"
    rescale: Annotated[
        Rescale,
        setting(
            "take the scales of least expected error under each site's circuit, in place of those "
            "that suit 8 exact bits: of activations, of weights as well (both), or none"
        ),
    ] = "none"
    fine_tuning: Annotated[FineTuning | None, setting("train through the circuits, or None")] = None
    images: Annotated[int, setting("training images that statistics are taken on", ge=1)] = IMAGES

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def criterion(self) -> str | None:
        """The error by which weight codes are replaced, or None if they are not."""
        return None if self.tune_weights == "none" else self.tune_weights

    @property
    def needs_histograms(self) -> bool:
        """Whether a step rests on how often each activation code occurs."""
        return (
            self.rescale != "none" or self.criterion is not None or self.operand_order == "choose"
        )

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
            InputError: an unknown or missing key or an illegal value; all of them together.
        """
        return read_settings(cls, values, title="a recovery")
