"""The documentation: its snippets run, its commands are read, its site builds."""

import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dse
import models
from luts import catalog
from luts.console import Parser
from tests.models.bars import bars, trained_networks

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^    python -m (?P<module>[\w.]+)(?P<rest>.*)$", re.MULTILINE)
WITH_SNIPPETS = [page for page in PAGES if PYTHON.search(page.read_text(encoding="utf-8"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs"))


@pytest.fixture
def catalogue_of_its_own(monkeypatch):
    for kept in ("_multipliers", "_aliases", "_sets"):
        monkeypatch.setattr(catalog, kept, dict(getattr(catalog, kept)))


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=name)
def test_snippets_run_from_top_to_bottom(page, tmp_path, monkeypatch, catalogue_of_its_own):
    monkeypatch.chdir(tmp_path)
    known = {}
    if page.parent.name == "how-to":
        # What these pages say the reader has.
        data = bars()
        network = trained_networks(data)["convolutional"].eval()
        images = data.train.take(64).images
        known = dict(network=network, data=data, loader=[images], images=images)
        known |= dict(torch=torch, models=models, dse=dse)
    for number, snippet in enumerate(PYTHON.findall(page.read_text(encoding="utf-8"))):
        exec(compile(snippet, f"{name(page)}, snippet {number}", "exec"), known)


class Read(Exception):
    """The command line was understood; nothing is run."""


def commands() -> list[tuple[str, str]]:
    pages = [*PAGES, ROOT / "README.md"]
    found = [match for page in pages for match in COMMAND.finditer(page.read_text("utf-8"))]
    lines = {(m["module"], m["rest"].split("  #")[0].strip()) for m in found}
    return sorted(line for line in lines if line[0].split(".")[0] in ("dse", "luts", "models"))


@pytest.mark.parametrize(("module", "rest"), commands())
def test_commands_are_understood(module, rest, monkeypatch):
    def parse(self, *args, **kwargs):
        super(Parser, self).parse_args(*args, **kwargs)
        raise Read

    monkeypatch.setattr(Parser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", [module, *shlex.split(rest)])
    with pytest.raises(Read):
        importlib.import_module(module).main()


def test_the_site_builds_without_a_warning(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or shutil.which("git") is None:
        pytest.skip("needs mkdocs: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    front = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', front)
    assert "dse.explore" in (tmp_path / "api/dse/index.html").read_text(encoding="utf-8")


def test_pictures_are_drawn_from_committed_results(tmp_path):
    command = [sys.executable, "docs/draw.py", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    committed = {path.name: path for path in (ROOT / "docs/img").iterdir()}
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn | {"architecture.svg"} == set(committed)
    assert max(path.stat().st_size for path in committed.values()) < 150_000
    for name in drawn:
        if name.endswith(".svg"):
            texts = [
                re.findall(r"<text.*?>(.*?)</text>", path.read_text("utf-8"), re.DOTALL)
                for path in (tmp_path / name, committed[name])
            ]
            assert texts[0] == texts[1] and texts[0]


def test_the_page_of_dse_has_all_that_is_public():
    page = (ROOT / "docs/api/dse.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\w+", page.partition("members: [")[2].partition("]")[0]))
    assert listed == set(dse.__all__) - {"Codes", "TOPOLOGY_COLOURS"}
