"""Architectures, experts and topologies in plain PyTorch; nothing here knows a multiplier."""

from models.networks._adapt import Mixture, adapt, check_experts
from models.networks._architecture import ARCHITECTURES, Architecture, architecture
from models.networks._build import build
from models.networks._cluster import ClusterMoE, FollowingMoE
from models.networks._config import (
    TOPOLOGIES,
    ClusterFeatures,
    ClusterRoute,
    NetworkConfig,
    SoftMixes,
    ignored_by,
)
from models.networks._experts import ExpertLayer, auxiliary_loss, every_expert_sees_everything
from models.networks._foreign import source_digest
from models.networks._hard import HardMoE, frozen_routers, information_loss, load_balancing_loss
from models.networks._inputs import (
    Batch,
    Inputs,
    batches_of,
    called,
    in_batches,
    inputs_of,
    logits_of,
)
from models.networks._mixed import MixedKernels
from models.networks._routing import Routing, expert_layers, measure_routing, uniform_routing
from models.networks._soft import SoftMoE, WeightedExperts
from models.networks._timm import timm
from models.networks._upcycle import upcycle_
from models.networks._work import ExpertWork, expert_work, measure_routing_per_input

__all__ = [
    "ARCHITECTURES",
    "TOPOLOGIES",
    "Architecture",
    "Batch",
    "ClusterFeatures",
    "ClusterMoE",
    "ClusterRoute",
    "ExpertLayer",
    "ExpertWork",
    "FollowingMoE",
    "HardMoE",
    "Inputs",
    "MixedKernels",
    "Mixture",
    "NetworkConfig",
    "Routing",
    "SoftMixes",
    "SoftMoE",
    "WeightedExperts",
    "adapt",
    "architecture",
    "auxiliary_loss",
    "batches_of",
    "build",
    "called",
    "check_experts",
    "every_expert_sees_everything",
    "expert_layers",
    "expert_work",
    "frozen_routers",
    "ignored_by",
    "in_batches",
    "information_loss",
    "inputs_of",
    "load_balancing_loss",
    "logits_of",
    "measure_routing",
    "measure_routing_per_input",
    "source_digest",
    "timm",
    "uniform_routing",
    "upcycle_",
]
