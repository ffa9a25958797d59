"""The searches of all topologies of one architecture, as one front."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.table import Table

from dse.problem import non_dominated
from dse.results._compare import Finished, draw, points_of
from dse.results._page import draw_html
from dse.results._run_folder import Run
from dse.results._stored_run import read_closing
from energy import run_files, write_table
from models.training import atomically


def joint_front(runs: Sequence[Finished]) -> pd.DataFrame:
    """The trials that no trial of any run dominates, by rising energy.

    Energy is relative to the dense network with the exact multiplier in every topology, so that
    the runs of one architecture share the axis.

    Returns:
        The columns of ``trials.csv`` after one named ``run``.
    """
    tables = [run.trials.assign(run=run.name) for run in runs]
    frame = pd.concat(tables, ignore_index=True)
    chosen = frame.iloc[non_dominated(np.concatenate([points_of(run) for run in runs]))]
    chosen = chosen[["run", *[c for c in chosen.columns if c not in ("run", run_files.ON_FRONT)]]]
    return chosen.sort_values(run_files.ENERGY, kind="stable", ignore_index=True)


def write_together(folder: Run, runs: Sequence[Finished]) -> None:
    """Write the joint front and its pictures into the folder that holds the runs."""
    write_table(folder.path / run_files.FRONT, joint_front(runs))
    with atomically(folder.path / run_files.FRONT_PICTURE) as temporary:
        draw(temporary, runs)
    with atomically(folder.path / run_files.FRONT_PAGE) as temporary:
        draw_html(temporary, [(read_closing(run.folder), run.folder.config) for run in runs])


def together_table(runs: Sequence[Finished]) -> Table:
    """What each topology has of the joint front, for a terminal."""
    front = joint_front(runs)
    table = Table(title="All topologies together", title_justify="left")
    table.add_column("run", no_wrap=True)
    for title in ("trials", "of the joint front", "energy from", "to", "best test %"):
        table.add_column(title, justify="right")
    for run in runs:
        part = front[front["run"] == run.name]
        ends = (part[run_files.ENERGY].min(), part[run_files.ENERGY].max())
        best = run.trials.loc[run.trials[run_files.REPORTED], run_files.TEST_ACCURACY].max()
        table.add_row(
            run.name,
            str(len(run.trials)),
            str(len(part)),
            *(f"{end:.4f}" if len(part) else "" for end in ends),
            f"{best:.2f}",
        )
    return table
