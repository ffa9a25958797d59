"""What an expert layer does besides its experts' own products."""

import dataclasses

import torch
from torch import nn

from luts.errors import InputError
from models.networks._inputs import Batch, inputs_of
from models.networks._routing import Routing, expert_layers, measure_routing


@dataclasses.dataclass(frozen=True)
class ExpertWork:
    """Facts about one expert layer that follow from its shape, not from its weights.

    Attributes:
        layer: the layer's qualified name.
        experts: number of experts.
        items: items of one input: tokens or images.
        executions: expert runs per item, so the sum of the layer's activation rates: ``top_k`` for
            a layer that chooses, slots over tokens for Soft MoE.
        overhead_macs: MACs of the layer's own for one input that are not sites.
        fixed: every input uses the experts alike, so rates do not depend on data.
        capacity: largest activation rate of one expert, None without a limit; items beyond it are
            dropped, so rates may sum to less than ``executions``.

    Raises:
        InputError: a number outside its range.
    """

    layer: str
    experts: int
    items: int
    executions: float
    overhead_macs: int = 0
    fixed: bool = False
    capacity: float | None = None

    def __post_init__(self) -> None:
        if self.experts < 1 or self.items < 1 or self.executions <= 0 or self.overhead_macs < 0:
            raise InputError(
                f"{self.layer}: an expert layer has experts, items and executions above 0 and "
                f"overhead from 0 up, not {self}"
            )


@torch.no_grad()
def expert_work(network: nn.Module, example_input: Batch) -> tuple[ExpertWork, ...]:
    """One record per expert layer, by running ``network`` once in evaluation mode.

    Args:
        network: any network.
        example_input: one batch as the network takes it (`Batch`); one input is enough.

    Raises:
        InputError: the batch is empty.
    """
    inputs = inputs_of(example_input, network)
    if len(inputs) < 1:
        raise InputError("counting work takes an example batch of at least one input, not 0")
    layers = expert_layers(network)
    if not layers:
        return ()
    was_training = network.training
    network.eval()
    try:
        inputs.call(network)
    finally:
        network.train(was_training)
    records = []
    for name, layer in layers.items():
        items = layer.items // len(inputs)
        records.append(
            ExpertWork(
                layer=name,
                experts=layer.num_experts,
                items=items,
                executions=float(layer.work.sum()) / layer.items,
                overhead_macs=layer.overhead_macs(items),
                fixed=layer.fixed_work,
            )
        )
    return tuple(records)


def measure_routing_per_input(
    network: nn.Module, inputs: Batch, *, source: str
) -> tuple[Routing, ...]:
    """Activation rates of every input by itself, in evaluation mode.

    Args:
        network: any network.
        inputs: one batch as the network takes it.
        source: what to call the measurement; the input's index is added.
    """
    batch = inputs_of(inputs, network)
    return tuple(
        measure_routing(network, [batch.rows([i])], source=f"{source}, input {i}")
        for i in range(len(batch))
    )
