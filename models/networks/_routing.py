"""How often each expert works."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from luts.errors import InputError
from models.networks._experts import ExpertLayer
from models.networks._inputs import Batch, batches_of

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Routing:
    """Activation rate of every expert: items it works on, as a fraction of its layer's items.

    Attributes:
        rates: expert layer's qualified name → one rate per expert.
        source: where the rates come from, one line.

    Raises:
        InputError: a rate is negative or not a number.
    """

    rates: Mapping[str, tuple[float, ...]]
    source: str

    def __post_init__(self) -> None:
        frozen = {layer: tuple(float(r) for r in rates) for layer, rates in self.rates.items()}
        for layer, rates in frozen.items():
            if not all(0 <= rate < float("inf") for rate in rates):
                raise InputError(f"{layer}: activation rates are numbers from 0 up, not {rates}")
        object.__setattr__(self, "rates", frozen)

    def rate(self, layer: str, expert: int) -> float:
        """Activation rate of one expert.

        Raises:
            InputError: the layer or the expert is not known.
        """
        if layer not in self.rates:
            known = ", ".join(self.rates) or "none"
            raise InputError(f"no routing rates for layer {layer!r}; there are: {known}")
        if not 0 <= expert < len(self.rates[layer]):
            raise InputError(
                f"{layer} has {len(self.rates[layer])} routing rates, none for {expert}"
            )
        return self.rates[layer][expert]

    def to_json(self) -> str:
        """As JSON text."""
        record = {"version": VERSION, "source": self.source, "rates": dict(self.rates)}
        return json.dumps(record, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Routing":
        """From JSON text.

        Raises:
            InputError: the text is not what `to_json` writes.
        """
        try:
            record: dict[str, Any] = json.loads(text)
            if record["version"] != VERSION:
                raise InputError(
                    f"routing file of version {record['version']}; this program reads {VERSION}"
                )
            rates = {str(k): tuple(float(r) for r in v) for k, v in record["rates"].items()}
            return cls(rates=rates, source=str(record["source"]))
        except InputError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"not a routing file ({error!r}); a run's routing.json is one"
            ) from error


def uniform_routing(network: nn.Module) -> Routing:
    """Every expert of a layer works equally often."""
    return Routing(
        rates={
            name: (layer.executions / layer.num_experts,) * layer.num_experts
            for name, layer in expert_layers(network).items()
        },
        source="uniform (assumed, not measured)",
    )


@torch.no_grad()
def measure_routing(
    network: nn.Module, batches: Batch | Iterable[Batch], *, source: str
) -> Routing:
    """Activation rates over ``batches`` of inputs, in evaluation mode.

    Args:
        network: any network.
        batches: batches as the network takes them (`Batch`); a tensor by itself is one.
        source: what to call the measurement.
    """
    layers = expert_layers(network)
    work = {
        name: torch.zeros(layer.num_experts, dtype=torch.float64) for name, layer in layers.items()
    }
    items = dict.fromkeys(layers, 0)
    was_training = network.training
    network.eval()
    for batch in batches_of(batches, network):
        batch.call(network)
        for name, layer in layers.items():
            work[name] += layer.work
            items[name] += layer.items
    network.train(was_training)
    rates = {name: tuple((work[name] / max(1, items[name])).tolist()) for name in layers}
    return Routing(rates=rates, source=source)


def expert_layers(network: nn.Module) -> dict[str, ExpertLayer]:
    """The network's expert layers by qualified name."""
    return {n: m for n, m in network.named_modules() if isinstance(m, ExpertLayer)}
