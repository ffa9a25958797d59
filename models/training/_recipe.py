"""How a network is trained, as data; and the recipes that are known to work."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from luts.settings import check_settings, read_settings, setting
from models.training._augment import Border


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything about a training run but the network, the data and the seed.

    Raises:
        InputError: a value of the wrong type, out of range or unknown; all of them together.
    """

    epochs: Annotated[
        float, setting("passes over the training split; a fraction stops within one", ge=0)
    ]
    batch_size: Annotated[int, setting("images per step", ge=1)] = 128
    optimizer: Annotated[
        Literal["adamw", "sgd"], setting("adamw, or sgd with Nesterov momentum")
    ] = "sgd"
    lr: Annotated[float, setting("peak learning rate", gt=0)] = 0.1
    weight_decay: Annotated[
        float, setting("on weight matrices and kernels; biases and norms are left alone", ge=0)
    ] = 5e-4
    momentum: Annotated[float, setting("of sgd; the first beta of adamw", ge=0, lt=1)] = 0.9
    schedule: Annotated[
        Literal["one-cycle", "cosine", "constant"],
        setting(
            "one-cycle (up for 30 % of the steps, down to nothing, momentum against it; Smith & "
            "Topin, arXiv 1708.07120), cosine with warmup, or constant"
        ),
    ] = "cosine"
    warmup: Annotated[
        float, setting("fraction of the steps in which cosine rises to lr", ge=0, lt=1)
    ] = 0.1
    label_smoothing: Annotated[
        float, setting("share of the target spread over all classes", ge=0, lt=1)
    ] = 0.0
    ema: Annotated[
        float,
        setting(
            "decay of the exponential moving average of the weights, which then is the result; 0 "
            "for none",
            ge=0,
            lt=1,
        ),
    ] = 0.0
    balance: Annotated[
        float,
        setting(
            "weight of the experts' load-balancing loss (Fedus et al., arXiv 2101.03961, eq. 4)",
            ge=0,
        ),
    ] = 0.01
    clip_norm: Annotated[float, setting("largest norm of the gradient; 0 for no limit", ge=0)] = 0.0
    shift_px: Annotated[
        int, setting("largest shift of an image in each direction", unit="px", ge=0)
    ] = 0
    border: Annotated[
        Border,
        setting(
            "what comes in where an image was moved away: zeros, or reflect, the image mirrored at "
            "its border, which leaves the statistics of natural images as they are"
        ),
    ] = "zeros"
    flip: Annotated[bool, setting("mirror half of the images")] = False
    precision: Annotated[
        Literal["float32", "bfloat16"],
        setting("of the float products in training; weights stay float32, and circuits exact"),
    ] = "float32"
    channels_last: Annotated[bool, setting("keep activations channels-last, which CNNs like")] = (
        False
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def steps_per_epoch(self, images: int) -> int:
        """Optimiser steps in a pass over so many images.

        One image that is left over makes none: BatchNorm has no variance of a single value per
        channel, and PyTorch refuses it in training. Each pass leaves out another image.
        """
        whole, rest = divmod(images, self.batch_size)
        return whole + (rest > 1 or (rest == 1 and whole == 0))

    def steps(self, images: int) -> int:
        """Optimiser steps of the whole training; a fraction of a step counts as one."""
        return math.ceil(round(self.epochs * self.steps_per_epoch(images), 6))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingRecipe":
        """The inverse of `dataclasses.asdict`.

        Raises:
            InputError: an unknown or missing key or an illegal value; all of them together.
        """
        return read_settings(cls, values, title="a training recipe")


# Digits, vit_small with patch 16: 96.5 % after 12 epochs; upcycled to hard, 96.7 % after 4 more.
VIT_DIGITS = TrainingRecipe(
    epochs=12,
    batch_size=64,
    optimizer="adamw",
    lr=3e-4,
    weight_decay=0.05,
    schedule="one-cycle",
    shift_px=2,
)

# Cluttered digits, vit_small with patch 16: upcycled to hard, 89.5 % of the test scenes.
VIT_CLUTTERED_DIGITS = replace(VIT_DIGITS, epochs=5)

# CIFAR: the published recipe (SGD 0.1, Nesterov, 5e-4, cosine) with what a short run gains from.
CNN_CIFAR = TrainingRecipe(
    epochs=20,
    batch_size=128,
    optimizer="sgd",
    lr=0.2,
    weight_decay=5e-4,
    schedule="cosine",
    warmup=0.15,
    label_smoothing=0.05,
    ema=0.995,
    shift_px=3,
    border="reflect",
    flip=True,
    channels_last=True,
)

# Small images from scratch: a long AdamW run with strong smoothing (Lee et al., arXiv 2112.13492).
VIT_IMAGES = TrainingRecipe(
    epochs=100,
    batch_size=128,
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.05,
    schedule="cosine",
    warmup=0.1,
    label_smoothing=0.1,
    ema=0.999,
    clip_norm=1.0,
    shift_px=4,
    border="reflect",
    flip=True,
)


# Approximate-aware fine-tuning, of a transformer and of a network with BatchNorm.
FINETUNE_TRANSFORMER = TrainingRecipe(
    epochs=1.0,
    batch_size=64,
    optimizer="adamw",
    lr=1e-4,
    weight_decay=0.0,
    schedule="one-cycle",
    shift_px=2,
)

FINETUNE_CONVOLUTIONAL = TrainingRecipe(
    epochs=1.0,
    batch_size=128,
    optimizer="sgd",
    lr=0.01,
    weight_decay=5e-4,
    schedule="cosine",
    shift_px=2,
)


# They stand on a background, and mirrored they are other characters.
_OF_DIGITS = ("digits", "cluttered-digits")


def default_recipe(arch: str, dataset: str) -> TrainingRecipe:
    """The recipe from scratch for an architecture on a data set."""
    is_cnn = arch.startswith(("resnet", "vgg"))
    if dataset in _OF_DIGITS:
        # Few images need small batches.
        gentle = replace(CNN_CIFAR, epochs=12, batch_size=64, lr=0.05, ema=0.0)
        digits = replace(gentle, shift_px=2, border="zeros", flip=False)
        if not is_cnn:
            return VIT_DIGITS if dataset == "digits" else VIT_CLUTTERED_DIGITS
        return digits
    return CNN_CIFAR if is_cnn else VIT_IMAGES


def upcycled_recipe(recipe: TrainingRecipe) -> TrainingRecipe:
    """For experts that start from a network trained by ``recipe``: a few epochs more."""
    if recipe.optimizer == "adamw":
        return replace(recipe, epochs=max(1, round(recipe.epochs / 3)))
    # A trained CNN forgets what it knows at the learning rate it started with, and balanced as
    # strongly as from scratch its routers move faster than the experts learn.
    epochs = max(1, round(recipe.epochs * 0.15))
    return replace(recipe, epochs=epochs, lr=recipe.lr / 10, balance=recipe.balance / 10)


def adapted_recipe(recipe: TrainingRecipe) -> TrainingRecipe:
    """For published weights with a fresh head or resized embeddings: shorter and gentler."""
    return replace(recipe, epochs=max(1, round(recipe.epochs * 0.3)), lr=recipe.lr / 10)


def finetuning_recipe(dataset: str, *, is_convolutional: bool) -> TrainingRecipe:
    """For a trained network whose products have become approximate; epochs are the caller's."""
    recipe = FINETUNE_CONVOLUTIONAL if is_convolutional else FINETUNE_TRANSFORMER
    # Digits stand on a background, most images go on beyond their border.
    return replace(recipe, border="zeros" if dataset in _OF_DIGITS else "reflect")
