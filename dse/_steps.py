"""The steps of a search, in the order in which `dse._explore.search` names them."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from torch import nn

from dse.problem import Codes, Problem, constrained_sweep
from dse.results import (
    ASSIGNMENTS,
    Closing,
    Run,
    draw_html,
    draw_png,
    front_frame,
    trials_frame,
)
from dse.samplers import sampler_for, seeds_for
from dse.scoring import (
    BATCH_SIZE,
    ITEMS_PER_EXPERT,
    Evaluator,
    Scorer,
    ThisProcess,
    WorkerPool,
    Workers,
    score,
)
from dse.study import (
    CONTENT,
    MEASURE,
    OPERANDS,
    RECIPE,
    SearchConfig,
    SearchStudy,
    about,
    problem_of,
    run_trials,
)
from energy import (
    ACTIVITY,
    Switching,
    Workload,
    own_multipliers,
    published_figures,
    run_files,
    write_table,
)
from luts import EXACT, Multiplier, catalog
from luts.console import SILENT, Reporter
from models import (
    Choice,
    Data,
    Metric,
    Routing,
    SampledOperands,
    Score,
    expert_work,
    load_data,
    measure_routing,
    measure_routing_per_input,
    sample_operands,
)
from models.networks import in_batches
from models.training import atomically, base_network, default_recipe

SCREENED_ASSIGNMENTS = 15
OPERAND_IMAGES = 128
"""Images that operands are sampled from; of experts, all that recovery uses."""
FEWEST_ARRAYS = 4
"""Arrays, and plain narrow multipliers, that are at least tried at all sites alike."""
SINGLE_INPUTS = 64
"""Images whose routing is kept one by one, for the spread of the cost over inputs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """What every step of a search works on.

    Attributes:
        config: what the search was asked to do.
        evaluator: scores assignments.
        problem: what is searched, not screened yet.
        workload: what energy charges, with frozen routing rates.
        run: the run folder, or None if nothing is written.
        scorer: makes the function that another process scores with; can be pickled.
    """

    config: SearchConfig
    evaluator: Evaluator
    problem: Problem
    workload: Workload
    run: Run | None
    scorer: Callable[[], Scorer]


def load(run: Run, reporter: Reporter) -> tuple[nn.Module, Data]:
    """The data and the trained float network that a run's configuration names."""
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


def prepare(
    config: SearchConfig,
    network: nn.Module,
    data: Data,
    run: Run | None,
    reporter: Reporter,
    metric: Metric | None = None,
) -> Prepared:
    """Calibrate the exact int8 network, and measure and freeze its routing."""
    with reporter.bar("calibrate", 2) as advance:
        evaluator = evaluator_of(config, network, data, metric)
        advance()
        routing = _frozen_routing(evaluator, run)
        for line in starved(evaluator):
            reporter.note(line)
        layers = expert_work(evaluator.emulated.network, evaluator.inputs[:1])
        if layers and run is not None and not run.has_routing_inputs:
            single = evaluator.inputs[:SINGLE_INPUTS]
            source = "exact int8 network, single training images"
            run.keep_routing_inputs(
                measure_routing_per_input(evaluator.emulated.network, single, source=source)
            )
        operands = _frozen_operands(evaluator, config, run, has_experts=bool(layers))
        advance()
    workload = Workload(evaluator.emulated.sites, routing, layers, operands=operands)
    if run is not None:
        run.keep_coverage(workload.coverage)
    problem = problem_of(config, workload)
    if config.max_drop is not None:
        least = evaluator.exact_searched.quality_less(config.max_drop)
        problem = dataclasses.replace(problem, min_quality=least)
    if run is None or config.is_in_memory:
        own = own_multipliers(config.names())
        scorer = functools.partial(_scorer_in_memory, config, network, data, own, metric)
    else:
        scorer = functools.partial(_scorer_of_run, run.path)
    return Prepared(config, evaluator, problem, workload, run, scorer)


