"""Checks before a search starts: nothing is read, trained or altered."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from dse.problem import Problem, SearchSpace
from dse.study._config import ALL, SearchConfig
from dse.study._stored import (
    METRIC,
    SCORING,
    STUDY_NAME,
    check_identity,
    read_study,
    space_record,
)
from energy import ACTIVITY, CostModel, Workload, check_circuits, published_figures
from luts import check_sum
from luts.errors import InputError
from models import uniform_routing
from models.networks import Batch

CLASSES = {
    "cluttered-digits": 10,
    "digits": 10,
    "cifar10": 10,
    "cifar100": 100,
    "tiny-imagenet": 200,
}
"""Number of classes of each data set where it is always the same."""

MARGIN = 1.02
"""Factor by which energy may be off before routing and the number of classes are known."""


def problem_of(config: SearchConfig, workload: Workload) -> Problem:
    """What is searched, except for the accuracy to reach.

    Raises:
        InputError: a pattern matches no site, a site sums more products of a multiplier than 32
            bits hold, or no assignment meets the constraints.
    """
    _check_coverage(config, workload)
    space = SearchSpace.of(
        workload.sites,
        config.names(),
        exact=config.exact,
        tie=config.tie,
        operands=config.operands,
    )
    _check_sums(space)
    model = CostModel(workload, space.every_choice, model=config.energy_model)
    problem = Problem.of(
        space, model, max_distinct=config.max_distinct, max_energy=config.max_energy
    )
    return dataclasses.replace(problem, third=config.third)


def _check_sums(space: SearchSpace) -> None:
    free = {name for group in space.groups for name in group}
    for name in sorted({choice.multiplier for choice in space.choices}):
        for site in space.sites:
            if site.name in free:
                check_sum(site.fan_in, space.catalog[name], site.name)


def _check_coverage(config: SearchConfig, workload: Workload) -> None:
    if workload.coverage >= config.min_coverage:
        return
    pieces = sorted(workload.uncovered or (), key=lambda piece: -piece.macs)
    raise InputError(
        f"sites do {workload.coverage:.1%} of the network's multiply-accumulates, and "
        f"--min-coverage {config.min_coverage:g} asks for more; the largest of the rest: "
        f"{', '.join(map(str, pieces[:3]))}: build these of layers or of products "
        f"of matrices, let models.adapt know experts, or search what there is with a lower "
        f"--min-coverage"
    )


def about(config: SearchConfig) -> dict[str, Any]:
    """What must agree, besides sites and choices, for a study to be continued.

    All that decides what a trial is and how it is scored, or tuned at the close. Where the weights
    and the data come from may differ from machine to machine; their scores tell them apart.
    """
    names = ("arch", "topology", "dataset", "image_size", "seed", "energy_model", *SCORING)
    record = {name: getattr(config, name) for name in names}
    record["rung_images"] = config.scored_images
    if config.finetune == "none":
        record["finetune_epochs"] = None
    if config.metric is not None:
        record[METRIC] = config.metric
    return record


def check(config: SearchConfig, databases: Mapping[str, Path] | None = None) -> None:
    """Refuse what cannot be searched, from the network's shape alone: nothing is read or trained.

    Args:
        config: what the search is asked to do.
        databases: the study's file of each topology, for a run that exists already.

    Raises:
        InputError: a pattern matches no site, no assignment meets the constraints, the storage
            cannot be reached or holds something else, or the study belongs to another search.
            An existing study is not altered.
    """
    for topology in config.topologies:
        part = config if config.topology != ALL else config.for_topology(topology)
        database = None if databases is None else databases[topology]
        _check_one(part, database)


def _check_one(config: SearchConfig, database: Path | None) -> None:
    with _unwarned():
        workload = Workload.of(config.network(num_classes=CLASSES.get(config.dataset, 10)))
    problem = _roughly(config, workload)
    _check_identity(config, problem, config.storage or database)


def check_in_memory(config: SearchConfig, network: nn.Module, example: Batch) -> None:
    """Like `check`, for a network in memory.

    Args:
        config: what the search is asked to do.
        network: that is searched.
        example: one input, ``(1, …)``.

    Raises:
        InputError: as `check`; or the network has no site.
    """
    with _unwarned():
        workload = Workload.of_network(network, example, uniform_routing(network))
    _check_identity(config, _roughly(config, workload), config.storage or None)


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Without warnings: calibrating, which sees more inputs, warns of the same sites."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _roughly(config: SearchConfig, workload: Workload) -> Problem:
    """Refuses what is out of reach; what is near its limit is checked with measured routing."""
    limit = None if config.max_energy is None else MARGIN * config.max_energy
    rough = dataclasses.replace(config, max_energy=limit)
    if config.energy_model == ACTIVITY:
        # What operands there will be, nobody knows yet; only that toggles can be counted.
        check_circuits(config.names(), published_figures())
        free: dict[str, Any] = {"objective": "pareto", "max_drop": None, "max_energy": None}
        rough = dataclasses.replace(config, energy_model="multipliers", **free)
    return problem_of(rough, workload)


def _check_identity(config: SearchConfig, problem: Problem, where: Path | str | None) -> None:
    if where is None:
        return
    study = read_study(where, config.study or STUDY_NAME, with_trials=False)
    if study is not None:
        mine = {"space": space_record(problem), **about(config)}
        check_identity(study.identity, mine, study.shown)
