"""Analytic cost of an assignment: what each site costs, and why. No input is ever classified."""

import luts as _luts  # noqa: F401 - first, as it sees to Ctrl-C while the rest is imported
from energy import run_files
from energy._area import DistinctArea, distinct_area
from energy._breakdown import COMPONENTS, CostBreakdown, SiteCost
from energy._circuits import add_kept, own_multipliers
from energy._compare import cheapest_within, compare, draw_components, recovered_accuracy
from energy._cost import MODELS, EnergyModel, cost, under_each_model
from energy._cost_model import CostModel
from energy._csv import write_table
from energy._figures import (
    CONVENTIONS,
    Convention,
    Figures,
    MultiplierFigures,
    Operation,
    published_figures,
    read_figures,
)
from energy._options import add_cost_options, check_memories, figures_of
from energy._origin import figures_origin
from energy._run import network_of_run, read_operands, read_routing
from energy._spread import (
    Spread,
    per_input_json,
    read_per_input,
    spread,
    usage,
    worst_case,
)
from energy._switching import ACTIVITY, Switching, check_circuits
from energy._workload import Workload, dense_counterpart

__all__ = [
    "ACTIVITY",
    "COMPONENTS",
    "CONVENTIONS",
    "MODELS",
    "Convention",
    "CostBreakdown",
    "CostModel",
    "DistinctArea",
    "EnergyModel",
    "Figures",
    "MultiplierFigures",
    "Operation",
    "SiteCost",
    "Spread",
    "Switching",
    "Workload",
    "add_cost_options",
    "add_kept",
    "cheapest_within",
    "check_circuits",
    "check_memories",
    "compare",
    "cost",
    "dense_counterpart",
    "distinct_area",
    "draw_components",
    "figures_of",
    "figures_origin",
    "network_of_run",
    "own_multipliers",
    "per_input_json",
    "published_figures",
    "read_figures",
    "read_operands",
    "read_per_input",
    "read_routing",
    "recovered_accuracy",
    "run_files",
    "spread",
    "under_each_model",
    "usage",
    "worst_case",
    "write_table",
]