def starved(evaluator: Evaluator) -> Iterator[str]:
    """A warning for each expert layer with experts that too few calibration images reach."""
    count = len(evaluator.reference.images)
    for layer, experts in evaluator.starved.items():
        names = ", ".join(map(str, experts))
        yield (
            f"{layer}: experts {names} see fewer than {ITEMS_PER_EXPERT} items of {count} "
            f"calibration images, so that their recovery rests on little; more calibration_images "
            f"help"
        )


def _frozen_routing(evaluator: Evaluator, run: Run | None) -> Routing:
    kept = None if run is None else run.routing()
    if kept is not None:
        return kept
    source = f"exact int8 network, {len(evaluator.inputs)} training images"
    routing = measure_routing(evaluator.emulated.network, [evaluator.inputs], source=source)
    if run is not None:
        run.keep_routing(routing)
    return routing


def _frozen_operands(
    evaluator: Evaluator, config: SearchConfig, run: Run | None, *, has_experts: bool
) -> SampledOperands | None:
    """Operands at the sites: kept with a run, so that it can be costed anew; None if of no use."""
    if run is None and config.energy_model != ACTIVITY:
        return None
    kept = None if run is None else run.operands()
    if kept is not None:
        return kept
    images = evaluator.reference.images
    if not has_experts:
        images = images[:OPERAND_IMAGES]
    source = f"exact int8 network, {len(images)} training images"
    batches = in_batches(images, BATCH_SIZE)
    operands = sample_operands(evaluator.emulated, batches, seed=config.seed, source=source)
    if run is not None:
        run.keep_operands(operands)
    return operands


def evaluator_of(
    config: SearchConfig, network: nn.Module, data: Data, metric: Metric | None = None
) -> Evaluator:
    """The evaluator that scores the candidates of a search."""
    return Evaluator(
        network,
        data,
        calibration_images=config.calibration_images,
        images=config.scored_images,
        cached=True,
        metric=metric,
    )


def open_study(prepared: Prepared, reporter: Reporter = SILENT) -> SearchStudy:
    """The run's study, the shared one that the configuration names, or one in memory."""
    config, problem = prepared.config, prepared.problem
    exact = prepared.evaluator.exact_validation
    content = prepared.evaluator.data.content_sha256
    mine = about(config) | {
        **({} if content is None else {CONTENT: content}),
        **_told_by(exact),
        "images a score": prepared.evaluator.images,
        RECIPE: prepared.evaluator.recovery.to_dict(),
    }
    if config.energy_model == ACTIVITY:
        mine[OPERANDS] = _mean_switching(prepared.workload)
    if config.storage:
        return SearchStudy(
            config.storage, problem, name=config.study, about=mine, tell=reporter.note
        )
    if prepared.run is None:
        return SearchStudy(optuna.storages.InMemoryStorage(), problem, about=mine)
    return SearchStudy(prepared.run.database, problem, about=mine)


def _told_by(exact: Score) -> dict[str, Any]:
    """What tells one network, data and metric from others: the measure, and the exact network's."""
    if exact.is_accuracy:
        return {"exact validation cross-entropy": round(exact.cross_entropy, 4)}
    figures = {exact.measure.name: exact.value, "loss": exact.loss}
    return {
        MEASURE: dataclasses.asdict(exact.measure),
        **{f"exact validation {name}": float(f"{f:.5g}") for name, f in figures.items()},
    }


def _mean_switching(workload: Workload) -> float:
    """What tells one sample of operands from another: the exact circuit's mean toggles."""
    switching, exact = Switching.of(workload, published_figures()), Choice(EXACT)
    return round(float(np.mean([switching.factor(s, exact) for s in workload.sites])), 3)


