"""Circuits as netlists: the array multipliers of any cut, and what a circuit costs.

`array_netlist` builds a member of the family out of half adders, full adders and gates; `estimate`
gives power, area and delay of any netlist, `toggles` how often its nets switch.
"""

from luts.circuits._array import PREFIX, Cuts, all_cuts, array_netlist, cuts_of, nearest
from luts.circuits._bench import BenchSite, array_bench, verilog_of
from luts.circuits._dominance import undominated
from luts.circuits._family import (
    Member,
    array_multiplier,
    cuts_of_table,
    members,
    name_of_table,
    netlist_of,
)
from luts.circuits._figures import (
    FigureEstimate,
    FigureModel,
    NetlistFeatures,
    estimate,
    features,
    figure_models,
)
from luts.circuits._netlist import ONE, ZERO, Builder, Netlist, NetlistCell
from luts.circuits._rtl import array_testbench, array_verilog, module_name, netlist_verilog
from luts.circuits._structural import ADDER_MODULES, CELLS, NotStructural, read_structural
from luts.circuits._switching import Toggles, depth, toggles, weighted_toggles

__all__ = [
    "ADDER_MODULES",
    "CELLS",
    "ONE",
    "PREFIX",
    "ZERO",
    "BenchSite",
    "Builder",
    "Cuts",
    "FigureEstimate",
    "FigureModel",
    "Member",
    "Netlist",
    "NetlistCell",
    "NetlistFeatures",
    "NotStructural",
    "Toggles",
    "all_cuts",
    "array_bench",
    "array_multiplier",
    "array_netlist",
    "array_testbench",
    "array_verilog",
    "cuts_of",
    "cuts_of_table",
    "depth",
    "estimate",
    "features",
    "figure_models",
    "members",
    "module_name",
    "name_of_table",
    "nearest",
    "netlist_of",
    "netlist_verilog",
    "read_structural",
    "toggles",
    "undominated",
    "verilog_of",
    "weighted_toggles",
]
