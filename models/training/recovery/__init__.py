"""What is done to a network after approximation, from a free forward pass to fine-tuning."""

from models.training.recovery._batchnorm import has_batchnorm, recalibrate_
from models.training.recovery._expert_images import ExpertImages, expert_images
from models.training.recovery._fine_tune import FineTuned, fine_tune_
from models.training.recovery._recipe import FineTuning, Recovery
from models.training.recovery._record import Recovered, Step
from models.training.recovery._recover import recover
from models.training.recovery._reference import Reference

__all__ = [
    "ExpertImages",
    "FineTuned",
    "FineTuning",
    "Recovered",
    "Recovery",
    "Reference",
    "Step",
    "expert_images",
    "fine_tune_",
    "has_batchnorm",
    "recalibrate_",
    "recover",
]