def seed_study(prepared: Prepared, study: SearchStudy, reporter: Reporter) -> Problem:
    """Queue the first trials of a new study: fixed multipliers, then screened assignments.

    Returns:
        The problem with what screening predicts.
    """
    config, problem = prepared.config, prepared.problem
    if study.needs_seeds:
        evaluator, space = prepared.evaluator, problem.space
        started = time.perf_counter()
        pruning = evaluator.prune(problem, most_fixed=max(FEWEST_ARRAYS, config.trials // 10))
        for line in pruning.lines():
            reporter.note(f"{line} ({time.perf_counter() - started:.1f} s)")
        screening = evaluator.screen(
            space,
            seed=config.seed,
            routing=prepared.workload.routing,
            pruning=pruning,
            reporter=reporter,
        )
        distortion = space.pool(screening.distortion)
        problem = dataclasses.replace(problem, distortion=distortion, offer=pruning.offer)
        study.keep_offer(problem.offer)
        study.keep_screening(distortion.tolist())
        study.seed(seeds_for(config.sampler, first_trials(problem, pruning.fixed)))
    else:
        screened, offer = np.array(study.screening()), study.offer()
        problem = dataclasses.replace(problem, distortion=screened, offer=offer)
    if prepared.run is not None and not problem.offer.is_whole:
        prepared.run.keep_offer(problem.offer.summary)
    study.use(sampler_for(config.sampler, problem, seed=config.seed, budget=config.trials))
    return problem


def first_trials(
    problem: Problem, fixed_codes: Sequence[int] | None = None
) -> list[tuple[Codes, str]]:
    """Fixed multipliers that meet the constraints, then what the additive model thinks best.

    Args:
        problem: what is searched, screened.
        fixed_codes: choices that are tried at all groups alike; all of them by default.
    """
    codes = range(problem.choices) if fixed_codes is None else fixed_codes
    fixed = [problem.space.uniform(code) for code in codes]
    # A fixed multiplier above the energy limit is still the baseline that a reader looks for.
    limited = dataclasses.replace(problem, max_energy=None)
    seeds = [(codes, "uniform") for codes in fixed if limited.is_feasible(codes)]
    assert problem.distortion is not None
    # Small arrays cost next to nothing and leave nothing of a network: where the worst fixed
    # multiplier is expected to be, the sweep ends.
    predicted = problem.distortion[np.arange(problem.size), np.stack(fixed)].sum(axis=1)
    swept = constrained_sweep(
        problem, problem.distortion, count=SCREENED_ASSIGNMENTS + 2, most=predicted.max()
    )
    # Both ends of the sweep are fixed multipliers or nearly so, and those are queued anyway.
    return seeds + [(codes, "screening") for codes in swept[1:-1]]


def search(prepared: Prepared, study: SearchStudy, reporter: Reporter) -> None:
    """Score trials until the budget is spent; other processes and machines may take part."""
    config = prepared.config
    workers: Workers
    if config.workers == 1:
        workers = ThisProcess(_scorer(config, prepared.evaluator))
    else:
        workers = WorkerPool(prepared.scorer, config.workers)
    with reporter.bar("search", config.trials) as advance:
        run_trials(study, workers, config.trials, advance)


def _scorer(config: SearchConfig, evaluator: Evaluator) -> Scorer:
    epochs = config.finetune_epochs if config.finetune == "every" else 0.0
    return functools.partial(score, evaluator, epochs, config.seed)


def _scorer_of_run(path: Path) -> Scorer:
    """The function that a worker process scores with."""
    run = Run.open(path)
    return _scorer_in_memory(run.config, *load(run, SILENT))


def _scorer_in_memory(
    config: SearchConfig,
    network: nn.Module,
    data: Data,
    own: Sequence[Multiplier] = (),
    metric: Metric | None = None,
) -> Scorer:
    for multiplier in own:
        catalog.add(multiplier)
    return _scorer(config, evaluator_of(config, network, data, metric))


def write(run: Run, closing: Closing) -> None:
    """All files that a person or another program reads."""
    write_table(run.path / run_files.TRIALS, trials_frame(closing))
    write_table(run.path / run_files.FRONT, front_frame(closing))
    kept = sorted({*closing.front, *closing.reported})
    for number in kept:
        text = closing.trials[number].assignment.to_json()
        run.write(f"{ASSIGNMENTS}/{run_files.member_file(number)}", text)
    for number, routing in closing.own_routing.items():
        if number in kept:
            run.keep_own_routing(number, routing)
    with atomically(run.path / run_files.FRONT_PICTURE) as temporary:
        draw_png(temporary, closing, run.config)
    with atomically(run.path / run_files.FRONT_PAGE) as temporary:
        draw_html(temporary, [(closing, run.config)])
