"""The steps of a search, in the order in which `dse.search` names them."""

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from dse import _figures, _tables
from dse._closing import Closing
from dse._config import SearchConfig
from dse._crew import Alone, Crew, Job, Outcome, Pool, score
from dse._evaluate import Evaluator
from dse._lagrange import constrained_sweep
from dse._plan import about, problem_of
from dse._problem import Problem
from dse._run import ASSIGNMENTS, Run
from dse._screening import screen
from dse._space import Codes
from dse._stored import CONTENT
from dse._study import Pending, SearchStudy
from dse._trial import Trial
from dse.samplers import SpaceExhausted, sampler_for
from energy import run_files
from luts.console import SILENT, Reporter
from models import Data, expert_work, load_data, measure_routing, measure_routing_per_input
from models.training import atomically, base_network, default_recipe

SCREENED_ASSIGNMENTS = 15
WAIT_SECONDS = 1.0
SINGLE_INPUTS = 64
"""Images whose routing is kept one by one, for the spread of the cost over inputs."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What every step of a search works on.

    Attributes:
        run: the run folder.
        evaluator: scores assignments.
        problem: what is searched, not screened yet.
    """

    run: Run
    evaluator: Evaluator
    problem: Problem

    @property
    def config(self) -> SearchConfig:
        """What the search was asked to do."""
        return self.run.config


def load(run: Run, reporter: Reporter) -> tuple[nn.Module, Data]:
    """The data and the trained float network."""
    config = run.config
    data = load_data(
        config.dataset,
        seed=config.seed,
        image_size=config.image_size,
        root=Path(config.data_root) if config.data_root else None,
        reporter=reporter,
    )
    network_config = config.network(num_classes=data.num_classes)
    run.keep_network(network_config)
    recipe = default_recipe(config.arch, data.name)
    if config.train_epochs:
        recipe = dataclasses.replace(recipe, epochs=config.train_epochs)
    network = base_network(
        network_config,
        data,
        seed=config.seed,
        recipe=recipe,
        start=config.start,
        reporter=reporter,
    )
    return network, data


def prepare(run: Run, network: nn.Module, data: Data, reporter: Reporter) -> Prepared:
    """Calibrate the exact int8 network, and measure and freeze its routing."""
    config = run.config
    with reporter.bar("calibrate", 2) as advance:
        evaluator = _evaluator(config, network, data)
        advance()
        found = evaluator.emulated.sites
        routing = run.routing()
        if routing is None:
            source = f"exact int8 network, {len(evaluator.inputs)} training images"
            routing = measure_routing(evaluator.emulated.network, [evaluator.inputs], source=source)
            run.keep_routing(routing)
        layers = expert_work(evaluator.emulated.network, evaluator.inputs[:1])
        if layers and not run.has_routing_inputs:
            single = evaluator.inputs[:SINGLE_INPUTS]
            source = "exact int8 network, single training images"
            run.keep_routing_inputs(
                measure_routing_per_input(evaluator.emulated.network, single, source=source)
            )
        advance()
    problem = problem_of(config, found, routing, layers)
    if config.max_drop is not None:
        least = evaluator.exact_searched.accuracy - config.max_drop / 100
        problem = dataclasses.replace(problem, min_accuracy=least)
    return Prepared(run, evaluator, problem)


def _evaluator(config: SearchConfig, network: nn.Module, data: Data) -> Evaluator:
    return Evaluator(
        network,
        data,
        calibration_images=config.calibration_images,
        images=config.scored_images,
        cached=True,
    )


def open_study(prepared: Prepared) -> SearchStudy:
    """The run's study, or the shared one that the configuration names."""
    config = prepared.config
    exact = prepared.evaluator.exact_validation
    content = prepared.evaluator.data.content_sha256
    mine = about(config) | {
        **({} if content is None else {CONTENT: content}),
        "exact validation cross-entropy": round(exact.cross_entropy, 4),
        "images a score": prepared.evaluator.images,
    }
    if config.storage:
        return SearchStudy(config.storage, prepared.problem, name=config.study, about=mine)
    return SearchStudy(prepared.run.database, prepared.problem, about=mine)


def seed_study(prepared: Prepared, study: SearchStudy, reporter: Reporter) -> Problem:
    """Queue the first trials of a new study: fixed multipliers, then screened assignments.

    Returns:
        The problem with what screening predicts.
    """
    config, problem = prepared.config, prepared.problem
    if study.needs_seeds:
        evaluator, space = prepared.evaluator, problem.space
        screening = screen(
            evaluator.emulated, evaluator.inputs, space, seed=config.seed, reporter=reporter
        )
        problem = dataclasses.replace(problem, distortion=space.pool(screening.distortion))
        study.keep_screening(problem.distortion.tolist() if problem.distortion is not None else [])
        study.seed(first_trials(problem))
    else:
        problem = dataclasses.replace(problem, distortion=np.array(study.screening()))
    study.use(sampler_for(config.sampler, problem, seed=config.seed, budget=config.trials))
    return problem


