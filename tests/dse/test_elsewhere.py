"""A run is used from another folder, and a study from another machine."""

import functools
from pathlib import Path

import pytest

from dse import Run, SearchConfig, export, search
from dse.study import is_same, located
from energy import report
from luts import InputError
from tests.dse._searching import MULTIPLIERS, TINY, call, one_cache  # noqa: F401

command = functools.partial(call, search)


def test_a_run_goes_on_from_another_folder(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    source = Path(TINY.rpartition(":")[0])
    (here / "net.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(here)
    words = ("--dataset", "digits", "--topology", "hard", "--train-epochs", 1, "--quiet")
    rest = (*MULTIPLIERS, "--finetune", "none", "--trials", 4, "--out", "run")
    assert command("--arch", "net.py:tiny", *words, *rest) == 0
    monkeypatch.chdir(there)
    assert command("--resume", here / "run", "--trials", 5, "--quiet") == 0
    assert call(export, here / "run", "--trial", 2, "--out", "made", "--no-onnx", "--quiet") == 0
    assert call(report, "--run", here / "run") == 0
    monkeypatch.chdir(here)
    assert command("--resume", "run", "--arch", "net.py:tiny", "--trials", 6, "--quiet") == 0
    assert list(there.iterdir()) == [there / "made"]


def test_paths_in_settings_are_absolute_and_names_are_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {
        "arch": "a/net.py:tiny",
        "dataset": "imagefolder:images",
        "data_root": "archives",
        "weights": "w.pt",
        "trials": 3,
    }
    assert located(given) == {
        "arch": f"{tmp_path}/a/net.py:tiny",
        "dataset": f"imagefolder:{tmp_path}/images",
        "data_root": f"{tmp_path}/archives",
        "weights": f"{tmp_path}/w.pt",
        "trials": 3,
    }
    names = {"arch": "timm:vit_tiny", "dataset": "cifar10", "weights": "https://x/w.pt"}
    assert located(names) == names
    assert located({"data_root": "", "weights": ""}) == {"data_root": "", "weights": ""}


PATHS = {
    "arch": "nets.py:tiny",
    "dataset": "imagefolder:images",
    "data_root": "archives",
    "weights": "w.pt",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text("def tiny(num_classes): ...\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_run_keeps_absolute_paths(here):
    run = Run.create(SearchConfig(**PATHS, topology="dense"), Path("run"))
    for config in (run.config, Run.open(run.path).config):
        assert {name: getattr(config, name) for name in PATHS} == located(PATHS)


def test_a_run_with_relative_paths_is_still_given_the_same(here):
    # As earlier versions kept them.
    run = Run(here / "run", SearchConfig(**PATHS, topology="dense"))
    run.check_settings(PATHS)
    run.check_settings(located(PATHS))
    Run(run.path, SearchConfig(**located(PATHS), topology="dense")).check_settings(PATHS)
    for name, value in PATHS.items():
        with pytest.raises(InputError, match="differs from the run's own"):
            run.check_settings({name: f"{value}x"})


def test_machines_may_have_the_same_network_in_other_folders():
    assert is_same("arch", "/home/a/net.py:tiny", "net.py:tiny")
    assert is_same("dataset", "imagefolder:/a/images", "imagefolder:/b/images")
    assert not is_same("arch", "/home/a/net.py:tiny", "/home/a/net.py:small")
    assert not is_same("arch", "/home/a/net.py:tiny", "/home/a/other.py:tiny")
    assert not is_same("dataset", "imagefolder:/a/images", "imagefolder:/a/others")
    assert is_same("expert_blocks", [1, 2], (1, 2))
