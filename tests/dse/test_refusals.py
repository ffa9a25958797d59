"""What cannot be searched is refused in one line, before any work, and nothing is altered."""

import dataclasses
import json
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

import dse
from dse import _steps, search
from dse.results import Run
from dse.study import SCORING
from luts import InputError
from luts.console import SILENT
from models import FineTuning, Recovery, TrainingRecipe
from models.training._files import CACHE_VARIABLE
from tests.dse._searching import FAST, TINY, call, only_line, state_of

HARD = (*FAST, "--topology", "hard")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with experts."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        assert call(search, *HARD, "--trials", 4, "--out", folder / "run") == 0
    return folder / "run"


LOAD = _steps.load


def recipe_of(free):
    """A recipe with the default's fine-tuning."""
    training = TrainingRecipe(epochs=1.0, batch_size=64, lr=1e-4)
    return dataclasses.replace(free, fine_tuning=FineTuning(training))


@pytest.fixture(autouse=True)
def no_work(finished, monkeypatch):
    """Nothing is loaded or trained."""

    def work(*words):
        raise AssertionError("the search went to work")

    monkeypatch.setattr(_steps, "load", work)


@pytest.fixture
def refused(tmp_path, capsys):
    """Call the search; the value is the line that it says."""

    def call_it(*words):
        out = () if "--resume" in words else ("--out", tmp_path / "never")
        assert call(search, *words, *out) == 2
        assert not (tmp_path / "never").exists()
        captured = capsys.readouterr()
        assert captured.out == ""
        return only_line(captured.err)

    return call_it


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--exact", "blocks.9.*"), r"--exact 'blocks.9.\*' matches no site; sites are named like"),
        (("--exact", "*"), "nothing to search: no site is free"),
        (("--objective", "accuracy", "--max-energy", 0.05), "energy of at most 0.05"),
        (
            ("--max-distinct", 1, "--objective", "accuracy", "--max-energy", 0.5),
            "energy of at most 0.5",
        ),
        (
            ("--exact", "*mlp*", "--objective", "accuracy", "--max-energy", 0.3),
            "energy of at most 0.3",
        ),
        (("--max-distinct", 1), "at most one assignment meets --max-distinct 1, so"),
        (
            ("--max-distinct", 1, "--multipliers", "mul8s_1L1G,mul8s_1KTY"),
            "at most one assignment meets --max-distinct 1, so",
        ),
        (("--max-distinct", 0), "max_distinct is a whole number from 1 up, not 0"),
        (("--only", "mul8s_1KV8"), "leaves 1 of the multipliers"),
        (("--objective", "energy"), "--max-drop belong together"),
        (("--objective", "accuracy"), "--max-energy belong together"),
        (("--storage", "sqlite:///x.db"), "--storage and --study belong together"),
    ],
)
def test_constraints_that_nothing_meets(words, message, refused):
    assert re.search(message, refused(*HARD, *words))


def test_patterns_are_held_against_every_topology(refused):
    words = (*FAST, "--topology", "all", "--exact", "*experts*")
    assert "matches no site" in refused(*words)  # of the dense network


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://somebody:secret@127.0.0.1:1/x", "cannot reach the database|needs a driver"),
        ("server", "is not a database URL"),
        ("birds://somebody:secret@127.0.0.1/x", "needs a driver"),
        ("postgresql://somebody:secret@127.0.0.1:many/x", "is not a database URL"),
    ],
)
def test_a_storage_that_is_not_there(url, message, refused):
    line = refused(*HARD, "--storage", url, "--study", "mine")
    assert re.search(message, line)
    assert "secret" not in line


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (("birds (name TEXT)",), r"tables of another program \(birds\)"),
        (("studies (patient TEXT)", "visits (day TEXT)"), "another schema, without the table"),
    ],
)
def test_a_database_with_another_schema(tables, message, refused, tmp_path, finished):
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as other:
        for table in tables:
            other.execute(f"CREATE TABLE {table}")
    other.close()
    before = file.read_bytes()
    assert re.search(message, refused(*HARD, "--storage", f"sqlite:///{file}", "--study", "x"))
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.copy(file, run / "study.db")
    kept = state_of(run)
    assert re.search(message, refused("--resume", run, "--trials", 9))
    assert file.read_bytes() == before
    assert state_of(run) == kept