def first_trials(problem: Problem) -> list[tuple[Codes, str]]:
    """Fixed multipliers that meet the constraints, then what the additive model thinks best."""
    space = problem.space
    fixed = [space.uniform(code) for code in range(len(space.choices))]
    # A fixed multiplier above the limit of energy is still the baseline that a reader looks for.
    limited = dataclasses.replace(problem, max_energy=None)
    seeds = [(codes, "uniform") for codes in fixed if limited.is_feasible(codes)]
    assert problem.distortion is not None
    found = constrained_sweep(problem, problem.distortion, count=SCREENED_ASSIGNMENTS + 2)
    # Both ends of the sweep are fixed multipliers or nearly so, and those are queued anyway.
    return seeds + [(codes, "screening") for codes in found[1:-1]]


def search(prepared: Prepared, problem: Problem, study: SearchStudy, reporter: Reporter) -> None:
    """Score trials until the budget is spent, by however many processes and machines."""
    config = prepared.config
    crew: Crew
    if config.workers == 1:
        crew = Alone(functools.partial(score, prepared.evaluator))
    else:
        crew = Pool(functools.partial(_scorer, prepared.run.path), config.workers)
    try:
        with reporter.bar("search", config.trials) as advance:
            _loop(config, problem, study, crew, advance)
    except BaseException:
        for pending in crew.busy:
            study.give_back(pending)
        raise
    finally:
        crew.close()


def _scorer(path: Path) -> Callable[[Job], Outcome]:
    """What a worker process scores with."""
    run = Run.open(path)
    network, data = load(run, SILENT)
    return functools.partial(score, _evaluator(run.config, network, data))


def _loop(
    config: SearchConfig,
    problem: Problem,
    study: SearchStudy,
    crew: Crew,
    advance: Callable[..., None],
) -> None:
    shown, exhausted = 0, False
    while True:
        study.requeue_dead()
        # Whoever noticed that a process died, its trials wait for anyone.
        exhausted = exhausted and not study.waiting
        while not exhausted and len(crew.busy) < crew.size and study.open < config.trials:
            try:
                pending = study.ask()
            except SpaceExhausted:
                exhausted = True
                break
            if study.open_before(pending) >= config.trials:
                study.give_back(pending)  # another process has asked for the last one just before
                break
            epochs = config.finetune_epochs if config.finetune == "every" else 0.0
            job = Job(pending.assignment, epochs, config.seed + pending.number)
            crew.submit(pending, job)
        status = None
        if crew.busy:
            for pending, outcome in crew.wait():
                trial = _trial(problem, pending, outcome)
                study.tell(pending, trial)
                status = f"energy {trial.energy_rel:.3f}  {100 * trial.validation.accuracy:.1f} %"
        done = min(study.complete, config.trials)
        advance(done - shown, status=status)
        shown = done
        if crew.busy:
            continue
        if done >= config.trials or (exhausted and not (study.running or study.waiting)):
            return
        if exhausted or study.open >= config.trials:
            time.sleep(WAIT_SECONDS)  # other processes have the last trials, and may die


def _trial(problem: Problem, pending: Pending, outcome: Outcome) -> Trial:
    tuned = outcome.tuned
    return Trial(
        number=pending.number,
        origin=pending.origin,
        assignment=pending.assignment,
        energy_rel=problem.energy_rel(pending.codes),
        validation=outcome.validation if tuned is None else tuned,
        fidelity=outcome.fidelity if tuned is None else "fine-tuned",
        seconds=outcome.seconds,
        tuned_validation=tuned,
        note=outcome.note,
        third=None if problem.third is None else float(problem.thirds(pending.codes[None])[0]),
    )


def write(run: Run, closing: Closing) -> None:
    """All files that a person or another program reads."""
    _write_csv(run.path / run_files.TRIALS, _tables.trials_frame(closing))
    _write_csv(run.path / run_files.FRONT, _tables.front_frame(closing))
    for number in closing.front:
        text = closing.trials[number].assignment.to_json()
        run.write(f"{ASSIGNMENTS}/{run_files.member_file(number)}", text)
    for number, routing in closing.own_routing.items():
        if number in closing.front:
            run.keep_own_routing(number, routing)
    with atomically(run.path / run_files.FRONT_PICTURE) as temporary:
        _figures.draw_png(temporary, closing, run.config)
    with atomically(run.path / run_files.FRONT_PAGE) as temporary:
        _figures.draw_html(temporary, closing, run.config)


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with atomically(path) as temporary:
        frame.to_csv(temporary, index=False)
