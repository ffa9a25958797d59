"""What the exact network looks like, for recoveries to aim at."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from models.emulation import (
    Arithmetic,
    CodeCounts,
    EmulatedNetwork,
    EmulatedSite,
    EmulatedWeightSite,
    Histograms,
    ProductOperands,
    Rescaling,
    Site,
    WeightMaps,
    best_scales,
    channel_means,
    code_counts,
    code_histograms,
    correct_bias_,
    product_operands,
    sites_before_batchnorm,
    tune_layer_,
)
from models.networks import Inputs, expert_layers
from models.training.recovery._batchnorm import (
    Statistics,
    has_batchnorm,
    recalibrate_,
    set_statistics_,
    statistics,
    transport_,
)
from models.training.recovery._recipe import Recovery
from models.training.recovery._state import KeptStates

HISTOGRAM_IMAGES = 128
"""Images whose codes are counted: even so few give a layer millions of codes."""

PRODUCT_IMAGES = 16
"""Images of which the operands of attention are kept, as they are."""

BESIDE_BATCHNORM = 256
"""Images for correcting biases where BatchNorm does most of it: little depends on them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Taken once of a network, and used for every assignment that is tried on it.

    Attributes:
        images: training images that statistics are taken on, ``(N, C, H, W)``, or other inputs.
        bias_images: those of them on which biases are corrected, in one batch.
        exact_means: channel means of the exact int8 network by site, each of shape ``(out,)``.
        histograms: how often each activation code occurs in it, by site; empty if nobody asked.
            Not of the approximated network: one that is broken says little of what a recovered one
            will see.
        operands: some of those of every product of two activations, by site; empty if nobody asked.
        before_batchnorm: sites whose output goes straight into a BatchNorm.
        batchnorm: BatchNorm's statistics, by module.
        exact_batchnorm: those of ``images`` in the exact int8 network.
        teacher: the float network, or None where nobody distils.
        weight_maps: codes that were found to err least; kept, as they depend on the circuit and on
            the histogram alone, not on what the other sites compute.
        rescalings: scales that were found to err least, by site, arithmetic and recipe; likewise.
        weight_codes: how often each occurs, by site.
        recovered: what recoveries have left, by the assignment's digest and the recipe; like the
            weights' codes, of the weights as they were when this was taken.
    """

    images: torch.Tensor | Inputs
    bias_images: torch.Tensor | Inputs
    exact_means: Mapping[str, torch.Tensor]
    histograms: Histograms
    operands: ProductOperands
    before_batchnorm: frozenset[str]
    batchnorm: Statistics
    exact_batchnorm: Statistics
    teacher: EmulatedNetwork | None = None
    weight_maps: WeightMaps = dataclasses.field(default_factory=dict, repr=False)
    rescalings: dict[tuple[str, Arithmetic, Recovery], Rescaling] = dataclasses.field(
        default_factory=dict, repr=False
    )

    weight_codes: dict[str, CodeCounts] = dataclasses.field(default_factory=dict, repr=False)
    recovered: KeptStates = dataclasses.field(default_factory=KeptStates, repr=False)
    _occurring: dict[str, npt.NDArray[np.bool_]] = dataclasses.field(
        default_factory=dict, repr=False
    )

    @classmethod
    def of(
        cls,
        emulated: EmulatedNetwork,
        images: torch.Tensor | Inputs,
        *,
        with_histograms: bool = True,
        with_teacher: bool = False,
    ) -> "Reference":
        """The reference of a network that still has the float network's weights and statistics.

        Args:
            emulated: its arithmetic stays what it is; corrections are forgotten.
            images: training images, ``(N, C, H, W)``.
            with_histograms: count codes, which weight tuning and operand order need.
            with_teacher: keep the float network for distillation.
        """
        bias_images = images[:BESIDE_BATCHNORM] if has_batchnorm(emulated) else images
        trained = statistics(emulated)
        with emulated.exactly():
            recalibrate_(emulated, images)
            exact = statistics(emulated)
            set_statistics_(emulated, trained)
            means = channel_means(emulated, bias_images)
            # Of few images an expert may see none.
            counted = images if expert_layers(emulated) else images[:HISTOGRAM_IMAGES]
            histograms = code_histograms(emulated, counted) if with_histograms else {}
            few = images[:PRODUCT_IMAGES]
            operands = product_operands(emulated, few) if with_histograms else {}
        return cls(
            images=images,
            bias_images=bias_images,
            exact_means=means,
            histograms=histograms,
            operands=operands,
            before_batchnorm=sites_before_batchnorm(emulated, images[:1]),
            batchnorm=trained,
            exact_batchnorm=exact,
            teacher=emulated.in_float() if with_teacher else None,
        )

    def prepare_(self, emulated: EmulatedNetwork, site: Site, recipe: Recovery) -> None:
        """The recipe's steps that a site's circuit and histograms alone decide, at this site.

        A site that no image reached stays as it is.
        """
        self.rescale_(emulated, site, recipe)
        self.tune_(emulated, site, recipe)

    def rescale_(self, emulated: EmulatedNetwork, site: Site, recipe: Recovery) -> bool:
        """Give a site the scales that suit its circuit; whether they are others than before."""
        if recipe.rescale == "none" or site.name not in self.histograms:
            return False
        layer = emulated.layer(site.name)
        key = (site.name, layer.arithmetic, recipe)
        if key not in self.rescalings:
            self.rescalings[key] = best_scales(
                layer,
                layer.arithmetic,
                self.histograms[site.name],
                fan_in=site.fan_in,
                weights=recipe.rescale == "both",
                corrected=site.name in self.without_mean(recipe),
                tunes=recipe.criterion is not None,
                counted=self._code_counts(site.name, layer),
            )
        self.rescalings[key].apply_(layer)
        return self.rescalings[key].is_change

    def _code_counts(self, name: str, layer: EmulatedSite) -> CodeCounts | None:
        if not isinstance(layer, EmulatedWeightSite):
            return None
        if name not in self.weight_codes:
            self.weight_codes[name] = code_counts(layer)
        return self.weight_codes[name]

    def tune_(self, emulated: EmulatedNetwork, site: Site, recipe: Recovery) -> None:
        """Give a site the weight codes that its circuit errs least with."""
        layer = emulated.layer(site.name)
        if recipe.criterion is None or site.name not in self.histograms:
            return
        if isinstance(layer, EmulatedWeightSite):
            shares = self.histograms[site.name][0]
            tune_layer_(layer, shares, criterion=recipe.criterion, known=self.weight_maps)

    def replaces_codes(self, emulated: EmulatedNetwork, site: Site) -> bool:
        """Whether `tune_` gave a site another code for some weight than the one that is meant."""
        layer = emulated.layer(site.name)
        if not isinstance(layer, EmulatedWeightSite) or layer.weight_map is None:
            return False
        if site.name not in self.weight_codes or not bool((layer.weight_factor == 1).all()):
            return layer.maps_any_code()
        if site.name not in self._occurring:
            counts, _ = self.weight_codes[site.name]
            self._occurring[site.name] = np.asarray(counts.any(axis=0))
        used = layer.weight_map.cpu().numpy().view(np.uint8)
        return bool((self._occurring[site.name] & (used != np.arange(len(used)))).any())

    def corrected(self, recipe: Recovery) -> frozenset[str]:
        """Layers whose bias is corrected, if any is: BatchNorm undoes that in those before it."""
        names = frozenset(self.exact_means)
        return names - self.before_batchnorm if recipe.recalibrate else names

    def without_mean(self, recipe: Recovery) -> frozenset[str]:
        """Sites whose mean error is gone once statistics and biases are taken anew."""
        names = self.before_batchnorm if recipe.recalibrate else frozenset()
        return names | self.corrected(recipe) if recipe.correct_bias else names

    def recalibrate_(self, emulated: EmulatedNetwork) -> None:
        """BatchNorm's statistics as training would have left them under the arithmetic at hand."""
        reached = recalibrate_(emulated, self.images)
        transport_(emulated, self.batchnorm, self.exact_batchnorm, names=reached)

    def correct_bias_(self, emulated: EmulatedNetwork, recipe: Recovery) -> None:
        """Give the layers of `corrected` the channel means of the exact network.

        Both means are of the same images, so that the exact network's biases stay what they are.
        """
        names = self.corrected(recipe)
        correct_bias_(emulated, self.bias_images, self.exact_means, names=names)

    def restore_(self, emulated: EmulatedNetwork) -> None:
        """Put BatchNorm's statistics back to those of the float network."""
        set_statistics_(emulated, self.batchnorm)
