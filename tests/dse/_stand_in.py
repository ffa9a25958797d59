"""A cheap stand-in for scoring: energy falls with the codes, loss rises with their square."""

import numpy as np

import luts
from dse.problem import Outcome, Problem, SearchSpace
from dse.samplers import sampler_for
from dse.scoring import ThisProcess
from dse.study import SearchStudy, run_trials
from energy import CostModel, Workload
from models import Score, Site

SITES = tuple(Site(f"layer{i}", "linear", 10 + i, 8) for i in range(12))
NAMES = luts.catalog.names("mul8s")


def problem_of(sites=SITES, names=NAMES, *, exact=(), tie="none", screened=True, **limits):
    space = SearchSpace.of(sites, names, exact=exact, tie=tie)
    third = limits.pop("third", None)
    least = limits.pop("min_quality", None)
    problem = Problem.of(space, CostModel(Workload(sites), space.every_choice), **limits)
    prior = None
    if screened:
        weight = np.linspace(3, 1, problem.size)  # the wrong way round: screening errs
        prior = weight[:, None] * np.arange(problem.choices)[None, :] ** 2.0
    changes = {"distortion": prior, "third": third, "min_quality": least}
    return Problem(**{**{k: getattr(problem, k) for k in FIELDS}, **changes})


FIELDS = ("space", "energy", "constant", "max_distinct", "max_energy")


def loss_of(codes):
    weight = np.linspace(1, 3, len(codes))
    return 0.05 + float((weight * codes**2.0).mean() / 400)


def score(pending):
    loss = loss_of(pending.codes)
    return Outcome(Score(max(0.1, 0.95 - loss / 2), loss, 100), "bias-corrected", 0.0)


def open_study(path, sampler="nsga2", *, seed=3, problem=None, budget=60, **settings):
    problem = problem_of() if problem is None else problem
    made = sampler_for(sampler, problem, seed=seed, budget=budget)
    return SearchStudy(path, problem, made, **settings)


def run_to(study, total):
    run_trials(study, ThisProcess(score), total, lambda *_, **__: None)
    return study.trials()


def seeded(study, codes=(0, 9, 18)):
    space = study.space
    last = len(space.choices) - 1
    study.seed([(space.uniform(min(code, last)), "uniform") for code in codes])


def listing(trials):
    return [(t.number, t.origin, t.assignment.digest) for t in trials]
