"""Names in a run's folder: its files, and the columns of its tables.

`dse.search` writes them; energy reports, comparisons of runs and studies read them.
"""

IN_MEMORY = "memory:"
"""Begins the architecture's name in `CONFIG` where the network was in memory only."""
CONFIG = "config.toml"
"""What was searched, on which network, and how the run was made."""
DATABASE = "study.db"
"""The whole study, unless it is in a database server."""
LOG = "log.txt"
"""What was done when, at least every 30 seconds."""
TRIALS = "trials.csv"
"""One row per trial."""
FRONT = "front.csv"
"""The rows of `TRIALS` that no other trial dominates, by rising energy."""
FRONT_PICTURE = "front.png"
FRONT_PAGE = "front.html"
ROUTING = "routing.json"
"""Activation rates that all trials are charged with."""
PER_INPUT = "routing_inputs.json"
"""Activation rates of single inputs."""
OPERANDS = "operands.npz"
"""Codes that follow one another at the sites, which the energy model ``activity`` is charged by."""
MULTIPLIERS = "multipliers"
"""Folder of the searched multipliers that are not in the catalogue; each file is one."""
ASSIGNMENTS = "assignments"
"""Folder of the assignments on the front or tested; each file is a `member_file`."""
OWN_ROUTING = "routing"
"""Folder of their own activation rates; each file is a `member_file`."""


def member_file(number: int) -> str:
    """File of such a trial, in `ASSIGNMENTS` and in `OWN_ROUTING`.

    Args:
        number: of the trial.
    """
    return f"{number:03d}.json"


TRIAL = "trial"
"""Number of the trial; the first column."""
ORIGIN = "origin"
"""Where the assignment came from: ``uniform`` for a fixed multiplier."""
ENERGY = "energy_rel"
"""Relative to the dense network with the exact multiplier."""
OWN_ENERGY = "energy_rel_own_routing"
"""`ENERGY` under the trial's own activation rates; no column in a network without experts."""
VALIDATION = "validation"
"""The score that the search saw; its columns are `accuracy_of` and `cross_entropy_of` it."""
WHOLE_VALIDATION = "whole_validation"
"""On all validation images, where the search took a part of them."""
TUNED_VALIDATION = "tuned_validation"
"""After fine-tuning."""
TEST = "test"
"""On test images."""
FIDELITY = "fidelity"
"""How the trial was scored."""
ON_FRONT = "on_front"
"""Whether no other trial dominates it."""
REPORTED = "reported"
"""Whether it was tested as a member of the final front."""
MULTIPLIERS = "multipliers"
"""How many sites each multiplier has."""
BEST_OF = "best_of"
"""What a fixed multiplier is the cheapest of within one point of the exact network, by commas:
``fixed`` (published or given figures), ``array``, ``plain narrow``; nothing for others."""
SECONDS = "seconds"
"""Time that the trial took."""
COVERAGE = "coverage"
"""Part of the multiply-accumulates that sites do; a column of `FRONT`, a table of `CONFIG`."""
DIGEST = "assignment_sha256"
"""Digest of the assignment."""


def accuracy_of(score: str) -> str:
    """Column of a score's accuracy, in percent."""
    return f"{score}_accuracy_pct"


def cross_entropy_of(score: str) -> str:
    """Column of a score's cross-entropy, in nats."""
    return f"{score}_cross_entropy"


def metric_of(score: str, name: str) -> str:
    """Column of a score by the user's own metric of this name, in the metric's unit.

    It stands in the place of `accuracy_of`, with `loss_of` in that of `cross_entropy_of`.
    """
    return f"{score}_{name}"


def loss_of(score: str) -> str:
    """Column of the loss of the user's own metric."""
    return f"{score}_loss"


VALIDATION_ACCURACY = accuracy_of(VALIDATION)
WHOLE_ACCURACY = accuracy_of(WHOLE_VALIDATION)
TUNED_ACCURACY = accuracy_of(TUNED_VALIDATION)
TEST_ACCURACY = accuracy_of(TEST)
VALIDATION_CROSS_ENTROPY = cross_entropy_of(VALIDATION)
