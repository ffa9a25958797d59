"""A cheap stand-in for scoring: energy falls with the codes, loss rises with their square."""

import numpy as np

import luts
from dse._problem import Problem
from dse._space import SearchSpace
from dse._study import SearchStudy
from dse._trial import Trial
from dse.samplers import SpaceExhausted, sampler_for
from energy import CostModel, Workload
from models import Score, Site

SITES = tuple(Site(f"layer{i}", "linear", 10 + i, 8) for i in range(12))
NAMES = luts.catalog.names("mul8s")


def problem_of(sites=SITES, names=NAMES, *, exact=(), tie="none", screened=True, **limits):
    space = SearchSpace.of(sites, names, exact=exact, tie=tie)
    third = limits.pop("third", None)
    least = limits.pop("min_accuracy", None)
    problem = Problem.of(space, CostModel(Workload(sites), space.every_choice), **limits)
    prior = None
    if screened:
        weight = np.linspace(3, 1, problem.size)  # the wrong way round: screening errs
        prior = weight[:, None] * np.arange(problem.choices)[None, :] ** 2.0
    changes = {"distortion": prior, "third": third, "min_accuracy": least}
    return Problem(**{**{k: getattr(problem, k) for k in FIELDS}, **changes})


FIELDS = ("space", "energy", "constant", "max_distinct", "max_energy")


def loss_of(codes):
    weight = np.linspace(1, 3, len(codes))
    return 0.05 + float((weight * codes**2.0).mean() / 400)


def score(problem, pending):
    loss = loss_of(pending.codes)
    return Trial(
        number=pending.number,
        origin=pending.origin,
        assignment=pending.assignment,
        energy_rel=problem.energy_rel(pending.codes),
        validation=Score(max(0.1, 0.95 - loss / 2), loss, 100),
        fidelity="bias-corrected",
        seconds=0.0,
        third=None if problem.third is None else float(problem.thirds(pending.codes[None])[0]),
    )


def open_study(path, sampler="nsga2", *, seed=3, problem=None, budget=60, **settings):
    problem = problem_of() if problem is None else problem
    made = sampler_for(sampler, problem, seed=seed, budget=budget)
    return SearchStudy(path, problem, made, **settings)


def run_to(study, total):
    while study.complete < total:
        try:
            pending = study.ask()
        except SpaceExhausted:
            break
        study.tell(pending, score(study.problem, pending))
    return study.trials()


def seeded(study, codes=(0, 9, 18)):
    space = study.space
    last = len(space.choices) - 1
    study.seed([(space.uniform(min(code, last)), "uniform") for code in codes])


def listing(trials):
    return [(t.number, t.origin, t.assignment.digest) for t in trials]
