"""Finished runs under another energy model: nothing is measured again, nothing in them changes."""

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dse.problem import non_dominated
from dse.results._compare import Finished, points_of
from dse.results._own_routing import OWN_ENERGY
from dse.results._run_folder import ROUTING, Run
from dse.results._stored_run import study_of
from dse.study import StoredStudy
from energy import (
    ACTIVITY,
    CostModel,
    EnergyModel,
    Figures,
    Workload,
    check_memories,
    cost,
    figures_of,
    read_operands,
    read_routing,
    run_files,
)
from energy import network_of_run as network_of
from luts.errors import InputError
from models import Assignment, NetworkConfig

AS_SEARCHED = "energy_rel_as_searched"
"""Column of the energies that a run searched with, where others take their place."""

OPTIONS = (
    "energy_model",
    "convention",
    "figures",
    "weight_memory",
    "activation_memory",
    "batch_size",
)
"""Command-line options each of which asks for other energies than the runs have."""


def is_asked(options: argparse.Namespace) -> bool:
    """Whether the command line asks for other energies than the runs have."""
    return any(getattr(options, name) not in (None, []) for name in OPTIONS)


def recost_all(
    runs: Sequence[Finished], options: argparse.Namespace
) -> tuple[list[Finished], Figures]:
    """Runs with the energies that the command line asks for, and the figures behind them.

    Raises:
        InputError: no model is named and the runs' own differ, an option changes nothing in the
            model, or a run's study, network, routing or trials cannot be read or do not fit
            together.
    """
    models = {run.energy_model for run in runs}
    if options.energy_model is None and len(models) > 1:
        raise InputError(
            f"the runs searched under different energy models ({', '.join(sorted(models))}); name "
            f"one with --energy-model"
        )
    model: EnergyModel = options.energy_model or runs[0].folder.config.energy_model
    studies = [study_of(run.folder) for run in runs]
    names = dict.fromkeys(name for study in studies for name in study.multipliers)
    figures = figures_of(options, others=names)
    check_memories(options, model)
    workloads: dict[NetworkConfig, Workload] = {}
    recosted = []
    for run, study in zip(runs, studies, strict=True):
        network = network_of(run.folder.path)
        if network not in workloads:
            workloads[network] = Workload.of(network)
        operands = read_operands(run.folder.path) if model == ACTIVITY else None
        workload = workloads[network].fed(operands)
        recosted.append(recost(run, study, workload, figures, model=model))
    return recosted, figures


def recost(
    run: Finished,
    study: StoredStudy,
    workload: Workload,
    figures: Figures,
    *,
    model: EnergyModel,
) -> Finished:
    """The run with energies, front and best fixed multiplier of another energy model.

    Args:
        run: a finished run.
        study: its study.
        workload: its network.
        figures: power and energies.
        model: what is counted.

    Raises:
        InputError: the trials are not those of the study, or do not fit the network.
    """
    assignments = _assignments(run, study)
    routing = read_routing(run.folder.path / ROUTING) if workload.layers else None
    energies, dense_pj = _energies(assignments, workload.under(routing), figures, model)
    trials = run.trials.drop(columns=run_files.BEST_OF, errors="ignore")
    trials = trials.assign(energy_rel=energies, energy_pj=energies * dense_pj)
    place = trials.columns.tolist().index(run_files.ENERGY) + 1
    trials.insert(place, AS_SEARCHED, run.trials[run_files.ENERGY])
    if OWN_ENERGY in trials:
        trials[OWN_ENERGY] = [
            _own_energy(run.folder, number, assignment, workload, figures, model)
            for number, assignment in zip(trials[run_files.TRIAL], assignments, strict=True)
        ]
    recosted = dataclasses.replace(
        run, trials=trials, energy_model=f"{model}, {figures.convention}"
    )
    front = non_dominated(points_of(recosted))
    if run_files.ON_FRONT in trials:
        trials[run_files.ON_FRONT] = np.isin(np.arange(len(trials)), front)
    chosen = {int(trials[run_files.TRIAL].iloc[row]): assignments[row] for row in front}
    return dataclasses.replace(recosted, front=chosen)


def joint_trials(runs: Sequence[Finished]) -> pd.DataFrame:
    """All trials of all runs, each with its run and what its energy counts.

    Returns:
        The columns of ``trials.csv`` after ``run`` and ``energy_model``, and ``on_joint_front``:
        no trial of any run dominates it.
    """
    tables = []
    for run in runs:
        table = run.trials.copy()
        table.insert(0, "energy_model", run.energy_model)
        table.insert(0, "run", run.name)
        tables.append(table)
    frame = pd.concat(tables, ignore_index=True)
    joint = non_dominated(np.concatenate([points_of(run) for run in runs]))
    frame["on_joint_front"] = np.isin(np.arange(len(frame)), joint)
    return frame


def _assignments(run: Finished, study: StoredStudy) -> list[Assignment]:
    """The assignment of every row of the run's trials, checked against the table's own digests."""
    assignments = []
    for number, digest in zip(
        run.trials[run_files.TRIAL], run.trials[run_files.DIGEST], strict=True
    ):
        assignment = study.assignment(int(number))
        if assignment.digest != digest:
            raise InputError(
                f"{run.folder.path}: trial {number} of {study.shown} has another assignment than "
                f"trials.csv says; the database is not that of this run"
            )
        assignments.append(assignment)
    return assignments


def _energies(
    assignments: Sequence[Assignment],
    workload: Workload,
    figures: Figures,
    model: EnergyModel,
) -> tuple[np.ndarray, float]:
    """Relative energies, float64 of shape ``(assignments,)``, and what they are relative to."""
    choices = list(dict.fromkeys(c for a in assignments for c in a.choices.values()))
    costs = CostModel(workload, choices, figures, model=model)
    index = {choice: code for code, choice in enumerate(choices)}
    for assignment in assignments:
        assignment.check(workload.sites)
    codes = [[index[a.choices[site.name]] for site in workload.sites] for a in assignments]
    return costs.energy_rel(np.array(codes)), costs.dense_energy_pj


def _own_energy(
    run: Run,
    number: int,
    assignment: Assignment,
    workload: Workload,
    figures: Figures,
    model: EnergyModel,
) -> float:
    path = run.own_routing_path(number)
    if not path.exists():
        return np.nan
    return cost(workload.under(read_routing(path)), assignment, figures, model=model).energy_rel
