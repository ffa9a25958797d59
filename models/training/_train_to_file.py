"""One training run from arguments to a file of weights: what ``python -m models.train`` does."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luts.console import SILENT, Reporter
from luts.errors import InputError
from models.networks import NetworkConfig, build, upcycle_
from models.training._cache import check_making, save_weights
from models.training._data import Data
from models.training._distributed import is_first
from models.training._files import atomically
from models.training._loop import evaluate, fit
from models.training._recipe import TrainingRecipe
from models.training._score import Score
from models.training._weights import fits, load_pretrained_, load_state_, read_weights


@dataclass(frozen=True)
class Start:
    """Where weights come from before training.

    Args:
        weights: a file or URL: of the dense network, which is then upcycled, or of the topology.
        pretrained: the published weights of the dense network.
    """

    weights: str | None = None
    pretrained: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None and self.pretrained:
            raise InputError(f"give either --weights {self.weights} or --pretrained, not both")


@dataclass(frozen=True)
class TrainedWeights:
    """The scores of a trained network, and where its weights are."""

    path: Path
    validation: Score
    test: Score


def starting_network(
    config: NetworkConfig, start: Start, data: Data, *, seed: int, reporter: Reporter = SILENT
) -> nn.Module:
    """A network of this shape with the weights that ``start`` names, or random ones.

    Clusters are made from the training images of ``data``.

    Raises:
        InputError: the weights are missing, damaged, or of another network.
    """
    is_dense = config.topology == "dense"
    net = build(config.dense(), seed=seed)
    if start.pretrained:
        load_pretrained_(net, config.arch, num_classes=config.num_classes, reporter=reporter)
    elif start.weights is not None:
        state = read_weights(start.weights, reporter=reporter)
        if not is_dense and not fits(net, state):
            check_making(start.weights, config)
            net = build(config, seed=seed)
            load_state_(net, state, source=start.weights)
            return net
        load_state_(net, state, source=start.weights)
    if not is_dense:
        upcycle_(net, config, images=data.train.batches(64), seed=seed)
    return net


def train_to_file(
    net: nn.Module,
    data: Data,
    recipe: TrainingRecipe,
    out: Path,
    *,
    seed: int,
    making: dict[str, Any],
    resume: bool = False,
    reporter: Reporter = SILENT,
) -> TrainedWeights:
    """Train, score, and write the weights with how they were made; until then a checkpoint is kept.

    Args:
        net: trained in place, on its own device.
        data: training, validation and test images.
        recipe: how.
        out: a new ``.safetensors`` file.
        seed: of the training.
        making: what else decided the weights, for the file's metadata.
        resume: go on from the checkpoint that an interrupted run left beside ``out``.
        reporter: shows progress.

    Raises:
        InputError: ``out`` exists or cannot be written, or there is nothing to resume.
    """
    checkpoint = prepare_out(out, resume=resume)

    def save(state: dict[str, Any]) -> None:
        with atomically(checkpoint) as temporary:
            torch.save({"making": making, **state}, temporary)
        _report(state["history"][-1], reporter)

    state = _read_checkpoint(checkpoint, making) if resume else None
    history = fit(
        net,
        data,
        recipe,
        seed=seed,
        reporter=reporter,
        validate=True,
        on_checkpoint=save,
        resume=state,
    )
    validation = evaluate(net, data.validation, reporter=reporter)
    test = evaluate(net, data.test, reporter=reporter)
    record = {"recipe": asdict(recipe), "seed": seed, "history": history.as_dicts()}
    scores = {"validation": validation.to_dict(), "test": test.to_dict()}
    if is_first():
        save_weights(net, out, {**making, "data": data.making, **record, **scores})
        checkpoint.unlink(missing_ok=True)
    return TrainedWeights(out, validation, test)


def prepare_out(out: Path, *, resume: bool) -> Path:
    """Refuse a file that must not or cannot be written; the path of its checkpoint."""
    checkpoint = out.with_name(out.name + ".checkpoint")
    if out.suffix != ".safetensors":
        raise InputError(f"weights are written as .safetensors, not to {out}: add the ending")
    if out.exists():
        raise InputError(f"{out} exists and is not overwritten: give another --out, or remove it")
    if resume and not checkpoint.exists():
        raise InputError(f"nothing to resume: no checkpoint at {checkpoint}; leave --resume out")
    if checkpoint.exists() and not resume:
        raise InputError(
            f"an interrupted run left {checkpoint}: go on with --resume, or remove it to start anew"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out.parent} cannot be made ({error}): give another --out") from None
    return checkpoint


def _read_checkpoint(path: Path, making: dict[str, Any]) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True)
        theirs = state.pop("making")
    except Exception as error:
        # torch.load raises errors of many kinds for a damaged file.
        raise InputError(
            f"{path} is damaged ({type(error).__name__}): remove it and start anew"
        ) from None
    for key, value in making.items():
        if theirs.get(key) != value:
            raise InputError(
                f"{path} is of a run with {key} {theirs.get(key)}, not {value}: give the same "
                "arguments, or remove it to start anew"
            )
    return dict(state)


def _report(epoch: dict[str, Any], reporter: Reporter) -> None:
    validation = epoch["validation"]
    reporter.note(
        f"epoch {epoch['epoch']}: loss {epoch['loss']:.4f}, accuracy {100 * epoch['accuracy']:.2f} "
        f"%, validation {100 * validation['accuracy']:.2f} %, {epoch['seconds']:.0f} s"
    )
