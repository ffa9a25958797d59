"""The main job end to end, on a base network trained for a moment."""

import csv
import datetime
import functools

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import save_file

from dse import search
from dse.results import Run
from models import TOPOLOGIES, Assignment, NetworkConfig, Routing, build, evaluate, load_data
from tests.dse._searching import TINY, call, one_cache, only_line  # noqa: F401

OF_DIGITS = ("--dataset", "digits", "--train-epochs", "0.5")
CIRCUITS = (*OF_DIGITS, "--multipliers", "mul8s_1KV8,mul8s_1L1G,mul8s_1KTY")
SMALL = (*CIRCUITS, "--arch", TINY, "--topology", "hard")
DENSE = (*SMALL, "--topology", "dense")
VIT = (*CIRCUITS, "--topology", "dense", "--patch-size", "32")


command = functools.partial(call, search)
"""Exit status of ``python -m dse.search`` with some arguments."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search with five fixed and three other trials, without fine-tuning."""
    # A name that a URL, a template, a formula and a table's markup would each take for theirs.
    path = tmp_path_factory.mktemp("runs") / "a[/x] 5%20 {b} $c$ [red]?s=1#"
    assert command(*SMALL, "--trials", 7, "--finetune", "none", "--out", path, "--quiet") == 0
    return path


def test_the_run_folder_holds_everything(finished):
    names = {p.name for p in finished.iterdir()}
    assert names >= {
        "front.png",
        "front.html",
        "front.csv",
        "trials.csv",
        "study.db",
        "config.toml",
        "routing.json",
        "operands.npz",
        "assignments",
    }
    trials = pd.read_csv(finished / "trials.csv")
    assert len(trials) == 7
    # 1KV8 and 1L1G commute; 1KTY has two operand orders
    assert trials["origin"].tolist()[:4] == ["uniform"] * 4
    assert "screening" in set(trials["origin"])
    assert set(trials["fidelity"]) == {"bias-corrected, rescaled and code-tuned"}
    assert 1 < trials.loc[0, "energy_rel"] < 1.05  # the routers' share
    front = pd.read_csv(finished / "front.csv")
    assert front["energy_rel"].is_monotonic_increasing
    assert front["validation_cross_entropy"].is_monotonic_decreasing
    assert set(front["coverage"]) == {1.0}
    files = sorted(int(p.stem) for p in (finished / "assignments").iterdir())
    assert files == sorted({*front["trial"], *trials.loc[trials["reported"], "trial"]})
    for number, digest in zip(front["trial"], front["assignment_sha256"], strict=True):
        assignment = Assignment.read(finished / "assignments" / f"{number:03d}.json")
        assert assignment.digest == digest
    routing = Routing.from_json((finished / "routing.json").read_text())
    assert all(sum(rates) == pytest.approx(1) for rates in routing.rates.values())
    assert "training images" in routing.source
    assert not list(finished.rglob("*.part"))


def test_the_log_tells_every_step(finished):
    lines = (finished / "log.txt").read_text(encoding="utf-8").splitlines()
    times = [datetime.datetime.fromisoformat(line[:19]) for line in lines]
    assert times == sorted(times)
    said = "\n".join(lines)
    assert "calibrate: begins" in said and "search: 7/7" in said


def test_test_scores_only_for_what_is_reported(finished):
    trials = pd.read_csv(finished / "trials.csv")
    tested = trials["test_accuracy_pct"].notna()
    assert tested[trials["reported"]].all()
    assert not tested[~trials["reported"] & (trials["origin"] != "uniform")].any()


def test_the_seed_repeats_the_trials(finished, tmp_path):
    again = tmp_path / "again"
    assert command(*SMALL, "--trials", 7, "--finetune", "none", "--out", again, "--quiet") == 0
    first, second = (_without_seconds(p / "trials.csv") for p in (finished, again))
    assert first == second


