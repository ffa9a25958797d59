"""The end of a search: fine-tune front members and fixed multipliers alike, and test them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.stats import spearmanr

from dse.problem import FINE_TUNED, Problem, Trial, objective_score
from dse.results._halving import Halving, dominated_ranks
from dse.results._own_routing import measure_own, own_energies
from dse.scoring import Evaluator, is_plain_narrow
from dse.study import SearchConfig, SearchStudy
from energy import Workload, distinct_area, under_each_model
from luts import catalog
from luts.circuits import name_of_table
from luts.console import Reporter
from luts.errors import InputError
from models import ARCHITECTURES, Assignment, Routing, Score

BEST_FIXED_MARGIN = 1.0
"""A fixed multiplier is acceptable within one point of the exact int8 network's accuracy."""


@dataclasses.dataclass(frozen=True)
class Closing:
    """What a finished search has found.

    Attributes:
        exact_validation: the exact int8 network's score on the validation split.
        exact_searched: its score on the images used in the search, which may be fewer.
        exact_test: its score on the test split.
        trials: all trials; those that were fine-tuned or tested say so.
        front: numbers of the trials that no other dominates, by rising energy.
        reported: numbers of the front members that were tested.
        fixed: number of the better operand order's trial of each fixed multiplier.
        best_fixed: number of the cheapest acceptable fixed multiplier, or None if none is; among
            those with published or given figures, if there are any.
        screening_rank: Spearman correlation of the screened distortion with the measured score
            over all trials, or None with too few.
        surrogate_rank: likewise of the score that the sampler predicted before it was measured.
        objective: what the search was asked for.
        best_array: likewise among all fixed arrays, whoever priced them.
        best_narrow: likewise among the fixed multipliers of fewer bits that cut nothing else.
        own_routing: by trial number, how often each tested network uses its experts; the energies
            of other trials are charged with the frozen frequencies alone.
        own_energy: by trial number, ``energy_rel`` under these own frequencies.
        energies: by trial number, ``energy_rel`` of what was tested under each energy model.
        circuits: by trial number, how many distinct circuits it has, and the area of one of each,
            relative to the exact one's.
        coverage: part of the multiply-accumulates that sites do; None where an earlier version did
            not count.
    """

    exact_validation: Score
    exact_searched: Score
    exact_test: Score
    trials: dict[int, Trial]
    front: tuple[int, ...]
    reported: tuple[int, ...]
    fixed: tuple[int, ...]
    best_fixed: int | None
    screening_rank: float | None = None
    surrogate_rank: float | None = None
    objective: str = "pareto"
    best_array: int | None = None
    best_narrow: int | None = None
    own_routing: Mapping[int, Routing] = dataclasses.field(default_factory=dict)
    own_energy: Mapping[int, float] = dataclasses.field(default_factory=dict)
    energies: Mapping[int, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    circuits: Mapping[int, tuple[int, float]] = dataclasses.field(default_factory=dict)
    coverage: float | None = None

    KEY: ClassVar[str] = "summary"
    """Key under which the study keeps the summary."""

    def summary(self) -> dict[str, Any]:
        """Everything but trials and routing, as plain values."""
        record = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("trials", "own_routing")
        }
        record |= {name: record[name].to_dict() for name in _EXACT}
        keyed = {name: {str(n): v for n, v in record[name].items()} for name in _BY_NUMBER}
        return record | keyed

    @classmethod
    def from_summary(
        cls, summary: Mapping[str, Any], trials: dict[int, Trial], routings: Mapping[int, Routing]
    ) -> "Closing":
        """The inverse of `summary`."""
        lists = {name: tuple(summary[name]) for name in ("front", "reported", "fixed")}
        scores = {name: Score.from_dict(summary[name]) for name in _EXACT}
        keyed = {name: {int(n): v for n, v in summary[name].items()} for name in _BY_NUMBER}
        keyed["circuits"] = {n: (count, area) for n, (count, area) in keyed["circuits"].items()}
        return cls(
            **{**summary, **lists, **scores, **keyed},
            trials=trials,
            own_routing=routings,
        )


_EXACT = ("exact_validation", "exact_searched", "exact_test")
_BY_NUMBER = ("own_energy", "energies", "circuits")


