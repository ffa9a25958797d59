"""One search on one network with one sampler, every evaluation noted."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

import dse
from dse.problem import Tie
from dse.samplers import NAMES as SAMPLERS
from energy import CostModel
from luts import catalog
from luts.console import SILENT, Reporter
from luts.settings import check_settings, setting
from models import Assignment, evaluate
from models.training import state_digest
from studies._images import Images
from studies._networks import NamedNetwork, workload_of
from studies._options import check_known, study_settings

HERE = Path(__file__).parent
OPERANDS = dse.SearchConfig.operands
"""Searches are compared over what `dse.search` offers by default."""

Estimator = Callable[[dse.Evaluator, dse.SearchSpace, int, Reporter], npt.NDArray[np.float64]]
"""Of the harm of each choice at each site."""


@dataclasses.dataclass(frozen=True)
class SearchCell:
    """One search.

    Attributes:
        network: name in the configuration.
        sampler: who proposes.
        tie: which sites share a choice.
        seed: of the search.
        budget: evaluations beyond the fixed multipliers.
    """

    network: str
    sampler: str
    tie: Tie
    seed: int
    budget: int

    @property
    def name(self) -> str:
        """As a file's name without its ending."""
        sampler = self.sampler.replace(":", "-")
        return f"{self.network}-{sampler}-tie-{self.tie}-{self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredNetwork(NamedNetwork):
    """A float network of the study."""

    validation_images: Annotated[int, setting("that candidates are scored on", ge=1)]


@dataclasses.dataclass(frozen=True)
class TiedSearch:
    """Searches by one sampler in which sites share a choice."""

    tie: Annotated[Tie, setting("which sites share a choice")]
    budget: Annotated[int, setting("evaluations beyond the fixed multipliers", ge=1)]
    networks: Annotated[tuple[str, ...], setting("only these; all if empty")] = ()


@dataclasses.dataclass(frozen=True)
class EfficiencyStudy:
    """The configuration file."""

    seeds: Annotated[tuple[int, ...], setting("of the two searches that are compared", ge=0)]
    other_seeds: Annotated[tuple[int, ...], setting("of all other searches", ge=0)]
    other_networks: Annotated[tuple[str, ...], setting("of the other samplers")]
    data_seed: Annotated[int, setting("of the split and of the weights", ge=0)]
    calibration_images: Annotated[int, setting("training images for ranges and routing", ge=1)]
    multipliers: Annotated[str, setting("a set of the catalogue")]
    networks: Annotated[Mapping[str, ScoredNetwork], setting("by name")]
    unscreened: Annotated[tuple[str, ...], setting("samplers that start from nothing screened")]
    budgets: Annotated[Mapping[str, int], setting("evaluations of every sampler")]
    tied: Annotated[Mapping[str, TiedSearch], setting("by sampler")]

    def __post_init__(self) -> None:
        check_settings(self)
        catalog.names(self.multipliers)
        check_known("sampler", [*self.unscreened, *self.budgets, *self.tied], SAMPLERS)
        for names in (self.other_networks, *(tied.networks for tied in self.tied.values())):
            check_known("network", names, self.networks)

    @classmethod
    def read(cls) -> "EfficiencyStudy":
        """The committed one."""
        return study_settings(cls, "search_efficiency")

    def is_screened(self, cell: SearchCell) -> bool:
        """Whether a search starts from the screened assignments too."""
        return cell.sampler not in self.unscreened

    def cells(self) -> Iterator[SearchCell]:
        """Every cell; what answers the main question first."""
        main, others = list(self.budgets)[:2], list(self.budgets)[2:]
        for sampler, network, seed in itertools.product(main, self.networks, self.seeds):
            yield SearchCell(network, sampler, "none", seed, self.budgets[sampler])
        for seed in self.other_seeds:
            for sampler, tied in self.tied.items():
                for network in tied.networks or self.networks:
                    yield SearchCell(network, sampler, tied.tie, seed, tied.budget)
            for sampler, network in itertools.product(others, self.other_networks):
                yield SearchCell(network, sampler, "none", seed, self.budgets[sampler])


