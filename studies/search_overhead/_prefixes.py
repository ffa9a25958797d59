"""What a cache of earlier trials' activations could save: the work before their first difference.

Sites before the first one whose choice differs give the same activations. This counts how much of a
network lies there; nothing is emulated.
"""

import dataclasses
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

import dse
from dse.samplers import NAMES as SAMPLERS
from luts.console import Reporter
from luts.settings import setting
from models import NetworkConfig, Site, build, sites, upcycle_
from studies.search_overhead._arrays import searched

Codes = npt.NDArray[np.int64]

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class PrefixSettings:
    """Table ``prefixes`` of the configuration."""

    networks: Annotated[tuple[str, ...], setting("whose sites are searched, with hard experts")]
    multipliers: Annotated[str, setting("set or names of the catalogue")]
    trials: Annotated[int, setting("of a search with made-up scores", ge=8)]
    samplers: Annotated[tuple[str, ...], setting("who proposes them", choices=SAMPLERS)]
    runs: Annotated[tuple[str, ...], setting("folders of real searches, beside this study's")]
    last: Annotated[tuple[int, ...], setting("trials whose activations are kept")]
    images: Annotated[int, setting("that one trial recovers and scores on", ge=1)]


def measure(config: PrefixSettings, folder: Path, reporter: Reporter) -> pd.DataFrame:
    """One row per search and phase, a column per number of trials that are kept.

    Args:
        config: what to measure.
        folder: where the studies lie meanwhile.
        reporter: shows the progress.
    """
    rows = []
    for path in config.runs:
        copied = folder / "run"  # as reading a database leaves files beside it
        shutil.copytree(HERE / path, copied)
        run = dse.Run.open(copied)
        network = run.config.network(num_classes=10)
        trials = dse.read_run(copied).trials
        shutil.rmtree(copied)
        rows += _rows(path, f"{run.config.sampler}, measured", _sites(network), trials, config)
    for arch in config.networks:
        found = _sites(NetworkConfig(arch=arch, topology="hard"))
        with reporter.bar(f"search {arch}", len(config.samplers)) as advance:
            for name in config.samplers:
                database = folder / f"{arch}-{name}.db"
                trials = searched(name, found, config.multipliers, config.trials, database)
                rows += _rows(arch, name, found, trials, config)
                advance()
    return pd.DataFrame(rows)


def _sites(network: NetworkConfig) -> tuple[Site, ...]:
    """All but the routers, in the order of the forward pass; an expert's has its part of the work.

    They are given as if they were of no expert, so that no routing is needed.
    """
    dense = build(dataclasses.replace(network, topology="dense"))
    upcycle_(dense, network)
    image = torch.zeros(1, network.in_channels, network.image_size, network.image_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [site for site in sites(dense, image) if site.kind != "router"]
    parts = [network.experts if site.expert_layer else 1 for site in found]
    return tuple(
        dataclasses.replace(
            site,
            macs=site.macs // part,
            inputs=site.inputs // part,
            expert_layer=None,
            expert=None,
        )
        for site, part in zip(found, parts, strict=True)
    )


def _rows(
    what: str,
    sampler: str,
    found: Sequence[Site],
    trials: Sequence[dse.Trial],
    config: PrefixSettings,
) -> list[dict[str, object]]:
    """The mean share over what each phase scores, in its order."""
    macs = np.array([site.macs for site in found], dtype=np.float64)
    choices = [[trial.assignment.choices[s.name] for s in found] for trial in trials]
    known = list({choice for row in choices for choice in row})
    codes = np.array([[known.index(choice) for choice in row] for row in choices])
    origins = np.array([trial.origin for trial in trials])
    first = np.isin(origins, ("uniform", "screening"))
    points = np.array([trial.objectives for trial in trials])
    closes = (origins == "uniform") | _is_on_front(points)
    phases = {
        "fixed and screened": (codes, first),
        "sampler": (codes, ~first),
        "closing": (codes[closes], np.ones(closes.sum(), dtype=bool)),
    }
    return [
        {
            "search": what,
            "sampler": sampler,
            "phase": phase,
            "scored": int(counts.sum()),
            "mb_to_keep_a_trial": round(config.images * sum(s.inputs for s in found) * 4 / 1e6),
        }
        | {
            f"same_macs_pct_last_{last}": 100 * shared(scored, macs, last)[counts].mean()
            for last in config.last
        }
        for phase, (scored, counts) in phases.items()
    ]


def shared(codes: Codes, macs: npt.NDArray[np.float64], last: int) -> npt.NDArray[np.float64]:
    """Share of the work before the first difference from the most alike of the ``last`` trials.

    Args:
        codes: of each trial in order, shape ``(trials, sites)``.
        macs: work at each site, in the order of the forward pass.
        last: trials that are compared with.
    """
    before = np.concatenate([[0.0], np.cumsum(macs)]) / macs.sum()
    found = np.zeros(len(codes))
    for number in range(1, len(codes)):
        others = codes[max(0, number - last) : number]
        alike = np.cumprod(others == codes[number], axis=1).sum(axis=1)
        found[number] = before[alike.max()]
    return found


def _is_on_front(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    no_worse = (points[:, None] <= points[None]).all(axis=2)
    better = (points[:, None] < points[None]).any(axis=2)
    return np.asarray(~(no_worse & better).any(axis=0))
