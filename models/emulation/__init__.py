"""Quantisation, sites, assignments and the emulated network."""

from luts import Arithmetic, quantise
from models.emulation._assignment import Assignment, Choice
from models.emulation._bias import channel_means, correct_bias_, sites_before_batchnorm
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._emulate import EmulatedNetwork, Plan, PlanRow, emulate
from models.emulation._error_table import ErrorTable, expected_errors
from models.emulation._expected import (
    CRITERIA,
    Histograms,
    WeightMaps,
    best_weight_map,
    code_histograms,
    error_moments,
    tune_layer_,
)
from models.emulation._golden import (
    GoldenVectors,
    SiteParameters,
    Tile,
    golden_vectors,
    site_parameters,
)
from models.emulation._layers import EmulatedLinear, EmulatedSite, EmulatedWeightSite
from models.emulation._matmul import EmulatedMatmul
from models.emulation._onnx import write_onnx
from models.emulation._operand_order import (
    ProductOperands,
    choose_operand_order,
    product_operands,
    set_operand_order_,
)
from models.emulation._operands import OperandSteps, SampledOperands, sample_operands
from models.emulation._quantise import CALIBRATION_METHODS, WeightScales, weight_scale
from models.emulation._rescale import (
    CodeCounts,
    Rescaling,
    best_scales,
    code_counts,
    expected_error,
)
from models.emulation._site import OF_ACTIVATIONS, Site, SiteKind, Sites, Uncovered
from models.emulation._sites import sites
from models.emulation._slopes import GRADIENTS, Gradient, GradientKind

__all__ = [
    "CALIBRATION_METHODS",
    "CRITERIA",
    "GRADIENTS",
    "OF_ACTIVATIONS",
    "Arithmetic",
    "Assignment",
    "Choice",
    "CodeCounts",
    "EmulatedConv2d",
    "EmulatedLinear",
    "EmulatedMatmul",
    "EmulatedNetwork",
    "EmulatedSite",
    "EmulatedWeightSite",
    "ErrorTable",
    "GoldenVectors",
    "Gradient",
    "GradientKind",
    "Histograms",
    "OperandSteps",
    "Plan",
    "PlanRow",
    "ProductOperands",
    "Rescaling",
    "SampledOperands",
    "Site",
    "SiteKind",
    "SiteParameters",
    "Sites",
    "Tile",
    "Uncovered",
    "WeightMaps",
    "WeightScales",
    "best_scales",
    "best_weight_map",
    "channel_means",
    "choose_operand_order",
    "code_counts",
    "code_histograms",
    "correct_bias_",
    "emulate",
    "error_moments",
    "expected_error",
    "expected_errors",
    "golden_vectors",
    "product_operands",
    "quantise",
    "sample_operands",
    "set_operand_order_",
    "site_parameters",
    "sites",
    "sites_before_batchnorm",
    "tune_layer_",
    "weight_scale",
    "write_onnx",
]