def close(
    study: SearchStudy,
    evaluator: Evaluator,
    problem: Problem,
    workload: Workload,
    config: SearchConfig,
    reporter: Reporter,
) -> Closing:
    """Fine-tune and test what is reported; what an earlier run has done already is not repeated.

    Args:
        study: with the trials.
        evaluator: tunes and scores.
        problem: what was searched.
        workload: what energy charges, with frozen routing rates.
        config: what the search was asked to do.
        reporter: shows the progress.

    Raises:
        InputError: no trial was scored as the search compares them, or none meets its limit.
    """
    trials = {trial.number: trial for trial in study.trials()}
    ranked = _ranked(list(trials.values()), config)
    front = ranked[0]
    halving = Halving(study, evaluator, config, trials, reporter)
    if config.objective != "pareto":
        thinned = [halving.answer(problem)]
    elif config.finetune == "promising":
        thinned = halving.promoted(ranked)
    else:
        thinned = halving.shortlisted(ranked)
    # Which order recovers better is known only once both have been recovered in full.
    uniform = [trial.number for trial in trials.values() if trial.origin == "uniform"]
    chosen = sorted({*thinned, *uniform})
    title = "test" if config.finetune == "none" else "fine-tune and test"
    routings = {}
    for number in reporter.track(chosen, title):
        # First, so that fine-tuning need not take it again.
        whole = halving.whole_score(number) if evaluator.is_partial else None
        trials[number], routing = _closed(study, evaluator, config, trials[number], reporter)
        if whole is not None:
            trials[number] = dataclasses.replace(trials[number], whole_validation=whole)
        if routing is not None:
            routings[number] = routing
    fixed = fixed_baselines(list(trials.values()))
    closing = Closing(
        exact_validation=evaluator.exact_validation,
        exact_searched=evaluator.exact_searched,
        exact_test=_exact_test(study, evaluator),
        trials=trials,
        front=front,
        screening_rank=_rank_correlation(problem, trials),
        surrogate_rank=_surrogate_correlation(trials),
        objective=config.objective,
        reported=tuple(sorted(thinned, key=lambda number: trials[number].energy_rel)),
        fixed=fixed,
        **best_of_each([trials[n] for n in fixed], evaluator.exact_validation),
        own_routing=routings,
        own_energy=own_energies(routings, trials, workload, config),
        energies={n: under_each_model(workload, trials[n].assignment) for n in chosen},
        coverage=workload.coverage,
        circuits={n: _circuits(trials[n].assignment) for n in chosen},
    )
    study.keep_closing(Closing.KEY, closing.summary())
    return closing


def _circuits(assignment: Assignment) -> tuple[int, float]:
    area = distinct_area(assignment)
    return area.count, area.area_rel


def _ranked(trials: list[Trial], config: SearchConfig) -> list[tuple[int, ...]]:
    """Non-dominated ranks within the fidelity that the search compares."""
    # The cheap recovery has other names on other networks; only fine-tuning sets scores apart.
    tuned = config.finetune == "every"
    compared = [t for t in trials if (t.fidelity == FINE_TUNED) == tuned]
    if not compared:
        raise InputError(
            f"none of {len(trials)} trials was scored {'after' if tuned else 'without'} "
            f"fine-tuning, as --finetune {config.finetune} compares them; name another study"
        )
    return dominated_ranks(compared, 3)


def _rank_correlation(problem: Problem, trials: dict[int, Trial]) -> float | None:
    if problem.distortion is None:
        return None
    codes = np.stack([problem.space.encode(trial.assignment) for trial in trials.values()])
    predicted = problem.distortion[np.arange(problem.size), codes].sum(axis=1)
    return _spearman(predicted.tolist(), [trial.objectives[1] for trial in trials.values()])


def _surrogate_correlation(trials: dict[int, Trial]) -> float | None:
    known = [t for t in trials.values() if t.predicted is not None]
    return _spearman([t.predicted or 0.0 for t in known], [t.objectives[1] for t in known])


def _spearman(predicted: list[float], measured: list[float]) -> float | None:
    if len(predicted) < 5 or len(set(predicted)) < 2 or len(set(measured)) < 2:
        return None
    return float(spearmanr(predicted, measured).statistic)


def fixed_baselines(trials: list[Trial]) -> tuple[int, ...]:
    """One trial per fixed multiplier, in its better operand order, by falling energy.

    Better by the validation score after all the recovery that both orders got.
    """
    better: dict[str, Trial] = {}
    for trial in (t for t in trials if t.origin == "uniform"):
        name = uniform_multiplier(trial)
        known = better.get(name)
        if known is None or _recovered_loss(trial) < _recovered_loss(known):
            better[name] = trial
    return tuple(t.number for t in sorted(better.values(), key=lambda t: -t.energy_rel))


def _recovered_loss(trial: Trial) -> tuple[float, float]:
    score = trial.best_validation
    return objective_score(score), score.loss