def _without_seconds(path):
    """The cells of a table as they stand in the file, but for the one column that tells times."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    at = rows[0].index("seconds")
    assert all(float(row[at]) >= 0 for row in rows[1:])
    return [row[:at] + row[at + 1 :] for row in rows]


def test_resuming_goes_on_with_a_larger_budget(finished, tmp_path, capsys):
    out = tmp_path / "short"
    assert command(*DENSE, "--trials", 4, "--finetune", "none", "--out", out, "--quiet") == 0
    before = pd.read_csv(out / "trials.csv")
    for left in (".trials.csv.x1.part", "assignments/.000.json.x2.part"):  # by a killed process
        (out / left).touch()
    assert command("--resume", out, "--trials", 6) == 0
    assert "best fixed" in capsys.readouterr().out
    after = pd.read_csv(out / "trials.csv")
    assert len(after) == 6
    columns = ["trial", "origin", "energy_rel", "validation_cross_entropy"]
    pd.testing.assert_frame_equal(after[columns][:4], before[columns])
    assert not list(out.rglob("*.part"))


def test_every_candidate_can_be_fine_tuned(tmp_path):
    out = tmp_path / "every"
    flags = ("--finetune", "every", "--finetune-epochs", "0.1", "--trials", 5, "--quiet")
    assert command(*DENSE, *flags, "--out", out) == 0
    trials = pd.read_csv(out / "trials.csv")
    assert set(trials["fidelity"]) == {"fine-tuned"}
    tuned, scored = trials["tuned_validation_cross_entropy"], trials["validation_cross_entropy"]
    assert scored.tolist() == pytest.approx(tuned.tolist())
    assert trials["note"].str.contains("fine-tun").all()


def test_promising_and_front_fine_tuning_never_lower_the_validation_score(tmp_path):
    for which in ("promising", "front"):
        out = tmp_path / which
        flags = ("--finetune", which, "--finetune-epochs", "0.1", "--trials", 5, "--quiet")
        assert command(*DENSE, *flags, "--out", out) == 0
        trials = pd.read_csv(out / "trials.csv")
        tuned = trials.dropna(subset="tuned_validation_cross_entropy")
        assert len(tuned) >= 1
        assert set(trials["fidelity"]) == {"bias-corrected, rescaled and code-tuned"}
        assert (
            tuned["tuned_validation_cross_entropy"] <= tuned["validation_cross_entropy"] + 1e-12
        ).all()


def test_an_interruption_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    from dse import _steps

    def interrupt(*arguments):
        raise KeyboardInterrupt

    out = tmp_path / "stopped"
    monkeypatch.setattr(_steps, "search", interrupt)
    assert command(*DENSE, "--trials", 4, "--out", out, "--quiet") == 130
    assert f"python -m dse.search --resume {out}" in capsys.readouterr().err
    monkeypatch.undo()
    assert Run.open(out).config.trials == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arch", "vit_smal"), "did you mean vit_small"),
        (("--multipliers", "mul8s_1L2G"), "did you mean"),
        (("--topology", "harder"), "did you mean hard"),
        (("--dataset", "digit"), "did you mean digits"),
        (("--objective", "paretto"), "did you mean pareto"),
        (("--trials", "-1"), "trials is a whole number from 1 up, not -1"),
        (("--trials", "many"), "invalid int value"),
        (("--seed", "-1"), "seed is a whole number from 0 to 4294967295, not -1"),
        (("--image-size", "33"), "size 33 is no multiple of 16"),
        (("--colour", "red"), "unrecognized arguments"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path, capsys):
    out = tmp_path / "never"
    assert command(*arguments, "--out", out) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""
    assert not out.exists()


def test_existing_folders_and_foreign_runs_are_refused(finished, tmp_path, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    assert command("--out", finished) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert command("--resume", tmp_path) == 2
    assert "is not a run" in capsys.readouterr().err
    assert command("--resume", finished, "--seed", "5") == 2
    assert "differs from the run's own 0" in capsys.readouterr().err
    assert command("--resume", finished, "--trials", "2") == 2
    assert "which 2 would cut" in capsys.readouterr().err
    assert command("--resume", finished, "--out", tmp_path / "x") == 2
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


def test_a_name_of_two_meanings_is_noticed(tmp_path, monkeypatch, capsys):
    from dse import _steps

    monkeypatch.setattr(_steps, "load", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    command("--multipliers", "mul8s_1KVA,mul8s_1L1G", "--out", tmp_path / "a")
    assert "note: mul8s_1KVA is read as" in capsys.readouterr().err
    command("--multipliers", "paper", "--out", tmp_path / "b")
    assert "note:" not in capsys.readouterr().err


def test_all_topologies_end_in_one_front(tmp_path, capsys):
    out = tmp_path / "all"
    flags = ("--topology", "all", "--trials", 4, "--finetune", "none")
    assert command(*SMALL, *flags, "--out", out) == 0
    assert "All topologies together" in capsys.readouterr().out
    front = pd.read_csv(out / "front.csv")
    assert front["energy_rel"].is_monotonic_increasing
    assert front["validation_cross_entropy"].is_monotonic_decreasing
    parts = {t: pd.read_csv(out / t / "trials.csv") for t in TOPOLOGIES}
    every = pd.concat(parts.values())
    for row in front.itertuples():
        better = (every["energy_rel"] <= row.energy_rel) & (
            every["validation_cross_entropy"] < row.validation_cross_entropy
        )
        assert not better.any()
    assert set(front["run"]) <= {f"all/{t}" for t in TOPOLOGIES}
    assert (out / "front.png").stat().st_size > 10_000
    assert command("--resume", out, "--quiet") == 0


def write_pictures(root, *, seed):
    """24 dark and 24 light images."""
    rng = np.random.default_rng(seed)
    for index in range(48):
        label = index % 2
        pixels = rng.integers(0, 100, size=(8, 8, 3), dtype=np.uint8) + np.uint8(120 * label)
        folder = root / "train" / ("dark", "light")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def test_a_folder_of_images_is_searched_like_any_data_set_and_foreign_networks_are_dense(tmp_path):
    write_pictures(tmp_path / "images", seed=0)
    flags = ("--dataset", f"imagefolder:{tmp_path / 'images'}", "--image-size", 8)
    flags += ("--trials", 7, "--finetune", "none", "--quiet", "--out", tmp_path / "run")
    assert command(*CIRCUITS, "--arch", TINY, *flags) == 0
    assert len(pd.read_csv(tmp_path / "run/trials.csv")) == 7
    config = Run.open(tmp_path / "run").config
    assert config.topology == "dense"
    assert config.dataset == f"imagefolder:{tmp_path / 'images'}"


def test_a_study_is_not_continued_on_other_images(tmp_path, capsys):
    folder = tmp_path / "images"
    write_pictures(folder, seed=0)
    flags = ("--dataset", f"imagefolder:{folder}", "--image-size", 8, "--trials", 3)
    flags += ("--finetune", "none", "--quiet", "--out", tmp_path / "run")
    assert command(*CIRCUITS, "--arch", TINY, *flags) == 0
    write_pictures(folder, seed=1)
    capsys.readouterr()
    assert command("--resume", tmp_path / "run", "--trials", 4, "--quiet") == 2
    assert "a search on other images or labels" in only_line(capsys.readouterr().err)
    write_pictures(folder, seed=0)
    assert command("--resume", tmp_path / "run", "--trials", 4, "--quiet") == 0


def test_given_weights_are_searched_as_they_are(tmp_path):
    config = NetworkConfig("vit_small", patch_size=32)
    network = build(config, seed=7)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    flags = ("--weights", tmp_path / "mine.safetensors", "--trials", 2, "--finetune", "none")
    assert command(*VIT, *flags, "--quiet", "--out", tmp_path / "run") == 0
    scored = pd.read_csv(tmp_path / "run/trials.csv")
    data = load_data("digits", seed=0)
    expected = evaluate(network.eval(), data.validation)
    # trial 0 is the exact int8 network: untrained, so as bad as the float one
    found = scored["validation_cross_entropy"][0]
    assert found == pytest.approx(expected.cross_entropy, rel=0.02)


def test_weights_of_another_network_are_refused_with_their_keys(tmp_path, capsys):
    network = build(NetworkConfig("vit_small", patch_size=16), seed=7)
    save_file(network.state_dict(), tmp_path / "other.safetensors")
    flags = ("--weights", tmp_path / "other.safetensors", "--quiet")
    assert command(*VIT, *flags, "--out", tmp_path / "run") == 2
    assert "patch_embed.proj.weight" in capsys.readouterr().err
    assert command(*DENSE, "--weights", "a.pt", "--pretrained", "--out", tmp_path / "both") == 2
    assert "not both" in capsys.readouterr().err
