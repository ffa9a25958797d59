"""A small preset of the fixed-multiplier matrix, its command, and records of no measurement."""

import functools

from luts import catalog
from studies.fixed_multiplier import __main__ as study
from tests.dse._searching import call

TINY = """
[tiny]
multipliers = "mul8s_1KV8,mul8s_1L1G"
calibration_images = 32
validation_images = 40
test_images = 50
[[tiny.networks]]
arch = "resnet20"
dataset = "digits"
image_size = 8
topologies = ["dense", "hard"]
seeds = [0, 1]
base_epochs = 1.0
retrain_epochs = 0.25
"""


command = functools.partial(call, study)
"""Exit status of ``python -m studies.fixed_multiplier`` with some arguments."""


def record(cell, preset, *, weights="ab" * 32):
    score = {"accuracy": 0.5, "cross_entropy": 1.0, "images": 50}
    power = catalog[cell.multiplier].power_mw / catalog["mul8s_1KV8"].power_mw
    return {
        "cell": cell.to_dict(),
        "settings": preset.settings(cell),
        "test": score,
        "validation": None,
        "energy_rel": power,
        "power_rel": power,
        "how": "",
        "note": "",
        "seconds": 1.0,
        "base": {
            "weights": "",
            "weights_sha256": weights,
            "data": {"name": "digits"},
            "float_test": score,
        },
        "making": {"commit": "c", "device": "d", "threads": 1, "versions": {"torch": "2"}},
    }
