"""The paper's six claims, checked against our table.

The paper's abstract says neither what *alike*, *fully*, *moderate*, *aggressive* nor *fails* is in
numbers. The constants here are our reading of these words.
"""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd

from luts import catalog
from models import TOPOLOGIES
from studies.fixed_multiplier._plan import AGGRESSIVE_POWER
from studies.fixed_multiplier._verdicts import MISSING, all_of, deciding, estimate, largest

ALIKE_POINTS = 2.0
"""Topologies degrade alike if the drops of any two differ by at most this much everywhere."""

FULL_POINTS = 1.0
"""Recovery is full if at most this much is lost to the exact multiplier, retrained alike."""

FAIL_POINTS = 5.0
"""Recovery fails if more than this much is lost for good."""

COLUMNS = (
    "drop_points",
    "drop_share_pct",
    "drop_error_points",
    "test_accuracy_pct",
    "accuracy_error_points",
    "energy_rel",
    "power_rel",
)
"""Of the table of cells, as `Grid` holds them."""


VGGS = ("vgg11_bn", "vgg19_bn")
CNNS = ("resnet20", *VGGS)
VIT = ("vit_small",)


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim and what became of it.

    Attributes:
        statement: what the paper says, in our words.
        verdict: one of those in `_verdicts`.
        figure: ours, with its spread over seeds.
        basis: networks, data sets and seeds that it rests on; what is lacking, where it does.
    """

    statement: str
    verdict: str
    figure: str
    basis: str


@dataclasses.dataclass(frozen=True)
class Grid:
    """Complete cells of one network at one recovery.

    Attributes:
        arch: architecture.
        dataset: what it classifies.
        drop: percentage points lost to the exact multiplier, ``[topology, multiplier, seed]``.
        share: the same in percent of what the exact multiplier has above chance, same shape.
        drop_error: standard error of the drop from the sample of test images, same shape.
        accuracy: test accuracy in percent, same shape.
        accuracy_error: standard error of the accuracy from the test images, same shape.
        energy: relative energy, same shape.
        power: relative power of each multiplier, falling.
        seeds: of which all cells are there.
        topologies: along the first axis.
    """

    arch: str
    dataset: str
    drop: np.ndarray
    share: np.ndarray
    drop_error: np.ndarray
    accuracy: np.ndarray
    accuracy_error: np.ndarray
    energy: np.ndarray
    power: np.ndarray
    seeds: tuple[int, ...]
    topologies: tuple[str, ...] = TOPOLOGIES

    @property
    def names(self) -> list[str]:
        """Short names of the multipliers."""
        return [name.removeprefix("mul8s_") for name in catalog.names("paper")]

    def names_of(self, circuits: np.ndarray) -> list[str]:
        """Short names of some of them, as `aggressive` and the like say which."""
        return [name for name, is_one in zip(self.names, circuits, strict=True) if is_one]

    def of(self, topology: str) -> int:
        """Index of a topology."""
        return self.topologies.index(topology)

    @property
    def basis(self) -> str:
        """Network, data set and how many seeds."""
        count = len(self.seeds)
        seeds = f"{count} seeds" if count > 1 else "1 seed, ± is the test images' sampling error"
        return f"{self.arch} on {self.dataset}, {seeds}"

    @property
    def inexact(self) -> np.ndarray:
        """Which multipliers err."""
        return self.power < 1

    @property
    def aggressive(self) -> np.ndarray:
        """Which multipliers are aggressive."""
        return np.asarray(np.less(self.power, AGGRESSIVE_POWER))

    @property
    def moderate(self) -> np.ndarray:
        """Which multipliers err and are not aggressive."""
        return np.asarray(self.inexact & ~self.aggressive)


Finding = tuple[str, str]
"""What one network says to a claim: a verdict and a figure."""

Test = Callable[[Grid], Finding]


def judge(rows: pd.DataFrame) -> list[Claim]:
    """All six claims, each on every network that it speaks of and that is measured completely.

    Args:
        rows: as `_tables.matrix` makes them, of one operand order.
    """
    return [_judged(rows, statement, *of_what) for statement, of_what in _CLAIMS.items()]


def _judged(
    rows: pd.DataFrame, statement: str, archs: tuple[str, ...], recovery: str, test: Test
) -> Claim:
    topologies = ("dense", "hard") if test is _hard_beats_dense else TOPOLOGIES
    by_arch = {arch: complete_grid(rows, arch, recovery, topologies) for arch in archs}
    grids = [grid for grid in by_arch.values() if grid is not None]
    lacking = ", ".join(arch for arch, grid in by_arch.items() if grid is None)
    if not grids:
        return Claim(statement, MISSING, "–", f"cells are missing: {lacking}")
    verdicts, figures = zip(*map(test, grids), strict=True)
    told = [f"{grid.arch}: {figure}" for grid, figure in zip(grids, figures, strict=True)]
    bases = [grid.basis for grid in grids]
    if lacking:
        bases.append(f"not measured: {lacking}")
    return Claim(statement, all_of(verdicts), "; ".join(told), "; ".join(bases))


def complete_grid(
    rows: pd.DataFrame, arch: str, recovery: str, topologies: tuple[str, ...] = TOPOLOGIES
) -> Grid | None:
    """The cells of an architecture if all topologies × eight multipliers are there for a seed.

    Of several data sets the first that is complete and not the digits, else the digits.
    """
    if rows.empty:
        return None
    part = rows[(rows["arch"] == arch) & (rows["recovery"] == recovery)]
    names = catalog.names("paper")
    for dataset in sorted(part["dataset"].unique(), key=lambda name: (name == "digits", name)):
        cells = part[part["dataset"] == dataset].set_index(["topology", "multiplier", "seed"])
        wanted = pd.MultiIndex.from_product([topologies, names])
        drop = cells["drop_points"].unstack("seed").reindex(wanted).dropna(axis=1)
        if drop.empty:
            continue
        shape = (len(topologies), len(names), len(drop.columns))
        lost, share, lost_error, accuracy, accuracy_error, energy, power = (
            by_seed.reindex(wanted)[drop.columns].to_numpy(np.float64).reshape(shape)
            for by_seed in (cells[column].unstack("seed") for column in COLUMNS)
        )
        seeds = tuple(int(seed) for seed in drop.columns)
        return Grid(
            arch=arch,
            dataset=dataset,
            drop=lost,
            share=share,
            drop_error=lost_error,
            accuracy=accuracy,
            accuracy_error=accuracy_error,
            energy=energy,
            power=power[0, :, 0],
            seeds=seeds,
            topologies=topologies,
        )
    return None


def _dense_is_most_resilient(grid: Grid) -> Finding:
    """Mean drop over the seven circuits that err: dense's against every other topology's."""
    mean, share, error = (  # [topology, seed]
        # Errors of circuits on the same images add up at worst.
        values[:, grid.inexact].mean(axis=1)
        for values in (grid.drop, grid.share, grid.drop_error)
    )
    dense = grid.of("dense")
    others = [at for at in range(len(grid.topologies)) if at != dense]
    more = [estimate(mean[at] - mean[dense], np.hypot(error[at], error[dense])) for at in others]
    beyond = ", ".join(
        f"{grid.topologies[at]} {its.text('+')} ({(share[at] - share[dense]).mean():+.1f} %)"
        for at, its in zip(others, more, strict=True)
    )
    lost = estimate(mean[dense], error[dense]).text()
    return (
        all_of(its.above(0) for its in more),
        f"dense loses {lost} points ({share[dense].mean():.1f} %) on average, beyond that {beyond}",
    )


def _all_degrade_alike(grid: Grid) -> Finding:
    """Differences of every two topologies' drops at every circuit, each with its own interval.

    Both signs are tried. A largest difference per seed would hide no sign either, but it grows with
    the noise of the 42 from which it is taken, and would tell apart what only scatters.
    """
    pairs = list(itertools.permutations(range(len(grid.topologies)), 2))
    differences, shares = (
        np.stack([values[one] - values[other] for one, other in pairs])
        for values in (grid.drop, grid.share)
    )
    errors = np.stack(
        [np.hypot(grid.drop_error[one], grid.drop_error[other]) for one, other in pairs]
    )

    def name(pair: int, at: int) -> str:
        one, other = (grid.topologies[index] for index in pairs[pair])
        return f"{one} less {other} at {grid.names[at]}"

    verdict, text = _all_at_most(differences, shares, errors, ALIKE_POINTS, name)
    return verdict, f"points between drops of two topologies: {text}"


def _recovers_fully(grid: Grid) -> Finding:
    verdict, text = _stays_lost(grid, grid.topologies, grid.inexact, FULL_POINTS)
    return verdict, f"points that stay lost: {text}"


def _recovers_where_moderate(grid: Grid) -> Finding:
    """Every topology: full recovery at every moderate circuit, failure at every aggressive one."""
    recovers, moderate = _stays_lost(grid, grid.topologies, grid.moderate, FULL_POINTS)
    claimed = tuple(t for t in grid.topologies if (grid.arch, t) != ("vgg11_bn", "cluster"))
    fails, aggressive = _each_fails(grid, claimed)
    return (
        all_of([recovers, fails]),
        f"points that stay lost, moderate: {moderate}; aggressive: {aggressive}",
    )


def _cluster_is_the_exception(grid: Grid) -> Finding:
    """Cluster fails at no aggressive circuit, each of the others at every one."""
    recovers, cluster = _stays_lost(grid, ("cluster",), grid.aggressive, FAIL_POINTS)
    fails, others = _each_fails(grid, tuple(t for t in grid.topologies if t != "cluster"))
    return all_of([recovers, fails]), f"points that stay lost: {cluster}; others: {others}"


def _each_fails(grid: Grid, topologies: tuple[str, ...]) -> tuple[str, str]:
    """Whether each loses too much at every aggressive circuit, and how much."""
    names, told, verdicts = grid.names_of(grid.aggressive), [], []
    for topology in topologies:
        drop, share, error = (
            values[grid.of(topology), grid.aggressive]
            for values in (grid.drop, grid.share, grid.drop_error)
        )
        lost = [estimate(*there) for there in zip(drop, error, strict=True)]
        verdicts += [its.above(FAIL_POINTS) for its in lost]
        texts = [
            f"{its.text()} ({there.mean():.1f} %)" for its, there in zip(lost, share, strict=True)
        ]
        told.append(f"{topology} {_listed(names, texts)}")
    return all_of(verdicts), "; ".join(told)


def _stays_lost(
    grid: Grid, topologies: tuple[str, ...], circuits: np.ndarray, limit: float
) -> tuple[str, str]:
    """Whether the drops of some are all at most ``limit``, and the largest."""
    chosen = [grid.of(topology) for topology in topologies]
    drop, share, error = (
        values[chosen][:, circuits] for values in (grid.drop, grid.share, grid.drop_error)
    )
    names = grid.names_of(circuits)
    return _all_at_most(
        drop, share, error, limit, lambda row, column: f"{topologies[row]} at {names[column]}"
    )


def _all_at_most(
    values: np.ndarray,
    shares: np.ndarray,
    errors: np.ndarray,
    limit: float,
    name: Callable[[int, int], str],
) -> tuple[str, str]:
    """Whether all are, and the largest mean, and what decides where that is another point."""
    top, most = largest(values, errors)
    point, its = deciding(values, errors, limit)
    text = f"up to {most.text()} ({name(*top)}, {shares[top].mean():.1f} %)"
    if point != top:
        text += f", decided by {its.text()} ({name(*point)})"
    return its.at_most(limit), text


def _listed(names: list[str], values: list[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _hard_beats_dense(grid: Grid) -> Finding:
    """Accuracy of hard less that of dense at hard's energy; aggressive circuits."""
    dense, hard = grid.of("dense"), grid.of("hard")
    by_seed = [_at_equal_energy(grid, hard, dense, seed) for seed in range(len(grid.seeds))]
    differences = np.array(by_seed).T[grid.aggressive]  # [multiplier, seed]
    errors = np.hypot(grid.accuracy_error[hard], grid.accuracy_error[dense])[grid.aggressive]
    pairs = zip(differences, errors, strict=True)
    each = _listed(grid.names_of(grid.aggressive), [estimate(*there).text("+") for there in pairs])
    mean = estimate(differences.mean(axis=0), errors.mean(axis=0))
    return mean.above(0), f"hard less dense: {mean.text('+')} points ({each})"