@dataclasses.dataclass(frozen=True, eq=False)
class SearchedNetwork:
    """A trained network, ready to be scored, and how its energy is counted.

    Attributes:
        evaluator: scores assignments.
        model: of the energy.
        classes: that it tells apart.
        seconds: processor time of one evaluation.
        weights_sha256: digest of the float network.
    """

    evaluator: dse.Evaluator
    model: CostModel
    classes: int
    seconds: float
    weights_sha256: str

    @classmethod
    def load(
        cls, study: EfficiencyStudy, name: str, images: Images, reporter: Reporter
    ) -> "SearchedNetwork":
        """Load a network of the configuration, calibrate it, measure its routing."""
        named = study.networks[name]
        network, data = named.load(
            images,
            folder=HERE,
            seed=study.data_seed,
            validation_images=named.validation_images,
            reporter=reporter,
        )
        sha256 = state_digest(network.state_dict())
        calibration = study.calibration_images
        evaluator = dse.Evaluator(network, data, calibration_images=calibration, cached=True)
        names = catalog.names(study.multipliers)
        every = dse.SearchSpace.of(evaluator.emulated.sites, names, operands=OPERANDS)
        model = CostModel(workload_of(evaluator), every.every_choice)
        return cls(evaluator, model, data.num_classes, _evaluation_seconds(evaluator), sha256)

    def problem(self, multipliers: str, tie: Tie) -> dse.Problem:
        """What a cell searches."""
        names = catalog.names(multipliers)
        space = dse.SearchSpace.of(self.model.sites, names, tie=tie, operands=OPERANDS)
        return dse.Problem.of(space, self.model)


def _evaluation_seconds(evaluator: dse.Evaluator) -> float:
    """Processor time: what else the machine does must not count."""
    taken = []
    for name in ("mul8s_1L2H", "mul8s_1L1G", "mul8s_1L2D"):
        assignment = Assignment.uniform(evaluator.emulated.sites, name)
        started = time.process_time()
        with evaluator.under(assignment) as recovered:
            evaluate(recovered, evaluator.data.validation)
        taken.append(time.process_time() - started)
    return float(np.median(taken))


def screened(
    evaluator: dse.Evaluator, space: dse.SearchSpace, seed: int, reporter: Reporter
) -> npt.NDArray[np.float64]:
    """What `dse.search` starts from: shape ``(free sites, choices)``."""
    return evaluator.screen(space, seed=seed, reporter=reporter).distortion


def run_cell(
    network: SearchedNetwork,
    cell: SearchCell,
    multipliers: str,
    database: Path,
    reporter: Reporter,
    *,
    estimate: Estimator | None = screened,
) -> dict[str, Any]:
    """Search until the budget is spent, or go on where an interrupted run stopped.

    Seconds are processor time; those of a cell that was interrupted miss what came before.

    Args:
        network: with its scorer.
        cell: what to run.
        multipliers: set of circuits.
        database: the study while it is running.
        reporter: shows the progress.
        estimate: whose sweep the search starts from, beside the fixed multipliers; None for none.

    Returns:
        Every evaluation with its energy, score and seconds, as plain values.
    """
    problem, screening_seconds = network.problem(multipliers, cell.tie), 0.0
    if estimate is not None:
        started = time.process_time()
        distortion = estimate(network.evaluator, problem.space, cell.seed, SILENT)
        screening_seconds = time.process_time() - started
        pooled = problem.space.pool(distortion)
        problem = dataclasses.replace(problem, distortion=pooled)
    study = dse.SearchStudy(database, problem, about=dataclasses.asdict(cell))
    fixed = [(problem.space.uniform(code), "uniform") for code in range(problem.choices)]
    if study.needs_seeds:
        swept = [] if estimate is None else dse.first_trials(problem)[len(fixed) :]
        study.seed(fixed + swept)
    study.use(
        dse.sampler_for(cell.sampler, problem, seed=cell.seed, budget=len(fixed) + cell.budget)
    )
    worker = dse.ThisProcess(lambda pending: network.evaluator.score(pending.assignment))
    total = len(fixed) + cell.budget
    with reporter.bar(cell.name, total) as advance:
        asking = dse.run_trials(study, worker, total, advance)
    trials = study.trials()
    study.close()
    exact = network.evaluator.exact_searched
    return {
        **dataclasses.asdict(cell),
        "weights_sha256": network.weights_sha256,
        "reference": [1.0 + 1e-9, math.log(network.classes)],
        "fixed": len(fixed),
        "screening_seconds": screening_seconds,
        "asking_seconds": asking,
        "evaluation_seconds": network.seconds,
        "energy_rel": [trial.energy_rel for trial in trials],
        "cross_entropy": [trial.validation.cross_entropy for trial in trials],
        "accuracy": [trial.validation.accuracy for trial in trials],
        "images": network.evaluator.images,
        "exact": exact.to_dict(),
        "origins": [trial.origin for trial in trials],
    }