def uniform_multiplier(trial: Trial) -> str:
    """Name of the multiplier that a fixed assignment has at all sites but the routers."""
    names = [choice.multiplier for choice in trial.assignment.choices.values()]
    return max(set(names), key=names.count)


def best_fixed(fixed: list[Trial], exact: Score) -> int | None:
    """Number of the cheapest fixed multiplier within one point of ``exact``, or None."""
    least = exact.quality_less(BEST_FIXED_MARGIN)
    acceptable = [trial for trial in fixed if trial.best_validation.quality >= least]
    return min(acceptable, key=lambda t: t.energy_rel).number if acceptable else None


def best_of_each(fixed: list[Trial], exact: Score) -> dict[str, int | None]:
    """`best_fixed` of the published multipliers, the arrays and the plain narrow ones.

    Args:
        fixed: one trial of each fixed multiplier.
        exact: score of the exact int8 network.

    Returns:
        Numbers by the names of `Closing`.
    """
    names = {trial.number: uniform_multiplier(trial) for trial in fixed}
    priced = [trial for trial in fixed if is_priced(names[trial.number])]
    return {
        "best_fixed": best_fixed(priced or fixed, exact),
        "best_array": best_fixed([t for t in fixed if is_array(names[t.number])], exact),
        "best_narrow": best_fixed([t for t in fixed if is_narrow(names[t.number])], exact),
    }


def is_priced(name: str) -> bool:
    """Whether a multiplier's figures are published or given; unknown ones are taken for that."""
    multiplier = catalog.get(name)
    return multiplier is None or multiplier.figures_from != "estimated"


def is_array(name: str) -> bool:
    """Whether a multiplier is a cut of the array, under whichever name."""
    multiplier = catalog.get(name)
    return multiplier is not None and name_of_table(multiplier.sha256) is not None


def is_narrow(name: str) -> bool:
    """Whether a multiplier is an exact product of fewer bits, with nothing else cut."""
    multiplier = catalog.get(name)
    return multiplier is not None and is_plain_narrow(multiplier.sha256)


def _closed(
    study: SearchStudy,
    evaluator: Evaluator,
    config: SearchConfig,
    trial: Trial,
    reporter: Reporter,
) -> tuple[Trial, Routing | None]:
    """The trial with its scores after fine-tuning, and its own routing if there are experts.

    Computed now or kept from an earlier run.
    """
    key = f"trial-{trial.number}"
    record = study.closing(key)
    if record is None:
        record = _kept_or_closed(evaluator, config, trial, reporter)
        study.keep_closing(key, record)
    routing = record.get("routing")
    return trial.closed(record), None if routing is None else Routing(**routing)


def _kept_or_closed(
    evaluator: Evaluator, config: SearchConfig, trial: Trial, reporter: Reporter
) -> dict[str, Any]:
    """From the cache, if all that decides it is known."""

    def decided_by() -> dict[str, Any]:
        recipe = dataclasses.asdict(evaluator.tuning)
        tuning = [config.arch, recipe, config.finetune_epochs, config.seed]
        return {
            "assignment": trial.assignment.digest,
            "number": trial.number,
            "note": trial.note,
            "tuning": None if config.finetune == "none" else tuning,
            "images": evaluator.splits_sha256,
        }

    def compute() -> dict[str, Any]:
        return _close_one(evaluator, config, trial, reporter)

    # Neither weights nor scores tell how a user's network trains: dropout, or what is frozen.
    if config.finetune != "none" and config.arch not in ARCHITECTURES:
        return compute()
    return evaluator.remember("closing", decided_by, compute)


def _close_one(
    evaluator: Evaluator, config: SearchConfig, trial: Trial, reporter: Reporter
) -> dict[str, Any]:
    tuned = None
    if config.finetune == "none":
        network, note = evaluator.recovered(trial.assignment), trial.note
    else:
        tuned = evaluator.fine_tune(
            trial.assignment,
            epochs=config.finetune_epochs,
            seed=config.seed + trial.number,
            reporter=reporter,
        )
        network, note = tuned.network, tuned.note
    what = f"network of trial {trial.number}, {'recovered' if tuned is None else 'tuned'}"
    routing = measure_own(evaluator, network, what)
    return {
        "tuned_validation": None if tuned is None else tuned.validation.to_dict(),
        "test": evaluator.test(network).to_dict(),
        "note": note,
        "routing": None if routing is None else dataclasses.asdict(routing),
    }


def _exact_test(study: SearchStudy, evaluator: Evaluator) -> Score:
    record = study.closing("exact")
    if record is None:
        score = evaluator.test_exact()
        record = score.to_dict()
        study.keep_closing("exact", record)
    return Score.from_dict(record)
