"""The search as a function: any network in memory, or the one that a run's configuration names."""

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dse import _steps
from dse.results import Result, Run, close, known_measure, read_closing
from dse.study import IN_MEMORY, SearchConfig, check_in_memory
from energy import add_kept, run_files
from luts import catalog, check_machine
from luts.console import SILENT, Reporter, quieten_libraries
from luts.errors import InputError, suggest
from luts.loading import add_files
from models import Data, Measure, Metric, check_classifier, check_metric, data_of
from models.training import cache_folder, check_pickles, metric_of

NOT_IN_MEMORY = (
    "arch",
    "topology",
    "dataset",
    "data_root",
    "weights",
    "pretrained",
    "train_epochs",
    "experts",
    "expert_blocks",
    "top_k",
    "cluster_features",
    "image_size",
    "patch_size",
)
"""Settings that say how a network is built, trained and fed, not how it is searched."""


def explore(
    network: nn.Module,
    data: Data | Mapping[str, Any] | Sequence[Any],
    *,
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    metric: Any = None,
    **settings: Any,
) -> Result:
    """Search which multiplier each site of a trained network should use.

    The same seed proposes the same trials. The network is copied, never changed.

    Args:
        network: a trained classifier in memory; takes a batch of inputs, returns logits of shape
            ``(B, classes)``, or ``(B, T, classes)`` for labels ``(B, T)``, or an output with such
            ``logits``. With a metric, any tensor of one row for each input.
        data: `models.Data`, or inputs and labels for ``train``, ``validation`` and ``test``, as a
            mapping or in this order; see `models.data_of` for what each may be.
        out: run folder to make, as ``python -m dse.search --out``; by default nothing is written.
        resume: go on with the run in ``out`` where it was stopped, with its own settings; only
            ``trials``, which may grow, and ``workers`` may be others.
        quiet: show no progress.
        metric: what scores networks in the place of top-1 accuracy and cross-entropy: a
            `models.Metric`, or a function or object of its kind that has ``higher_is_better``. It
            is the search's second objective; ``max_drop`` is in its points. To resume a run it has
            to be given again. For several ``workers`` it has to lie in a module.
        settings: what else the command line takes, under the same names: ``multipliers``, or files,
            ``trials``, ``seed``, ``sampler``, ``objective``, ``max_drop``, ``exact``, ``tie``, ….

    Raises:
        InputError: before any work: an unknown setting or a wrong value, data or a metric that do
            not fit the network, a run folder that exists, or constraints that nothing meets.
    """
    quieten_libraries()
    splits = data if isinstance(data, Data) else data_of(data)
    if resume and out is not None:
        add_kept(Path(out))
    own = None if metric is None else metric_of(metric)
    config = _settings(network, splits, settings, own)
    run = _resumed(out, config, settings, own) if resume else None
    config = config if run is None else run.config
    if own is None:
        check_classifier(network, splits)
    else:
        check_metric(network, splits, own)
        if config.workers > 1:
            check_pickles(own)
    check_in_memory(config, network, splits.train.take(1).images)
    if run is None and out is not None:
        run = Run.create(config, Path(out))
    reporter = Reporter(quiet=quiet)
    with contextlib.ExitStack() as stack:
        if run is not None:
            stack.enter_context(run.held())
            stack.enter_context(reporter.logging_to(run.path / run_files.LOG))
        return search(config, network, splits, run, reporter, own)


def _resumed(
    out: str | Path | None, config: SearchConfig, given: Mapping[str, Any], metric: Metric | None
) -> Run:
    if out is None:
        raise InputError("resume=True goes on with a run folder: name it with out")
    folder = Run.open(Path(out))
    _check_same_metric(folder, metric)
    own = {name: getattr(config, name) for name in ("arch", "dataset")}
    folder.check_settings({**own, **{name: getattr(config, name) for name in given}})
    with folder.held():
        return folder.going_on(given)


def _check_same_metric(run: Run, metric: Metric | None) -> None:
    kept, name = run.config.metric, None if metric is None else metric.name
    if kept != name:
        raise InputError(
            f"{run.path} was searched by {kept or 'accuracy'}, not by {name or 'accuracy'}: "
            + (f"give it as metric={kept}" if kept else "leave metric out")
        )
    if metric is None:
        return
    known = known_measure(run)
    if known is not None and known != metric.measure:
        raise InputError(
            f"{run.path} was searched by {_in_words(known)}, not by {_in_words(metric.measure)}: "
            f"give the metric as it was"
        )