def test_a_database_of_another_version(refused, tmp_path, finished):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    with sqlite3.connect(run / "study.db") as other:
        other.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    other.close()
    kept = state_of(run)
    assert "is not the database of a search" in refused("--resume", run)
    assert state_of(run) == kept


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--topology", "cluster"), "over other sites or multipliers|with topology 'hard'"),
        (("--arch", "resnet20"), "over other sites or multipliers|with arch"),
        (("--dataset", "cifar10"), "with dataset 'digits' and not 'cifar10'"),
        (("--multipliers", "paper"), "over other sites or multipliers"),
        (("--only", "mul8s_1KV8,mul8s_1L1G"), "over other sites or multipliers"),
        (("--tie", "block"), "over other sites or multipliers"),
        (("--exact", "head"), "over other sites or multipliers"),
        (("--energy-model", "memory"), "with energy_model 'multipliers' and not 'memory'"),
        (("--seed", 5), "with seed 0 and not 5"),
        (("--finetune", "every"), "with finetune 'none' and not 'every'"),
        (("--finetune", "front"), "with finetune 'none' and not 'front'"),
        (("--rung-images", 50), "with rung_images 1000 and not 50"),
        (("--max-distinct", 2), "with max_distinct None and not 2"),
        (("--objective", "accuracy", "--max-energy", 0.9), "with objective 'pareto'"),
        (("--objective", "energy", "--max-drop", 1), "with objective 'pareto'"),
    ],
)
def test_a_study_of_another_search(words, message, refused, tmp_path, finished):
    file = tmp_path / "shared.db"
    shutil.copy(finished / "study.db", file)
    before = file.read_bytes()
    where = ("--storage", f"sqlite:///{file}", "--study", "search")
    line = refused(*HARD, *where, *words)
    assert re.search(message, line)
    assert "name another study" in line
    assert file.read_bytes() == before


def test_a_study_of_an_earlier_version_tells_less(tmp_path, finished):
    file = tmp_path / "shared.db"
    shutil.copy(finished / "study.db", file)
    with sqlite3.connect(file) as older:
        key = "key = 'identity'"
        (text,) = older.execute(f"SELECT value_json FROM study_user_attributes WHERE {key}")
        identity = {k: v for k, v in json.loads(*text).items() if k not in SCORING}
        update = f"UPDATE study_user_attributes SET value_json = ? WHERE {key}"
        older.execute(update, (json.dumps(identity),))
    older.close()
    where = ("--storage", f"sqlite:///{file}", "--study", "search", "--out", tmp_path / "run")
    with pytest.raises(AssertionError, match="went to work"):
        call(search, *HARD, *where)


def test_a_study_of_another_recovery_is_not_continued(tmp_path, finished, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    monkeypatch.setattr(_steps, "load", LOAD)
    plain = Recovery(recalibrate=False, correct_bias=True)
    monkeypatch.setattr("dse.scoring._evaluate.default_recovery", lambda *_, **__: recipe_of(plain))
    before = (run / "study.db").read_bytes()
    assert call(search, "--resume", run, "--trials", 6) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "candidates were recovered by" in line
    assert "tune_weights=squared" in line
    assert "tune_weights=none" in line
    assert "name another study" in line
    assert (run / "study.db").read_bytes() == before


def test_a_run_with_the_study_of_another(refused, tmp_path, finished):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    text = (run / "config.toml").read_text()
    assert 'dataset = "digits"' in text
    (run / "config.toml").write_text(text.replace('dataset = "digits"', 'dataset = "cifar10"'))
    kept = state_of(run)
    assert "with dataset 'digits' and not 'cifar10'" in refused("--resume", run, "--trials", 9)
    assert state_of(run) == kept


def test_a_run_that_another_process_searches(tmp_path, refused, finished):
    """A lock ends with the process that holds it, so this one runs until it is told to end."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    held = (
        "import sys; from pathlib import Path; from dse.results import Run\n"
        "with Run.open(Path(sys.argv[1])).held(): print('held', flush=True); sys.stdin.read()"
    )
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", held, run], **piped) as other:
        assert other.stdout.readline() == b"held\n"
        kept = state_of(run)
        line = refused("--resume", run, "--trials", 9)
        assert f"is being searched by process {other.pid} on " in line
        with pytest.raises(InputError, match="is being searched by"):
            dse.explore_run(Run.open(run), SILENT)
        assert state_of(run) == kept
        other.kill()
    with Run.open(run).held():  # free again
        pass


def test_a_study_of_another_program(refused, tmp_path):
    import optuna

    file = tmp_path / "shared.db"
    optuna.create_study(storage=f"sqlite:///{file}", study_name="mine")
    before = file.read_bytes()
    line = refused(*HARD, "--storage", f"sqlite:///{file}", "--study", "mine")
    assert "made by something else than this program" in line
    assert file.read_bytes() == before


def test_what_can_be_searched_is_not_refused(tmp_path):
    with pytest.raises(AssertionError, match="went to work"):
        call(search, *HARD, "--exact", "*mlp*", "--max-distinct", 2, "--out", tmp_path / "run")
    assert TINY in (tmp_path / "run/config.toml").read_text()
