"""What the verdicts on the paper's own data assume, as text beside them."""

import pandas as pd

from studies.fixed_multiplier._plan import MatrixPreset, NetworkPlan

PUBLISHED = {
    ("resnet20", "cifar100"): 68.83,
    ("vgg11_bn", "cifar100"): 70.78,
    ("vgg19_bn", "cifar100"): 73.87,
}
"""Top-1 of the published float networks (chenyaofo/pytorch-cifar-models), in percent."""


def as_markdown(preset: MatrixPreset, rows: pd.DataFrame) -> str:
    """What each verdict assumes, and how good the float networks are that it was taken on.

    Args:
        preset: that the cells are of.
        rows: as `_tables.matrix` makes them.
    """
    lines = [
        "What the verdicts assume beside these readings. *All*: four experts a layer, in the "
        "blocks that the architectures name, upcycled from the dense network; int8 with one scale "
        "an output channel; every layer but the routers through the circuit, the first and the "
        "last too; in a CNN `soft` weights the outputs of all experts, and `cluster` chooses at "
        "each layer. *1 and 2*: no recovery of any kind. *3 to 6*: retraining was enough, which is "
        f"{_retraining(preset)}, through the circuits with a straight-through gradient, and the "
        "better state by validation is kept; *irreversible* means by that much. *6*: cost is the "
        "paper's normalised power.",
        "",
        "| network | float top-1 of `dense` here, % | published, % | epochs here |",
        "|---|---|---|---|",
    ]
    lines += [_reached(plan, rows) for plan in preset.networks]
    return "\n".join(lines)


def _retraining(preset: MatrixPreset) -> str:
    told = []
    for plan in preset.networks:
        more = plan.aggressive_epochs
        also = "" if more is None else f" ({more:g} at aggressive circuits)"
        told.append(f"{plan.retrain_epochs:g}{also} epochs of {plan.arch}")
    return ", ".join(told)


def _reached(plan: NetworkPlan, rows: pd.DataFrame) -> str:
    mine = rows[(rows["arch"] == plan.arch) & (rows["dataset"] == plan.dataset)]
    dense = mine[mine["topology"] == "dense"].drop_duplicates("seed").sort_values("seed")
    reached = ", ".join(
        f"{row.float_test_accuracy_pct:.1f} (seed {row.seed})" for row in dense.itertuples()
    )
    published = PUBLISHED.get((plan.arch, plan.dataset))
    words = [
        f"{plan.arch} on {plan.dataset}",
        reached or "not measured",
        "–" if published is None else f"{published:.1f}",
        f"{plan.base_epochs:g}",
    ]
    return f"| {' | '.join(words)} |"
