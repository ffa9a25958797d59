"""Architectures, experts and topologies in plain PyTorch; nothing here knows a multiplier."""

from models.networks._build import (
    ARCHITECTURES,
    TOPOLOGIES,
    Architecture,
    NetworkConfig,
    build,
    upcycle_,
)
from models.networks._experts import ExpertLayer, auxiliary_loss, every_expert_sees_everything
from models.networks._hard import HardMoE, load_balancing_loss
from models.networks._routing import Routing, expert_layers, measure_routing, uniform_routing
from models.networks._work import ExpertWork, expert_work, measure_routing_per_input

__all__ = [
    "ARCHITECTURES",
    "TOPOLOGIES",
    "Architecture",
    "ExpertLayer",
    "ExpertWork",
    "HardMoE",
    "NetworkConfig",
    "Routing",
    "auxiliary_loss",
    "build",
    "every_expert_sees_everything",
    "expert_layers",
    "expert_work",
    "load_balancing_loss",
    "measure_routing",
    "measure_routing_per_input",
    "uniform_routing",
    "upcycle_",
]
