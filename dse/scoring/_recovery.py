"""The recipe that searches recover with, and what fine-tuning ends with."""

import dataclasses

from torch import nn

from models import EmulatedNetwork, FineTuning, Recovery, Score
from models.training import finetuning_recipe, has_batchnorm


def default_recovery(network: nn.Module, dataset: str, *, is_images: bool = True) -> Recovery:
    """What every candidate gets, and every fixed multiplier and study alike.

    Activation scales and weight codes of least expected error, BatchNorm's statistics, biases
    corrected where no BatchNorm follows. The operand order is part of the assignment, so that the
    search chooses it. The weights' scales stay what they are: those of least expected error cut the
    largest weights off, and networks did worse with them.

    Args:
        network: the float network.
        dataset: name of what it classifies.
        is_images: whether its inputs can be shifted and mirrored in fine-tuning.
    """
    normalised = has_batchnorm(network)
    training = finetuning_recipe(dataset, is_convolutional=normalised)
    if not is_images:
        training = dataclasses.replace(training, shift_px=0, flip=False)
    return Recovery(
        recalibrate=normalised,
        correct_bias=True,
        rescale="activations",
        tune_weights="squared",
        fine_tuning=FineTuning(training),
    )


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fine-tuned network and what became of it.

    Attributes:
        network: the better of before and after, by the validation score.
        validation: its score.
        note: which of the two it is.
        seconds: wall-clock time.
    """

    network: EmulatedNetwork
    validation: Score
    note: str
    seconds: float