def _in_words(measure: Measure) -> str:
    rest = dataclasses.asdict(measure)
    name = rest.pop("name")
    return f"{name} ({', '.join(f'{key}={value}' for key, value in rest.items())})"


def _settings(
    network: nn.Module, data: Data, given: Mapping[str, Any], metric: Metric | None
) -> SearchConfig:
    known = [f.name for f in dataclasses.fields(SearchConfig) if f.name not in NOT_IN_MEMORY]
    for name in given:
        if name in NOT_IN_MEMORY:
            raise InputError(
                f"{name} describes networks that are built and fed by name; dse.explore searches "
                f"the network and the data that it is given: leave {name} out"
            )
        if name not in known:
            raise InputError(f"a search has no setting {name!r}; {suggest(name, known)}")
    own = {
        "arch": IN_MEMORY + type(network).__name__,
        "topology": "dense",
        "dataset": data.name,
        "image_size": data.image_size,
        **({} if metric is None else {"metric": metric.name}),
    }
    for name in ("multipliers", "only"):
        if isinstance(given.get(name), str) and given[name]:
            names, notes = add_files(given[name], catalog)
            for note in notes:
                warnings.warn(note, stacklevel=3)
            given = {**given, name: names}
    return SearchConfig.from_dict({**own, **given})


def explore_run(run: Run, reporter: Reporter) -> Result:
    """Begin, or go on with, the search that a run's configuration describes.

    Raises:
        InputError: another process works on the run, or the data or the weights are missing,
            damaged or of another network.
    """
    with run.held(), reporter.logging_to(run.path / run_files.LOG):
        network, data = _steps.load(run, reporter)
        return search(run.config, network, data, run, reporter)


def search(
    config: SearchConfig,
    network: nn.Module,
    data: Data,
    run: Run | None,
    reporter: Reporter,
    metric: Metric | None = None,
) -> Result:
    """One search, step by step, up to its files."""
    # exact products, once for each machine
    check_machine(cache_folder() / "selftest")
    # activation ranges and frozen routing rates
    prepared = _steps.prepare(config, network, data, run, reporter, metric)
    # the study
    study = _steps.open_study(prepared, reporter)
    try:
        # fixed multipliers and screened assignments queued first
        problem = _steps.seed_study(prepared, study, reporter)
        # score assignments until the budget is spent
        _steps.search(prepared, study, reporter)
        # fine-tune and test what is reported
        closing = close(study, prepared.evaluator, problem, prepared.workload, config, reporter)
        # files
        if run is not None:
            _steps.write(run, closing)
    finally:
        study.close()
    return Result(closing, config, None if run is None else run.path, lambda: prepared.evaluator)


def read_run(
    path: str | Path,
    *,
    network: nn.Module | None = None,
    data: Data | Mapping[str, Any] | Sequence[Any] | None = None,
    metric: Any = None,
) -> Result:
    """A finished run, read from its folder; nothing is searched, and no network is loaded yet.

    Args:
        path: a folder that ``python -m dse.search`` or `explore` has made.
        network: the one that was searched, for `Result.emulated` where it was in memory only.
        data: what it was searched with, for the same use.
        metric: what it was searched by, for the same use, if not by accuracy.

    Raises:
        InputError: the folder is not that of a finished run, or of one of an earlier version.
    """
    run = Run.open(Path(path))
    make = functools.partial(_evaluator, run, network, data, metric)
    return Result(read_closing(run), run.config, run.path, make)


def _evaluator(
    run: Run,
    network: nn.Module | None,
    data: Data | Mapping[str, Any] | Sequence[Any] | None,
    metric: Any,
) -> Any:
    if not run.config.is_in_memory:
        return _steps.evaluator_of(run.config, *_steps.load(run, SILENT))
    if network is None or data is None:
        name = run.config.arch.removeprefix(IN_MEMORY)
        raise InputError(
            f"the network {name} of {run.path} was in memory only: give it and its data to "
            f"dse.read_run(path, network=…, data=…)"
        )
    own = None if metric is None else metric_of(metric)
    _check_same_metric(run, own)
    splits = data if isinstance(data, Data) else data_of(data)
    return _steps.evaluator_of(run.config, network, splits, own)
