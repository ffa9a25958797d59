"""What the paper leaves open about how its networks are made and approximated, as settings."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from luts import EXACT
from luts.errors import InputError
from luts.settings import check_settings, setting
from models import Assignment, Site
from models.emulation import OF_ACTIVATIONS, WeightScales
from models.networks import ClusterRoute, SoftMixes

OF_NETWORK = ("experts", "expert_blocks", "cluster_route", "soft_mixes")
"""Settings that make another float network."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One reading of what the paper leaves open; that without a name is the usual one.

    Raises:
        InputError: a setting is unknown, of another type, or out of range.
    """

    name: Annotated[str, setting("of the variant, where it is not the usual protocol")] = ""
    weight_scales: Annotated[WeightScales, setting("one an output channel, or one a layer")] = (
        "channel"
    )
    exact: Annotated[
        tuple[str, ...],
        setting(
            "sites that keep the exact multiplier: the first and the last layer, or the products "
            "of attention",
            choices=("ends", "attention"),
        ),
    ] = ()
    ports: Annotated[
        Literal["alike", "by-kind"],
        setting(
            "the same order everywhere, or TransAxx's: the weight on the first port in "
            "convolutions, the activation in linear layers"
        ),
    ] = "alike"
    experts: Annotated[int | None, setting("per layer", ge=2)] = None
    expert_blocks: Annotated[tuple[int, ...] | None, setting("that become experts", ge=0)] = None
    cluster_route: Annotated[
        ClusterRoute, setting("chosen by every layer, or once for the whole network")
    ] = "layer"
    soft_mixes: Annotated[
        SoftMixes, setting("outputs of all experts, or their kernels; in a CNN")
    ] = "outputs"

    def __post_init__(self) -> None:
        check_settings(self)
        changes = ", ".join(self.changes)
        if changes and not self.name:
            raise InputError(
                f"a protocol that changes {changes} needs a name, by which its cells are told apart"
            )
        if self.name and not changes:
            raise InputError(f"protocol {self.name} changes nothing: leave it out")

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that are not the usual ones, by name, as plain values."""
        fields = [field for field in dataclasses.fields(self) if field.name != "name"]
        values = {field.name: (getattr(self, field.name), field.default) for field in fields}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, (value, usual) in values.items()
            if value != usual
        }

    @property
    def of_network(self) -> dict[str, Any]:
        """Those of `models.NetworkConfig` that are not the usual ones."""
        return {key: getattr(self, key) for key in OF_NETWORK if key in self.changes}

    def assignment(self, sites: Sequence[Site], multiplier: str, *, swapped: bool) -> Assignment:
        """One multiplier at every site that this protocol approximates.

        Args:
            sites: of the network, in the order in which it uses them.
            multiplier: the circuit.
            swapped: the weight goes to the first port, where the protocol does not say which.
        """
        uniform = Assignment.uniform(sites, multiplier, swapped=swapped)
        choices = dict(uniform.choices)
        if self.ports == "by-kind":
            for site in sites:
                if choices[site.name].multiplier == multiplier:
                    choices[site.name] = dataclasses.replace(
                        choices[site.name], swapped=site.kind == "conv"
                    )
        for name in self._kept_exact(sites):
            choices[name] = dataclasses.replace(choices[name], multiplier=EXACT, swapped=False)
        return Assignment.of(choices)

    def _kept_exact(self, sites: Sequence[Site]) -> list[str]:
        names = []
        if "attention" in self.exact:
            names += [site.name for site in sites if site.kind in OF_ACTIVATIONS]
        if "ends" in self.exact:
            layers = [site.name for site in sites if site.kind in ("conv", "linear")]
            names += [layers[0], layers[-1]]
        return names


USUAL = Protocol()
"""What all presets but those of variants use."""
