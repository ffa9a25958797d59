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
        if not 1 <= self.top_k <= self.experts:
            raise InputError(f"top_k lies in 1…{self.experts} (the experts), not {self.top_k}")
        if self.topology in ("soft", "cluster") and self.top_k != 1:
            raise InputError(
                f"top_k is for the topology hard; {self.topology} takes none, not {self.top_k}"
            )
        if self.cluster_route != "layer" and self.topology != "cluster":
            raise InputError(
                f"cluster_route {self.cluster_route!r} is for the topology cluster, not for "
                f"{self.topology}: leave it out"
            )
        if self.soft_mixes != "outputs" and (
            self.topology != "soft" or architecture(self.arch).granularity != "image"
        ):
            raise InputError(
                f"soft_mixes {self.soft_mixes!r} is for the topology soft of convolutional "
                f"networks, not for {self.topology} {self.arch}: leave it out"
            )
        if self.dropped and self.soft_mixes != "outputs":
            raise InputError(
                f"mixed kernels are not experts of which a part could start anew: leave dropped "
                f"{self.dropped:g} out"
            )
        self._check_size()

    def dense(self) -> "NetworkConfig":
        """The dense network that this one is upcycled from."""
        return dataclasses.replace(
            self, topology="dense", cluster_route="layer", soft_mixes="outputs", dropped=0.0
        )

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
