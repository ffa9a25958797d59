"""The batches of one training epoch, the same for training and for fine-tuning."""

from collections.abc import Iterator

import torch
from torch import Tensor

from luts.errors import InputError
from models.networks import Inputs
from models.training._augment import shift_and_flip
from models.training._data import Split
from models.training._state import TrainingState


def epoch_batches(state: TrainingState, split: Split) -> Iterator[tuple[Tensor | Inputs, Tensor]]:
    """This process's share of the batches of the epoch under way, shuffled and augmented.

    The epoch's seed decides the order, the augmentation and, through the global generator that is
    seeded here, dropout: a resumed run needs no random state from before. The last epoch ends
    where the run does.

    Args:
        state: of the run; knows the epoch, the recipe and the other processes.
        split: the training images.

    Yields:
        Images as the network reads them, ``[N, C, H, W]``, or other inputs as they are, and their
        labels as the split has them, both on the network's device.
    """
    recipe = state.recipe
    if (recipe.shift_px or recipe.flip) and not split.is_images:
        raise InputError(
            "only images are shifted and mirrored, and these inputs are none: train with "
            "shift_px=0 and flip=False"
        )
    device = next(state.net.parameters()).device
    generator = torch.Generator().manual_seed(state.epoch_seed)
    torch.manual_seed(state.epoch_seed + state.group.rank)
    order = torch.randperm(len(split), generator=generator)
    steps = min(recipe.steps_per_epoch(len(split)), state.total_steps - state.step)
    for batch in torch.split(order, recipe.batch_size)[:steps]:
        positions = state.group.share(batch)
        stored = split.gather(positions)
        if isinstance(stored, Inputs):
            yield stored.to(device), split.labels[positions].to(device)
            continue
        pixels = shift_and_flip(
            stored.to(device, non_blocking=True),
            shift_px=recipe.shift_px,
            flip=recipe.flip,
            border=recipe.border,
            generator=generator,
        )
        if recipe.channels_last:
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        yield split.normalised(pixels), split.labels[positions].to(device)
