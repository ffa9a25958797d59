"""One network under every circuit of a set, one circuit everywhere."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from dse import Evaluator, provenance
from dse.problem import Operands, non_dominated, ordered_choices
from energy import cost
from luts import catalog, circuits
from luts.console import Reporter
from luts.settings import check_settings, setting
from models import TOPOLOGIES, Assignment, Choice, evaluate
from models.training import state_digest
from studies._images import Images
from studies._networks import NamedNetwork, check_template, workload_of
from studies._options import study_settings

HERE = Path(__file__).parent

ALL_IMAGES = 10**9
"""More than any validation split has."""

MOST_DROP = 0.08
"""What lacks more than eight points on the first images is not tested: five are asked about."""

NARROW, CUT = "narrow", "cut"
"""Kinds of arrays: exact products of operands with fewer bits, and those cut inside as well."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweptNetwork:
    """A float network in several topologies, and where searches of it are kept."""

    arch: Annotated[str, setting("architecture")]
    images: Annotated[str, setting("what it classifies; cifar10-images for those of --images")]
    topologies: Annotated[tuple[str, ...], setting("of the network", choices=TOPOLOGIES)]
    weights: Annotated[str, setting("file, with {topology} and {seed}")]
    searched: Annotated[
        Mapping[str, str], setting("presets of searched_vs_fixed by the catalogue searched")
    ]

    def __post_init__(self) -> None:
        check_settings(self)
        check_template(self.weights)


@dataclasses.dataclass(frozen=True)
class SweepCell:
    """One float network.

    Attributes:
        data: name of the network in the configuration.
        topology: of the network.
        seed: of the split and of the weights.
    """

    data: str
    topology: str
    seed: int

    @property
    def network(self) -> str:
        """The float network."""
        return f"{self.data}-{self.topology}-{self.seed}"

    @property
    def name(self) -> str:
        """As a file's name without its ending."""
        return self.network


@dataclasses.dataclass(frozen=True)
class CodesignStudy:
    """The configuration file."""

    multipliers: Annotated[str, setting("a set of the catalogue")]
    operands: Annotated[Operands, setting("what ports that ignore low bits get")]
    calibration_images: Annotated[int, setting("training images for ranges and recovery", ge=16)]
    first_images: Annotated[int, setting("validation images that all are scored on", ge=1)]
    seeds: Annotated[tuple[int, ...], setting("of split and weights", ge=0)]
    networks: Annotated[Mapping[str, SweptNetwork], setting("by name")]

    def __post_init__(self) -> None:
        check_settings(self)
        catalog.names(self.multipliers)

    @classmethod
    def read(cls) -> "CodesignStudy":
        """The committed one."""
        return study_settings(cls, "circuit_codesign")

    def cells(self) -> Iterator[SweepCell]:
        """Those whose weights are there, seed by seed."""
        for seed, (name, network) in itertools.product(self.seeds, self.networks.items()):
            for topology in network.topologies:
                cell = SweepCell(name, topology, seed)
                if (HERE / self.weights_name(cell)).exists():
                    yield cell

    def weights_name(self, cell: SweepCell) -> str:
        """File of a cell's float network, relative to the study's folder."""
        template = self.networks[cell.data].weights
        return template.format(topology=cell.topology, seed=cell.seed)

    def choices(self) -> tuple[Choice, ...]:
        """Every circuit in each operand order, but where its mirror image is in the set too."""
        cuts = {
            c: circuits.cuts_of_table(catalog[c].sha256) for c in catalog.names(self.multipliers)
        }
        known = {(c.break_a, c.break_b, c.break_diagonal) for c in cuts.values() if c is not None}

        def is_there_mirrored(choice: Choice) -> bool:
            own = cuts[choice.multiplier]
            return own is not None and (own.break_b, own.break_a, own.break_diagonal) in known

        return tuple(
            choice
            for choice in ordered_choices(tuple(cuts), operands=self.operands)
            if not (choice.swapped and is_there_mirrored(choice))
        )


def kind_of(multiplier: str) -> str:
    """`NARROW` or `CUT` of an array circuit, or empty for another."""
    cuts = circuits.cuts_of_table(catalog[multiplier].sha256)
    if cuts is None:
        return ""
    return CUT if cuts.cuts_inside else NARROW


def is_published(multiplier: str) -> bool:
    """Whether the figures of a circuit are published ones."""
    return catalog[multiplier].figures_from == "published"


def sweep(
    study: CodesignStudy, cell: SweepCell, images: Images, reporter: Reporter
) -> dict[str, Any]:
    """Score every circuit everywhere, and what no other of its kind beats in full.

    Returns:
        Plain values: ``circuits``, a list with a table per choice: its energy, scores on the first
        validation images, and of those that were scored in full on all of them and on the test
        images.

    Raises:
        InputError: images or weights are not there, or are of another network.
    """
    swept = study.networks[cell.data]
    named = NamedNetwork(
        arch=swept.arch,
        topology=cell.topology,
        images=swept.images,
        weights=study.weights_name(cell),
    )
    network, data = named.load(
        images, folder=HERE, seed=cell.seed, validation_images=ALL_IMAGES, reporter=reporter
    )
    evaluator = Evaluator(
        network, data, calibration_images=study.calibration_images, images=study.first_images
    )
    workload = workload_of(evaluator)
    rows: list[dict[str, Any]] = []
    for choice in reporter.track(study.choices(), cell.name):
        assignment = _everywhere(evaluator, choice)
        score = evaluator.score(assignment).validation
        rows.append(
            {
                "multiplier": choice.multiplier,
                "swapped": choice.swapped,
                "rounded": choice.rounded,
                "kind": kind_of(choice.multiplier),
                "energy_rel": cost(workload, assignment).energy_rel,
                "first": score.to_dict(),
            }
        )
    exact = evaluator.exact_searched.accuracy
    useful = [row for row in rows if row["first"]["accuracy"] >= exact - MOST_DROP]
    for row in reporter.track(_worth_testing(useful), f"{cell.name}: test"):
        choice = Choice(row["multiplier"], row["swapped"], row["rounded"])
        with evaluator.under(_everywhere(evaluator, choice)) as emulated:
            row["validation"] = evaluate(emulated, data.validation).to_dict()
            row["test"] = evaluator.test(emulated).to_dict()
    return {
        "network": cell.network,
        "data": cell.data,
        "topology": cell.topology,
        "seed": cell.seed,
        "weights_sha256": state_digest(network.state_dict()),
        "recovery": evaluator.recovery.to_dict(),
        "exact_validation": evaluator.exact_validation.to_dict(),
        "exact_test": evaluator.test_exact().to_dict(),
        "circuits": rows,
        "making": provenance(),
    }


def _everywhere(evaluator: Evaluator, choice: Choice) -> Assignment:
    return Assignment.uniform(
        evaluator.emulated.sites,
        choice.multiplier,
        swapped=choice.swapped,
        rounded=choice.rounded,
    )


def _worth_testing(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the published, the narrow and the cut ones, those that none of them beats."""
    kept: dict[int, dict[str, Any]] = {}
    for part in (
        [row for row in rows if is_published(row["multiplier"])],
        [row for row in rows if row["kind"] == NARROW],
        [row for row in rows if row["kind"] == CUT],
    ):
        if not part:
            continue
        points = np.array([[r["energy_rel"], r["first"]["cross_entropy"]] for r in part])
        kept |= {id(part[index]): part[index] for index in non_dominated(points)}
    return list(kept.values())
