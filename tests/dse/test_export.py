"""``python -m dse.export``: what it writes, that the test bench passes, and what it refuses."""

import hashlib
import json
import shutil
import subprocess

import numpy as np
import pytest
import torch
from torch import nn

import dse
import luts
from dse import export, search
from luts import InputError
from models import Assignment
from models.training._files import CACHE_VARIABLE
from tests.dse._searching import FAST, call, only_line, state_of
from tests.models._onnxruntime import outputs

needs_iverilog = pytest.mark.skipif(
    not shutil.which("iverilog"), reason="no iverilog on the PATH: test benches are not run here"
)
TRIAL = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A searched network with experts."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        assert call(search, *FAST, "--trials", 8, "--out", folder / "run") == 0
        yield folder / "run"


@pytest.fixture(scope="module")
def exported(run):
    out = run.parent / "exported"
    assert call(export, run, "--trial", TRIAL, "--out", out, "--quiet", "--hex") == 0
    return out


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def simulate(folder):
    build = ("iverilog", "-g2012", "-s", "testbench", "-o", "bench.vvp")
    sources = sorted(str(file) for file in (folder / "rtl").iterdir())
    done = subprocess.run([*build, *sources], cwd=folder, capture_output=True, check=True)
    assert done.stderr == b""
    done = subprocess.run(
        ["vvp", "-n", "bench.vvp"], cwd=folder, capture_output=True, text=True, check=True
    )
    (folder / "bench.vvp").unlink()
    return done.stdout


# --- what it writes ----------------------------------------------------------------------------


def test_the_manifest_names_every_file_with_its_digest(exported):
    manifest = manifest_of(exported)
    files = {
        file.relative_to(exported).as_posix(): file.read_bytes()
        for file in exported.rglob("*")
        if file.is_file()
    }
    del files["manifest.json"]
    assert {name: record["sha256"] for name, record in manifest["files"].items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert all(record["bytes"] == len(files[name]) for name, record in manifest["files"].items())
    assert manifest["trial"]["number"] == TRIAL
    named = [site[key] for site in manifest["sites"] for key in ("parameters", "vectors")
             if key in site]  # fmt: skip
    assert set(named) <= set(files)


def test_the_assignment_and_the_sites_are_the_trials(run, exported):
    result = dse.read_run(run)
    assignment = Assignment.read(exported / "assignment.json")
    assert assignment == result.assignment(TRIAL)
    network = result.emulated(TRIAL)
    for site in manifest_of(exported)["sites"]:
        choice = assignment.choices[site["name"]]
        assert site["circuit"] == choice.multiplier
        assert site["operand_order"] == ("swapped" if choice.swapped else "normal")
        layer = network.layer(site["name"])
        arrays = np.load(exported / site["parameters"])
        assert np.array_equal(arrays["input_scale"], layer.x_scale.numpy())
        if "weight_codes" in arrays:
            codes, scale = layer.weight_codes()
            fed = layer.arithmetic.fed_codes[1].view(np.int8)
            assert np.array_equal(arrays["weight_codes"], fed[codes.numpy().view(np.uint8)])
            assert np.array_equal(arrays["weight_scale"], scale.numpy())
            assert np.array_equal(arrays["correction"], layer.correction.numpy())


def test_vectors_are_of_each_kind_and_of_each_expert(exported):
    sites = manifest_of(exported)["sites"]
    layer = next(site["expert_layer"] for site in sites if site["expert"] is not None)
    offered = {
        (site["kind"], site["expert"]) for site in sites
        if site["expert"] is None or site["expert_layer"] == layer
    }  # fmt: skip
    found = [(site["kind"], site["expert"]) for site in sites if "vectors" in site]
    assert set(found) == offered and len(found) == len(offered)


def test_text_files_hold_the_same_bits(exported):
    site = next(site for site in manifest_of(exported)["sites"] if "vectors" in site)
    for archive in (site["parameters"], site["vectors"]):
        for name, array in np.load(exported / archive).items():
            file = exported / archive.replace(".npz", f".{name}.hex")
            if array.dtype == np.int64:
                assert not file.exists()
                continue
            words = [int(line, 16) for line in file.read_text(encoding="utf-8").split()]
            read = np.array(words, dtype=f"u{array.dtype.itemsize}").view(array.dtype)
            assert np.array_equal(read, array.ravel())


@needs_iverilog
def test_the_test_bench_passes(exported):
    checked = manifest_of(exported)["checked_by_testbench"]
    assert f"accumulators of {len(checked)} sites are right" in simulate(exported)


@needs_iverilog
def test_chosen_sites_of_a_trial_with_rounded_operands_and_swapped_order(run, tmp_path):
    result = dse.read_run(run)
    for trial in result.trials:
        choices = trial.assignment.choices.values()
        if any(c.swapped for c in choices) and any(c.rounded for c in choices):
            break
    else:
        pytest.fail("no trial has both")
    out = tmp_path / "out"
    options = {"site": ("*",), "positions": 2, "channels": 2, "onnx": False}
    made = result.export(trial, out, **options)
    manifest = manifest_of(out)
    assert made.sites == made.checked == tuple(site["name"] for site in manifest["sites"])
    assert "PASSED" in simulate(out)


def test_the_same_export_twice_is_the_same(run, exported, tmp_path):
    result = dse.read_run(run)
    result.export(TRIAL, tmp_path / "again", hex=True, onnx=False)
    first, again = (manifest_of(folder)["files"] for folder in (exported, tmp_path / "again"))
    first.pop("reference.onnx", None)
    first.pop("README.md"), again.pop("README.md")
    assert first == again


def test_experts_can_be_chosen(run, tmp_path):
    options = {"experts": (1,), "onnx": False}
    dse.read_run(run).export(TRIAL, tmp_path / "out", **options)
    sites = manifest_of(tmp_path / "out")["sites"]
    assert {site["expert"] for site in sites if "vectors" in site} == {None, 1}


def test_the_reference_is_the_exact_network(run, exported):
    onnxruntime = pytest.importorskip("onnxruntime", reason="no onnxruntime to run the reference")
    record = manifest_of(exported)["reference"]
    if record is None:
        pytest.skip(f"no reference was written: {manifest_of(exported)['left_out']}")
    result = dse.read_run(run)
    result.emulated(TRIAL)
    evaluator = result._evaluator
    images = evaluator.data.validation.take(128).images
    found = outputs(onnxruntime, exported / record["file"], images)
    with torch.no_grad():
        expected = evaluator.emulated(images).numpy()
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.98


# --- circuits without Verilog ------------------------------------------------------------------


@needs_iverilog
def test_a_circuit_without_verilog_is_said_and_the_rest_exported(tmp_path, monkeypatch):
    values = luts.catalog["mul8s_1KV8"].truth_table
    figures = {"power_mw": 0.01, "area_um2": 1.0, "delay_ns": 1.0}
    table = values // 3 * 2 + 1
    odd = luts.Multiplier("my <b>&\n table", table, source="by hand", **figures)
    known = luts.evoapprox_catalog()
    monkeypatch.setattr(luts.catalog, "_multipliers", dict(known._multipliers))
    luts.catalog.add(odd)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3))
    data = [(torch.rand(40, 1, 3, 3), torch.arange(40) % 3) for _ in range(3)]
    settings = {"trials": 6, "finetune": "none", "quiet": True, "sampler": "random"}
    names = f"mul8s_1KV8,{odd.name}"
    result = dse.explore(network, data, multipliers=names, **settings)
    trial = next(
        trial for trial in result.trials
        if len({choice.multiplier for choice in trial.assignment.choices.values()}) == 2
    )  # fmt: skip
    made = result.export(trial, tmp_path / "out", onnx=False, site=("*",))
    (note,) = made.notes
    assert "has no Verilog" in note
    with_it = [n for n, c in trial.assignment.choices.items() if c.multiplier == odd.name]
    assert set(made.sites) - set(made.checked) == set(with_it)
    circuits = {c["name"]: c["verilog"] for c in manifest_of(tmp_path / "out")["circuits"]}
    assert circuits == {"mul8s_1KV8": "rtl/mul8s_array_a0b0d0.v", odd.name: None}
    assert "PASSED" in simulate(tmp_path / "out")


