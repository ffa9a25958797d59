"""A search that is killed five times, and that the look at its files finds what is wrong."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from luts.console import SILENT
from studies.long_runs import _growth, _kills
from studies.long_runs._evidence import CACHE, EXPORTS, MANIFEST, RUN, Evidence, look
from studies.long_runs._kills import EXPORT, MARKS, WRITING, Killed, KillSettings, measure

ONE_EACH = dict.fromkeys((*MARKS, EXPORT, WRITING), 1) | {EXPORT: 0}
SETTINGS = KillSettings(
    multipliers="mul8s_1KV8,mul8s_1L1G,mul8s_1KTY",
    trials=20,
    train_epochs=4,
    finetune_epochs=0.2,
    seed=1,
    **ONE_EACH,
)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders of the run that is left alone and of the one that is killed, and what came of it."""
    folder = tmp_path_factory.mktemp("kills")
    return folder, measure(SETTINGS, folder, SILENT)


def test_five_kills_lose_nothing_and_double_nothing(killed):
    folder, found = killed
    assert found.faults == ()
    assert len(found.log) == 5
    phases = [*MARKS, EXPORT, WRITING]
    reached = [phases.index(phase) for phase in found.log["phase"]]
    # Moments are drawn from how long phases lasted for the other run: one may come late.
    assert reached == sorted(reached) and reached[-1] == phases.index(WRITING)
    assert {"search", "closing"} & set(found.log["phase"])
    assert found.log["resumed"].all()
    alone, other = (
        pd.read_csv(folder / name / RUN / "trials.csv").drop(columns="seconds")
        for name in ("alone", "killed")
    )
    pd.testing.assert_frame_equal(alone, other)
    assert list(other["trial"]) == list(range(SETTINGS.trials))
    assert other["assignment_sha256"].is_unique
    left = [file.name for file in (folder / "killed").rglob(".*")]
    assert left == [".lock"]


def test_what_is_lost_or_doubled_is_found(killed):
    folder, _ = killed
    whole = look(folder / "killed")
    assert len(whole.trials) == SETTINGS.trials and whole.doubled == 0 and not whole.broken
    trials = dict(whole.trials)
    gone = dataclasses.replace(whole, trials={n: t for n, t in trials.items() if n != 3})
    assert gone.lost_since(whole) == 1 and whole.lost_since(gone) == 0
    other = dataclasses.replace(trials[3], energy_rel=0.123)
    assert dataclasses.replace(whole, trials={**trials, 3: other}).lost_since(whole) == 1
    twice = dataclasses.replace(trials[3], assignment=trials[4].assignment)
    assert dataclasses.replace(whole, trials={**trials, 3: twice}).doubled == 1
    assert dataclasses.replace(whole, closings={}).lost_since(whole) == len(whole.closings) > 0
    assert Evidence().lost_since(Evidence()) == 0


@pytest.mark.parametrize(
    "name",
    [
        f"{RUN}/{file}"
        for file in ("study.db", "config.toml", "operands.npz", "trials.csv", "front.png",
                     "front.html", "routing.json")
    ],
)  # fmt: skip
def test_half_a_file_is_found(killed, tmp_path, name):
    folder, _ = killed
    world = shutil.copytree(folder / "killed", tmp_path / "world")
    content = (world / name).read_bytes()
    (world / name).write_bytes(content[: len(content) // 2 - 1])
    found = look(world)
    assert found.broken == (name,)
    assert (found.trials == {}) == name.endswith(".db")


def test_half_written_weights_and_exports_are_found(killed, tmp_path):
    folder, _ = killed
    world = shutil.copytree(folder / "killed", tmp_path / "world")
    (world / CACHE / "weights" / ".x.safetensors.abcdefgh.part").write_bytes(b"half")
    assert look(world).half_written == (f"{CACHE}/weights/.x.safetensors.abcdefgh.part",)
    weights = next((world / CACHE / "weights").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-10])
    export = next((world / EXPORTS).glob(f"*/{MANIFEST}")).parent
    record = json.loads((export / MANIFEST).read_bytes())
    (export / next(iter(record["files"]))).unlink()
    assert set(look(world).broken) == {
        str(weights.relative_to(world)),
        str(export.relative_to(world)),
    }
    (export / MANIFEST).unlink()
    assert str(export.relative_to(world)) in look(world).broken


def test_a_search_that_ended_otherwise_is_a_fault(killed):
    folder, found = killed
    alone, other = (_kills._World(folder / name, SETTINGS) for name in ("alone", "killed"))
    assert _kills._differences(alone, other) == []
    table = folder / "killed" / RUN / "trials.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("guided", "random"), encoding="utf-8")
    try:
        assert _kills._differences(alone, other) == ["another trials.csv"]
    finally:
        table.write_text(text, encoding="utf-8")
    log = found.log.assign(lost=np.arange(5) // 4, resumed=[True] * 4 + [False])
    assert Killed(log, ("another export",)).faults == ("1 lost", "1 not resumed", "another export")


def test_memory_and_open_files_are_measured_as_a_search_goes_on(tmp_path):
    settings = _growth.MemorySettings(
        multipliers="mul8s_1KV8,mul8s_1L1G", trials=31, every=10, sampler="random"
    )
    found = _growth.measure(settings, tmp_path, SILENT)
    assert list(found["trials"] // 10) == [1, 2, 3][: len(found)] and len(found) > 1
    assert found["handles"].nunique() == 1 and found["handles"].iloc[0] > 3
    assert (found["rss_mb"] > 50).all() and found["seconds"].is_monotonic_increasing


def test_growth_is_found():
    steady = {"trials": [200, 400, 600], "rss_mb": [300.0, 345.0, 329.0], "handles": [9, 9, 9]}
    assert _growth.growth(pd.DataFrame(steady)) == ()
    (fault,) = _growth.growth(pd.DataFrame({**steady, "rss_mb": [300.0, 310.0, 331.0]}))
    assert fault == "memory grew to 1.10 of what it was"
    (fault,) = _growth.growth(pd.DataFrame({**steady, "handles": [9, 10, 11]}))
    assert fault == "9 to 11 open files"
