"""The notebooks run from top to bottom, and show nothing of the machine they were made on."""

import os
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import dse
from tests.conftest import REPOSITORY

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = REPOSITORY / "studies/notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w.:/<])/(?:home|root|tmp|work|Users|usr|opt|mnt|var)/|[A-Z]:\\\\")


def read(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_there_are_three():
    assert NOTEBOOKS == ["own_multiplier", "own_network", "pareto_front"]


@pytest.mark.parametrize("name", NOTEBOOKS)
@pytest.mark.filterwarnings("default")  # of the kernel's transport, which is not ours
def test_it_runs(name, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = read(name)
    before = listing()
    place = {"metadata": {"path": str(REPOSITORY)}}
    nbclient.NotebookClient(notebook, timeout=250, resources=place).execute()
    assert pictures(notebook) == pictures(read(name))
    assert listing() == before
    figure = re.search(r'FIGURES / "([\w-]+\.pdf)"', notebook.cells[-1].source)
    assert (REPOSITORY / "build/figures" / figure[1]).read_bytes().startswith(b"%PDF")


def listing() -> list[Path]:
    """What lies beside the notebooks, which they only read."""
    return sorted(path for path in FOLDER.rglob("*") if ".ipynb_checkpoints" not in path.parts)


def pictures(notebook) -> int:
    return sum("image/png" in data for data in outputs(notebook))


def outputs(notebook) -> list[dict]:
    return [
        output.get("data", {}) | {"text": output.get("text", "")}
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]


PRIVATE = re.compile(r"\b(?:luts|models|energy|dse|studies)(?:\.\w+)*\._|\._[a-z]\w*\(|import _")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_uses_what_is_public_and_ends_with_a_figure_to_print(name):
    code = [cell.source for cell in read(name).cells if cell.cell_type == "code"]
    assert not any(PRIVATE.search(source) for source in code)
    assert 'style.context("dse.paper")' in code[-1]
    assert re.search(r'savefig\(FIGURES / "[\w-]+\.pdf"\)', code[-1])
    assert any("fixed" in source for source in code) and any("search" in s for s in code)


def test_a_figure_to_print_is_a_column_wide_and_legible():
    with plt.style.context("dse.paper"):
        width, height = plt.rcParams["figure.figsize"]
        assert width == 3.5 and height < 3
        sizes = [plt.rcParams[f"{part}.labelsize"] for part in ("axes", "xtick", "ytick")]
        assert min(*sizes, plt.rcParams["legend.fontsize"]) >= 7
        assert plt.rcParams["pdf.fonttype"] == 42
        colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert {each.lstrip("#") for each in dse.TOPOLOGY_COLOURS.values()} <= {
        each.lstrip("#") for each in colours
    }


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_committed_with_its_outputs_and_nothing_of_a_machine(name):
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1)), "run it from top to bottom before committing"
    assert pictures(notebook) >= 1
    for data in outputs(notebook):
        for kind, text in data.items():
            if kind != "image/png":
                assert not ABSOLUTE.search(str(text)), (kind, text)
    names = [o.get("name") for cell in code for o in cell.outputs if o.output_type == "stream"]
    assert set(names) <= {"stdout"}
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
