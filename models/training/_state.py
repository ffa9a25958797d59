"""The moving parts of a training run: optimiser, schedule, averaged weights, checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel

from luts.errors import InputError
from models.training._distributed import ProcessGroup
from models.training._recipe import TrainingRecipe

_CHECKPOINT_VERSION = 1


class TrainingState:
    """A network in training, step by step.

    Args:
        net: trained in place.
        recipe: how.
        total_steps: length of the schedule.
        seed: of the run; each epoch draws its own from it.
        group: the processes that train together.
    """

    def __init__(
        self,
        net: nn.Module,
        recipe: TrainingRecipe,
        *,
        total_steps: int,
        seed: int,
        group: ProcessGroup,
    ) -> None:
        self.net = _laid_out(net, torch.channels_last) if recipe.channels_last else net
        self.recipe = recipe
        self.group = group
        self.seed = seed
        self.step = 0
        self.epoch = 0
        self.total_steps = total_steps
        self._parameters = [p for p in net.parameters() if p.requires_grad]
        if not self._parameters:
            raise InputError("the network has no parameter to train: all of them are frozen")
        self._optimizer = _optimizer(self._parameters, recipe)
        self._schedule = _schedule(self._optimizer, recipe, total_steps)
        self._ema = _averaged(net, recipe.ema) if recipe.ema else None
        self.forward = group.wrapped(net)

    @property
    def averaged(self) -> nn.Module:
        """The network to score: the moving average where there is one."""
        return self.net if self._ema is None else self._ema.module

    @property
    def learning_rate(self) -> float:
        """Of the step to come."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def epoch_seed(self) -> int:
        """A seed for the epoch under way, far from those of neighbouring seeds and epochs."""
        mixed = torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + self.epoch)
        return int(torch.randint(2**62, (), generator=mixed))

    def descend(self, loss: Tensor) -> None:
        """One optimiser step against ``loss``."""
        self._optimizer.zero_grad(set_to_none=True)
        self.group.backward(loss)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
        self._optimizer.step()
        self._schedule.step()
        if self._ema is not None:
            self._ema.update_parameters(self.net)
        self.step += 1

    def finish(self) -> None:
        """Leave the result in the network: the averaged weights where there are any."""
        if self._ema is not None:
            self.net.load_state_dict(self._ema.module.state_dict())
        _laid_out(self.net, torch.contiguous_format)
        self.net.zero_grad(set_to_none=True)
        self.net.eval()

    def snapshot(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """Everything that `restore` needs; tensors and plain values only."""
        return {
            "version": _CHECKPOINT_VERSION,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "total_steps": self.total_steps,
            "step": self.step,
            "epoch": self.epoch,
            "history": history,
            "net": self.net.state_dict(),
            "ema": None if self._ema is None else self._ema.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Go back to a snapshot; returns its history.

        Raises:
            InputError: it belongs to a run with another recipe, seed, data or network.
        """
        if snapshot.get("version") != _CHECKPOINT_VERSION:
            raise InputError(
                f"this is not a checkpoint of version {_CHECKPOINT_VERSION} but of "
                f"{snapshot.get('version')!r}: start the training anew"
            )
        ours = {"seed": self.seed, "total_steps": self.total_steps, **asdict(self.recipe)}
        theirs = {k: snapshot[k] for k in ("seed", "total_steps")} | dict(snapshot["recipe"])
        differing = [
            f"{key} {theirs.get(key)} → {ours[key]}" for key in ours if theirs.get(key) != ours[key]
        ]
        if differing:
            raise InputError(
                f"the checkpoint is of another run ({'; '.join(differing)}): give the same "
                "arguments, or start anew"
            )
        try:
            self.net.load_state_dict(snapshot["net"])
            if self._ema is not None:
                self._ema.load_state_dict(snapshot["ema"])
        except RuntimeError as error:
            raise InputError(f"the checkpoint is of another network: {error}") from None
        self._optimizer.load_state_dict(snapshot["optimizer"])
        self._schedule.load_state_dict(snapshot["schedule"])
        self.step, self.epoch = snapshot["step"], snapshot["epoch"]
        return list(snapshot["history"])


def _laid_out(net: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """``net``, its four-dimensional weights in this format; changed in place."""
    untyped: Any = net  # PyTorch's types leave this form of `to` out
    changed: nn.Module = untyped.to(memory_format=memory_format)
    return changed


def _optimizer(parameters: list[nn.Parameter], recipe: TrainingRecipe) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=True)
    momentum = recipe.momentum
    # Not fused: that fails when an expert gets its first gradient later than other weights.
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=momentum, nesterov=momentum > 0)


def _schedule(
    optimizer: torch.optim.Optimizer, recipe: TrainingRecipe, total_steps: int
) -> LRScheduler:
    if recipe.schedule == "constant":
        return ConstantLR(optimizer, factor=1.0)
    one_cycle = recipe.schedule == "one-cycle"
    # One step more than is used: the rate of the last step is small, not nothing.
    length = max(total_steps + 1, 4)
    rise = 0.3 if one_cycle else recipe.warmup
    return OneCycleLR(
        optimizer,
        max_lr=recipe.lr,
        total_steps=length,
        pct_start=max(rise, 2 / length),  # OneCycleLR divides by the length of the rise, less one
        cycle_momentum=one_cycle,
    )


def _averaged(net: nn.Module, decay: float) -> AveragedModel:
    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], count: Tensor | int) -> None:
        # Early averages forget faster, or a short run would end on its initial weights.
        seen = int(count)
        share = 1 - min(decay, (1 + seen) / (10 + seen))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current.to(average.device), share)
            else:
                average.copy_(current)

    return AveragedModel(net, multi_avg_fn=update, use_buffers=True)
