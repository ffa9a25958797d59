"""Weights are large: those that are committed have a reader, and the page says which."""

import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY

STUDIES = REPOSITORY / "studies"
FOLDER = STUDIES / "trained_weights/results"
COMMITTED = sorted(FOLDER.glob("*.safetensors"))
ANY = {
    "arch": "",
    "dataset": "",
    "topologies": ["dense", "hard", "soft", "cluster"],
    "seeds": [0, 1, 2],
}


def read_by(table: Any, around: dict[str, Any] = ANY) -> Iterator[str]:
    """Names of the weights that a table and those below it ask for."""
    if isinstance(table, list):
        for each in table:
            yield from read_by(each, around)
    if not isinstance(table, dict):
        return
    mine = around | {name: table[name] for name in ANY if name in table}
    for each in table.values():
        yield from read_by(each, mine)
    template = table.get("weights", "")
    if "trained_weights" in template:
        for topology, seed in itertools.product(mine["topologies"], mine["seeds"]):
            names = {name: mine[name] for name in ("arch", "dataset")}
            names |= {"topology": topology, "seed": seed}
            yield Path(template.format(**names)).name


def test_a_study_reads_each_of_them():
    configs = [path.read_text(encoding="utf-8") for path in STUDIES.glob("*/config.toml")]
    read = {name for text in configs for name in read_by(tomllib.loads(text))}
    assert COMMITTED
    assert {path.name for path in COMMITTED} <= read
    assert "resnet20-cifar100-cluster-3.safetensors" not in read


def test_the_page_names_each_with_the_size_of_all():
    page = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| ([\d.]+) MB \|", page, re.MULTILINE)
    size = sum(path.stat().st_size for path in COMMITTED)
    assert abs(sum(float(megabytes) for _, megabytes in rows) - size / 1e6) < 0.3
    listed = {name for names, _ in rows for name in re.findall(r"`(.*?)`", names)}
    assert {path.stem.rpartition("-")[0] for path in COMMITTED} == listed
