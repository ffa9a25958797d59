"""What decides a network's shape."""

import dataclasses
from typing import Annotated, Literal

from luts.errors import InputError
from luts.settings import check_settings, setting
from models.networks._architecture import architecture

TOPOLOGIES: tuple[str, ...] = ("dense", "hard", "soft", "cluster")
"""Every topology."""

ClusterFeatures = Literal["raw", "unit"]
ClusterRoute = Literal["layer", "image"]
SoftMixes = Literal["outputs", "kernels"]

OF_TOPOLOGIES = {
    "experts": ("hard", "soft", "cluster"),
    "expert_blocks": ("hard", "soft", "cluster"),
    "top_k": ("hard",),
    "cluster_features": ("cluster",),
    "cluster_route": ("cluster",),
    "soft_mixes": ("soft",),
    "dropped": ("hard", "soft", "cluster"),
}
"""The topologies that take a setting; others would ignore it."""


def ignored_by(topology: str) -> tuple[str, ...]:
    """Names of the settings that a topology has no use for."""
    return tuple(name for name, takers in OF_TOPOLOGIES.items() if topology not in takers)


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's shape.

    Raises:
        InputError: a value of the wrong type, out of range or unknown; all of them together.
    """

    arch: Annotated[str, setting("architecture, timm:NAME, or path/to/file.py:function")]
    topology: Annotated[
        str, setting("dense, or the kind of mixture of experts", choices=TOPOLOGIES)
    ] = "dense"
    num_classes: Annotated[int, setting("outputs", ge=2)] = 10
    image_size: Annotated[int, setting("height and width of the input", unit="px")] = 32
    patch_size: Annotated[
        int | None, setting("side of a transformer's patches in pixels (default: its own)")
    ] = None
    in_channels: Annotated[int, setting("channels of the input", ge=1)] = 3
    # Four, as in the published gating of whole images (Pavlitska et al., arXiv 2204.10598): small
    # data sets leave more of them too few images each.
    experts: Annotated[int, setting("experts per layer", ge=2)] = 4
    expert_blocks: Annotated[
        tuple[int, ...] | None,
        setting("indices of the blocks that become experts", metavar="I,J,…"),
    ] = None
    top_k: Annotated[int, setting("experts that work on one item, with topology hard")] = 1
    # raw: k-means minimises the spread that each expert's int8 range has to cover. unit: spherical
    # k-means (Dhillon, Modha, 2001), blind to how strong an input is. Features of later layers
    # would need a pass before the pass.
    cluster_features: Annotated[
        ClusterFeatures,
        setting(
            "what clusters are made of: the layer's inputs as they are (raw), or their directions "
            "alone (unit)"
        ),
    ] = "raw"
    cluster_route: Annotated[
        ClusterRoute,
        setting(
            "who chooses with topology cluster: every layer for each of its items (layer), or the "
            "first layer with experts, once for the whole image and all layers (image)"
        ),
    ] = "layer"

    soft_mixes: Annotated[
        SoftMixes,
        setting(
            "what topology soft mixes in a convolutional network: the outputs of all experts, or "
            "their kernels (CondConv)"
        ),
    ] = "outputs"

    dropped: Annotated[
        float,
        setting(
            "part of the inner channels of each expert that starts anew when it is made from the "
            "dense network (drop-upcycling)",
            ge=0,
            le=1,
        ),
    ] = 0.0

    def __post_init__(self) -> None:
        check_settings(self)
        self._check_ignored()
        if not 1 <= self.top_k <= self.experts:
            raise InputError(f"top_k lies in 1…{self.experts} (the experts), not {self.top_k}")
        if self.soft_mixes != "outputs" and architecture(self.arch).granularity != "image":
            raise InputError(
                f"soft_mixes {self.soft_mixes!r} is for convolutional networks, not for "
                f"{self.arch}: leave it out"
            )
        if self.dropped and self.soft_mixes != "outputs":
            raise InputError(
                f"mixed kernels are not experts of which a part could start anew: leave dropped "
                f"{self.dropped:g} out"
            )
        self._check_size()

    def _check_ignored(self) -> None:
        for name in ignored_by(self.topology):
            value = getattr(self, name)
            if value != getattr(type(self), name):
                takers = OF_TOPOLOGIES[name]
                raise InputError(
                    f"{name} is for the {'topology' if len(takers) == 1 else 'topologies'} "
                    f"{', '.join(takers)}; {self.topology} takes none, not {value}: leave it out, "
                    f"or name such a topology"
                )

    def dense(self) -> "NetworkConfig":
        """The dense network that experts are made from."""
        own = {name: getattr(type(self), name) for name in ignored_by("dense")}
        return dataclasses.replace(self, topology="dense", **own)

    def _check_size(self) -> None:
        chosen = architecture(self.arch)
        if self.image_size < chosen.smallest_image:
            raise InputError(
                f"{self.arch} takes images of at least {chosen.smallest_image} pixels a side, not "
                f"{self.image_size}"
            )
        patch_size = self.patch_size
        if patch_size is None:
            patch_size = chosen.default_patch_size
        if patch_size is None:
            return
        if not chosen.has_patches:
            raise InputError(f"{self.arch} has no patches: leave the patch size {patch_size} out")
        if patch_size < 1 or self.image_size % patch_size:
            raise InputError(
                f"patches must tile the image: size {self.image_size} is no multiple of "
                f"{patch_size}"
            )
