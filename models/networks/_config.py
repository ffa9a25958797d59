"""What decides a network's shape."""

import dataclasses
from typing import Literal, get_args

from luts.errors import InputError, suggest
from models.networks._architecture import architecture

TOPOLOGIES: tuple[str, ...] = ("dense", "hard", "soft", "cluster")
"""Every topology."""

ClusterFeatures = Literal["raw", "unit"]


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's shape.

    Attributes:
        arch: name of the architecture, ``timm:NAME``, or ``path/to/file.py:function``.
        topology: ``"dense"`` or the kind of mixture of experts.
        num_classes: outputs.
        image_size: height and width of the input in pixels.
        patch_size: height and width of a patch in pixels; None for the architecture's own.
        in_channels: channels of the input.
        experts: experts per layer. Four, as in the published gating of whole images (Pavlitska et
            al., arXiv 2204.10598): small data sets leave more of them too few images each.
        expert_blocks: indices of the blocks that become experts; None for the architecture's own.
        top_k: experts that work on one item; 1 unless the topology is ``hard``.
        cluster_features: what ``cluster`` makes its clusters of. ``raw``: the layer's inputs as
            they are, so that k-means minimises the spread that each expert's int8 range has to
            cover. ``unit``: their directions alone (spherical k-means; Dhillon, Modha, 2001),
            blind to how strong an input is. Features of later layers would need a pass before the
            pass.

    Raises:
        InputError: an unknown name or a number outside its range.
    """

    arch: str
    topology: str = "dense"
    num_classes: int = 10
    image_size: int = 32
    patch_size: int | None = None
    in_channels: int = 3
    experts: int = 4
    expert_blocks: tuple[int, ...] | None = None
    top_k: int = 1
    cluster_features: ClusterFeatures = "raw"

    def __post_init__(self) -> None:
        if self.topology not in TOPOLOGIES:
            known = list(TOPOLOGIES)
            raise InputError(f"unknown topology {self.topology!r}; {suggest(self.topology, known)}")
        if self.num_classes < 2:
            raise InputError(f"a classifier needs at least 2 classes, not {self.num_classes}")
        if self.experts < 2:
            raise InputError(f"a mixture needs at least 2 experts, not {self.experts}")
        if not 1 <= self.top_k <= self.experts:
            raise InputError(f"top_k lies in 1…{self.experts} (the experts), not {self.top_k}")
        if self.topology in ("soft", "cluster") and self.top_k != 1:
            raise InputError(
                f"top_k is for the topology hard; {self.topology} takes none, not {self.top_k}"
            )
        if self.cluster_features not in get_args(ClusterFeatures):
            known = list(get_args(ClusterFeatures))
            raise InputError(
                f"unknown cluster features {self.cluster_features!r}; "
                f"{suggest(self.cluster_features, known)}"
            )
        self._check_size()

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