# --- bad input ---------------------------------------------------------------------------------


def refusal(capsys, *words):
    assert call(export, *words) == 2
    return only_line(capsys.readouterr().err)


def test_what_is_not_there_is_refused(run, tmp_path, capsys):
    before = state_of(run)
    out = tmp_path / "out"
    rest = ("--trial", TRIAL, "--out", out)
    assert "is not a run" in refusal(capsys, tmp_path / "none", *rest)
    assert "no scored trial 99" in refusal(capsys, run, "--trial", 99, "--out", out)
    assert "'blocks.7*' matches no site" in refusal(capsys, run, *rest, "--site", "blocks.7*")
    assert "no expert 9" in refusal(capsys, run, *rest, "--experts", "0,9")
    assert "images is a whole number from 1 up" in refusal(capsys, run, *rest, "--images", 0)
    assert not out.exists() and not list(tmp_path.iterdir())
    assert state_of(run) == before


def test_a_folder_with_something_in_it_is_not_touched(run, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    rest = ("--trial", TRIAL, "--out")
    assert "is not empty" in refusal(capsys, run, *rest, tmp_path)
    assert "is a file" in refusal(capsys, run, *rest, tmp_path / "mine.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "new").mkdir()
    assert call(export, run, *rest, tmp_path / "new", "--quiet", "--no-onnx") == 0
    assert (tmp_path / "new" / "manifest.json").exists()


def test_a_run_that_was_edited_or_is_incomplete_is_refused(copy, tmp_path, capsys):
    rest = (copy, "--trial", TRIAL, "--out", tmp_path / "out")
    config = copy / "config.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("seed = 0", "seed = 1"), encoding="utf-8")
    assert "says seed 1 and the study 0: the file was edited" in refusal(capsys, *rest)
    config.write_text(text.replace("train_epochs = 2.0", "train_epochs = 1.0"), encoding="utf-8")
    assert "were changed" in refusal(capsys, *rest)
    config.write_text(text, encoding="utf-8")
    members = sorted((copy / "assignments").iterdir())
    member, other = members[0], members[-1]
    member.write_bytes(other.read_bytes())
    words = (copy, "--trial", int(member.stem), "--out", tmp_path / "out")
    assert "it was edited" in refusal(capsys, *words)
    (copy / "study.db").unlink()
    assert "is not in" in refusal(capsys, *rest)
    assert not (tmp_path / "out").exists()


def test_settings_are_checked_in_python_too(run, tmp_path):
    result = dse.read_run(run)
    with pytest.raises(InputError, match="no setting 'sites'"):
        result.export(TRIAL, tmp_path / "out", sites=("*",))
    with pytest.raises(InputError, match="no scored trial 77"):
        result.export(77, tmp_path / "out")