def _at_equal_energy(grid: Grid, one: int, other: int, seed: int) -> np.ndarray:
    """Accuracy of ``one`` less what ``other`` reaches for the same energy; all circuits.

    The other may spend less than it is allowed, so it has the best of its cheaper circuits, and
    between two of them a straight line, not a step: topologies differ a little in energy at the
    same circuit, and a step would then compare different circuits. Below its cheapest circuit it
    has that one's accuracy. All of this favours the other.
    """
    order = np.argsort(grid.energy[other, :, seed], kind="stable")
    interpolated = np.interp(
        grid.energy[one, :, seed],
        grid.energy[other, order, seed],
        np.maximum.accumulate(grid.accuracy[other, order, seed]),
    )
    return np.asarray(grid.accuracy[one, :, seed] - interpolated)


_CLAIMS: dict[str, tuple[tuple[str, ...], str, Test]] = {
    "Without retraining, the dense network is the most resilient on CNNs.": (
        (CNNS, "none", _dense_is_most_resilient)
    ),
    "Without retraining, all topologies of ViT-Small degrade alike.": (
        (VIT, "none", _all_degrade_alike)
    ),
    "With retraining, ResNet-20 recovers fully, in all topologies and over the whole range.": (
        (CNNS[:1], "retrained", _recovers_fully)
    ),
    "With retraining, the VGGs recover at moderate multipliers and fail at aggressive ones.": (
        (VGGS, "retrained", _recovers_where_moderate)
    ),
    "The exception: cluster on VGG11_bn, which does not fail.": (
        (VGGS[:1], "retrained", _cluster_is_the_exception)
    ),
    "With retraining, hard beats dense on ViT-Small under aggressive multipliers at equal cost.": (
        (VIT, "retrained", _hard_beats_dense)
    ),
}
"""The paper's claims in our words: networks, recovery and test of each."""
