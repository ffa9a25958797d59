"""Quantisation, sites, assignments and the emulated network."""

from luts import quantise
from models.emulation._assignment import Assignment, Choice
from models.emulation._bias import channel_means, correct_bias_
from models.emulation._emulate import EmulatedNetwork, Plan, PlanRow, emulate, inputs_of
from models.emulation._layers import (
    EmulatedConv2d,
    EmulatedLinear,
    EmulatedMatmul,
    EmulatedSite,
    EmulatedWeightSite,
)
from models.emulation._quantise import CALIBRATION_METHODS, weight_scale
from models.emulation._sites import Site, SiteKind, sites

__all__ = [
    "CALIBRATION_METHODS",
    "Assignment",
    "Choice",
    "EmulatedConv2d",
    "EmulatedLinear",
    "EmulatedMatmul",
    "EmulatedNetwork",
    "EmulatedSite",
    "EmulatedWeightSite",
    "Plan",
    "PlanRow",
    "Site",
    "SiteKind",
    "channel_means",
    "correct_bias_",
    "emulate",
    "inputs_of",
    "quantise",
    "sites",
    "weight_scale",
]
