"""The steps of a search, in the order in which `dse.search` names them."""

import dataclasses
from pathlib import Path

import pandas as pd
from torch import nn

from dse import _figures, _tables
from dse._closing import Closing, front_of
from dse._config import SearchConfig
from dse._evaluate import Evaluator
from dse._run import ASSIGNMENTS, Run
from dse._screening import Screening, lagrangian_sweep, screen
from dse._space import Codes, SearchSpace
from dse._study import Pending, SearchStudy
from dse._trial import Trial
from dse.samplers import AssignmentSampler, NSGA2Sampler, population_for
from energy import CostModel, cost
from luts import catalog
from luts.console import Reporter
from models import Data, ExpertWork, Routing, expert_work, load_data, measure_routing
from models.training import atomically, base_network

SCREENED_ASSIGNMENTS = 15


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What every step of a search works on.

    Attributes:
        run: the run folder.
        evaluator: scores assignments.
        space: sites and choices.
        routing: frozen activation rates that energy is charged with.
        layers: facts about the expert layers.
    """

    run: Run
    evaluator: Evaluator
    space: SearchSpace
    routing: Routing
    layers: tuple[ExpertWork, ...]

    @property
    def config(self) -> SearchConfig:
        """What the search was asked to do."""
        return self.run.config

    def energy_rel(self, trial: Pending) -> float:
        """Relative energy of a trial's assignment."""
        found = cost(self.space.sites, trial.assignment, self.routing, layers=self.layers)
        return found.energy_rel


def load(run: Run, reporter: Reporter) -> tuple[nn.Module, Data]:
    """The data and the trained float network."""
    config = run.config
    data = load_data(
        config.dataset, seed=config.seed, image_size=config.image_size, reporter=reporter
    )
    network_config = config.network(num_classes=data.num_classes)
    run.keep_network(network_config)
    network = base_network(
        network_config,
        data,
        seed=config.seed,
        epochs=config.train_epochs or None,
        reporter=reporter,
    )
    return network, data


def prepare(run: Run, network: nn.Module, data: Data, reporter: Reporter) -> Prepared:
    """Calibrate the exact int8 network, and measure and freeze its routing."""
    config = run.config
    with reporter.bar("calibrate", 2) as advance:
        evaluator = Evaluator(network, data, calibration_images=config.calibration_images)
        advance()
        found = evaluator.emulated.sites
        routing = run.routing()
        if routing is None:
            source = f"exact int8 network, {len(evaluator.inputs)} training images"
            routing = measure_routing(evaluator.emulated.network, [evaluator.inputs], source=source)
            run.keep_routing(routing)
        advance()
    return Prepared(
        run=run,
        evaluator=evaluator,
        space=SearchSpace.of(found, catalog.names(config.multipliers)),
        routing=routing,
        layers=expert_work(evaluator.emulated.network, evaluator.inputs[:1]),
    )


def open_study(prepared: Prepared) -> SearchStudy:
    """The run's study, with the sampler that the configuration names."""
    config = prepared.config
    sampler: AssignmentSampler = NSGA2Sampler(
        prepared.space, seed=config.seed, population=population_for(config.trials)
    )
    return SearchStudy(prepared.run.database, prepared.space, sampler)


def enqueue_seeds(prepared: Prepared, study: SearchStudy, reporter: Reporter) -> None:
    """Queue the fixed multipliers, then the screened assignments, in a study that has no trial."""
    if not study.is_new:
        return
    space = prepared.space
    screened = screened_assignments(prepared, reporter)
    for code in range(len(space.choices)):
        study.enqueue(space.uniform(code), "uniform")
    for codes in screened:
        study.enqueue(codes, "screening")


def screened_assignments(prepared: Prepared, reporter: Reporter) -> list[Codes]:
    """Codes of the assignments that the additive model thinks best, from high to low energy."""
    evaluator, space = prepared.evaluator, prepared.space
    screening: Screening = screen(
        evaluator.emulated, evaluator.inputs, space, seed=prepared.config.seed, reporter=reporter
    )
    model = CostModel(space.sites, space.choices, routing=prepared.routing, layers=prepared.layers)
    free = [index for index, site in enumerate(space.sites) if site.name in set(space.free)]
    found = lagrangian_sweep(
        screening.distortion, model.contributions[free], count=SCREENED_ASSIGNMENTS + 2
    )
    # Both ends of the sweep are fixed multipliers or nearly so, and those are queued anyway.
    return found[1:-1]


def search(prepared: Prepared, study: SearchStudy, reporter: Reporter) -> None:
    """Score trials until the budget is spent."""
    config = prepared.config
    done = len(study.trials())
    with reporter.bar("search", config.trials) as advance:
        advance(min(done, config.trials))
        for _ in range(done, config.trials):
            trial = evaluate_next(prepared, study)
            advance(
                status=f"energy {trial.energy_rel:.3f}  {100 * trial.validation.accuracy:.1f} %"
            )


def evaluate_next(prepared: Prepared, study: SearchStudy) -> Trial:
    """Ask for one trial, score it, and keep the result."""
    config, evaluator = prepared.config, prepared.evaluator
    pending = study.ask()
    measured = evaluator.score(pending.assignment)
    trial = Trial(
        number=pending.number,
        origin=pending.origin,
        assignment=pending.assignment,
        energy_rel=prepared.energy_rel(pending),
        validation=measured.score,
        fidelity=evaluator.fidelity,
        seconds=measured.seconds,
    )
    is_promising = config.finetune == "promising" and trial.number in front_of(
        [*study.trials(), trial]
    )
    if config.finetune == "every" or is_promising:
        tuned = evaluator.fine_tune(
            trial.assignment, epochs=config.finetune_epochs, seed=config.seed + trial.number
        )
        every = config.finetune == "every"
        trial = dataclasses.replace(
            trial,
            validation=tuned.validation if every else trial.validation,
            fidelity="fine-tuned" if every else trial.fidelity,
            tuned_validation=tuned.validation,
            note=tuned.note,
            seconds=trial.seconds + tuned.seconds,
        )
    study.tell(pending, trial)
    return trial


def write(run: Run, closing: Closing) -> None:
    """All files that a person or another program reads."""
    _write_csv(run.path / "trials.csv", _tables.trials_frame(closing))
    _write_csv(run.path / "front.csv", _tables.front_frame(closing))
    for number in closing.front:
        text = closing.trials[number].assignment.to_json()
        run.write(f"{ASSIGNMENTS}/{number:03d}.json", text)
    with atomically(run.path / "front.png") as temporary:
        _figures.draw_png(temporary, closing, run.config)
    with atomically(run.path / "front.html") as temporary:
        _figures.draw_html(temporary, closing, run.config)


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with atomically(path) as temporary:
        frame.to_csv(temporary, index=False)
