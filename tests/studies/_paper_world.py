"""The fixed-multiplier matrix in a made-up world in which all claims of the paper hold."""

import itertools

import numpy as np
import pandas as pd

from luts import catalog
from models import TOPOLOGIES

NAMES = catalog.names("paper")
POWER = {name: catalog[name].power_mw / catalog["mul8s_1KV8"].power_mw for name in NAMES}
AGGRESSIVE = ("mul8s_1L2D", "mul8s_1L1G", "mul8s_1KR3")
OTHERS = ("dense", "hard", "soft")
MODERATE = ("mul8s_1KVA", "mul8s_1KVB", "mul8s_1KR6", "mul8s_1L2H")


def as_the_paper_says(arch, topology, multiplier, recovery):
    """Points lost, in a world where all six claims hold."""
    if POWER[multiplier] == 1:
        return 0.0
    if recovery == "none":
        lost = 60 * (1 - POWER[multiplier])
        return lost if arch == "vit_small" or topology == "dense" else lost + 5
    if arch == "vit_small" and multiplier in AGGRESSIVE:
        return 4.0 if topology == "hard" else 9.0
    if arch.startswith("vgg") and multiplier in AGGRESSIVE:
        return 2.0 if (arch, topology) == ("vgg11_bn", "cluster") else 40.0
    return 0.2


def in_both_orders(rows, swapped):
    """A table of the activation first, and another with the weight there, as one table."""
    two = [name for name in NAMES if not catalog[name].is_commutative]
    other = swapped[swapped["multiplier"].isin(two)].assign(swapped=True)
    return pd.concat([rows.assign(swapped=False), other], ignore_index=True)


def table(drop=as_the_paper_says, *, seeds=(0, 1, 2), archs=("resnet20", "vgg11_bn", "vit_small")):
    rows = []
    points = itertools.product(archs, TOPOLOGIES, NAMES, ("none", "retrained"), seeds)
    for arch, topology, multiplier, recovery, seed in points:
        lost = drop(arch, topology, multiplier, recovery)
        noise = 0.05 * np.sin(7 * seed + 3 * NAMES.index(multiplier)) if lost else 0.0
        rows.append(
            {
                "arch": arch,
                "dataset": "digits" if arch == "vit_small" else "cifar10-images",
                "topology": topology,
                "multiplier": multiplier,
                "recovery": recovery,
                "seed": seed,
                "power_rel": POWER[multiplier],
                "energy_rel": POWER[multiplier] * (1.01 if topology == "hard" else 1.0),
                "drop_points": lost + noise,
                "drop_share_pct": 100 * (lost + noise) / 80,
                "drop_error_points": 0.1 if lost else 0.0,
                "accuracy_error_points": 0.3,
                "test_accuracy_pct": 90 - lost - noise,
                "seconds": 2.0,
                "commit": f"c0ffee{seed}",
                "device": "a machine",
            }
        )
    return pd.DataFrame(rows)
