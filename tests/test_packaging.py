"""What is installed: every file that the packages read, and one version everywhere."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
READ = {".csv", ".v", ".html", ".css", ".js", ".toml", ".typed"}
"""Extensions of what the packages read beside Python."""
PACKAGES = ("luts", "models", "energy", "dse", "studies")


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_reads_is_installed_with_it(package):
    folder = ROOT / package
    read = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in READ
        and not {"results", "searched"} & set(path.relative_to(folder).parts[:-1][1:])
    }
    patterns = PROJECT["tool"]["setuptools"]["package-data"][package]
    installed = {
        path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern)
    }
    assert "py.typed" in read
    assert read <= installed, f"add to package-data: {sorted(read - installed)}"


def test_there_is_one_version():
    version = PROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE).group(1) == version
    assert re.search(r"^## (\d\S*)", changes, re.MULTILINE).group(1) == version
