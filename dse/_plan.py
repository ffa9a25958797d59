"""What a search is going to do, held against what there is before any work is done."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dse._config import ALL, SearchConfig
from dse._problem import Problem
from dse._run import DATABASE
from dse._space import SearchSpace
from dse._stored import SCORING, STUDY_NAME, check_identity, read_study, space_record
from energy import CostModel, Workload
from models import ExpertWork, Routing, Site

CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "tiny-imagenet": 200}
"""Classes of the data sets that always have the same."""

MARGIN = 1.02
"""By how much energy may be off while routing, and the classes of an own data set, are unknown."""


def problem_of(
    config: SearchConfig,
    sites: Sequence[Site],
    routing: Routing | None,
    layers: Sequence[ExpertWork],
) -> Problem:
    """What is searched, but for the accuracy to reach.

    Raises:
        InputError: a pattern matches no site, or no assignment meets the constraints.
    """
    space = SearchSpace.of(sites, config.names(), exact=config.exact, tie=config.tie)
    workload = Workload(tuple(sites), routing, tuple(layers))
    model = CostModel(workload, space.every_choice, model=config.energy_model)
    problem = Problem.of(
        space, model, max_distinct=config.max_distinct, max_energy=config.max_energy
    )
    return dataclasses.replace(problem, third=config.third)


def about(config: SearchConfig) -> dict[str, Any]:
    """What must agree, besides sites and choices, for a study to be continued.

    All that decides what a trial is and how it is scored, or tuned at the close. Where the weights
    and the data come from may differ from machine to machine; their scores tell them apart.
    """
    names = ("arch", "topology", "dataset", "image_size", "seed", "energy_model", *SCORING)
    found = {name: getattr(config, name) for name in names}
    found["rung_images"] = config.scored_images
    if config.finetune == "none":
        found["finetune_epochs"] = None
    return found


def check(config: SearchConfig, path: Path | None) -> None:
    """Refuse what cannot be searched, from the network's shape alone: nothing is read or trained.

    Args:
        config: what the search is asked to do.
        path: folder of the run if it exists already.

    Raises:
        InputError: a pattern matches no site, no assignment meets the constraints, the storage
            cannot be reached or holds something else, or the study is one of another search. An
            existing study is not altered.
    """
    for topology in config.topologies:
        part = config if config.topology != ALL else config.for_topology(topology)
        folder = path if path is None or config.topology != ALL else path / topology
        _check_one(part, folder)


def _check_one(config: SearchConfig, path: Path | None) -> None:
    workload = Workload.of(config.network(num_classes=CLASSES.get(config.dataset, 10)))
    # Refuses what is out of reach; what is near its limit is held against measured routing.
    limit = None if config.max_energy is None else MARGIN * config.max_energy
    near = dataclasses.replace(config, max_energy=limit)
    problem = problem_of(near, workload.sites, workload.routing, workload.layers)
    where: Path | str | None = config.storage or (None if path is None else path / DATABASE)
    if where is None:
        return
    found = read_study(where, config.study or STUDY_NAME, with_trials=False)
    if found is not None:
        mine = {"space": space_record(problem), **about(config)}
        check_identity(found.identity, mine, found.shown)
