"""Energies at equal accuracy, from made-up searches."""

import sys
import tomllib

import pandas as pd
import pytest
import tomli_w

from dse import SearchConfig, search
from luts import InputError
from models.training._files import CACHE_VARIABLE
from studies._images import Images
from studies.searched_vs_fixed import __main__ as study
from studies.searched_vs_fixed import _preset
from studies.searched_vs_fixed._table import (
    at_equal_accuracy,
    half_width,
    of_presets,
    outcomes,
    progress,
    sentences,
)
from tests.dse._searching import TINY, call, only_line

COLUMNS = ("trial", "origin", "energy_rel", "validation_accuracy_pct", "test_accuracy_pct")


def trials_of(*rows, **more):
    """A trials.csv; names of circuits stand for fixed multipliers, others for samplers."""
    table = pd.DataFrame([row[:5] for row in rows], columns=COLUMNS)
    table["multipliers"] = [row[5] for row in rows]
    return table.assign(**more)


@pytest.fixture
def trials():
    return trials_of(
        (0, "uniform", 1.0, 90.0, 89.0, "mul8s_1KV8×10"),
        (1, "uniform", 0.7, 89.4, 88.0, "mul8s_1L2H×10"),
        (2, "uniform", 0.3, 80.0, 79.0, "mul8s_1L1G×10"),
        (3, "guided", 0.5, 89.5, 88.2, "mul8s_1L2H×6 mul8s_1L1G×4"),
        (4, "guided", 0.4, 88.0, 87.5, "mul8s_1L1G×6 mul8s_1L2H×4"),
        (5, "guided", 0.2, 89.9, None, "mul8s_1L1G×9 mul8s_1L2H×1"),
    )


def test_only_what_was_tested_counts(trials):
    found = outcomes(trials, "dense", 0)
    assert found["trial"].tolist() == [0, 1, 2, 3, 4]
    assert found["drop_points"].round(6).tolist() == [0, 0.6, 10, 0.5, 2]
    assert found["multiplier"].tolist()[2:4] == ["mul8s_1L1G", ""]


def test_the_better_operand_order_stands_for_a_circuit(trials):
    swapped = trials.iloc[[2]].assign(trial=6, validation_accuracy_pct=85.0)
    found = outcomes(pd.concat([trials, swapped], ignore_index=True), "dense", 0)
    assert found["trial"].tolist() == [0, 1, 3, 4, 6]


def test_the_last_recovery_decides_for_both(trials):
    tuned = [90.5, 90.2, 89.9, None, 90.4, None]
    found = outcomes(trials.assign(tuned_validation_accuracy_pct=tuned), "dense", 0)
    assert found["drop_points"].round(6).tolist() == [0, 0.3, 0.6, 1.0, 0.1]


def test_the_cheapest_within_each_drop(trials):
    found = at_equal_accuracy(outcomes(trials, "dense", 0)).set_index("drop_points")
    assert found["fixed"].tolist() == ["mul8s_1KV8", *3 * ["mul8s_1L2H"]]
    assert found["searched_energy_rel"].tolist() == [0.5, 0.5, 0.4, 0.4]
    assert found.loc[1.0, "searched_energy_ratio"] == pytest.approx(0.5 / 0.7)
    assert found.loc[1.0, "searched_test_difference_points"] == pytest.approx(0.2)
    # Trial 4 is within two points, but not as accurate as 1L2H; trial 3 is.
    assert found["matched_energy_rel"].tolist() == [1.0, 0.5, 0.5, 0.5]


def test_progress_is_what_the_first_trials_dominate():
    # The exact one at energy 1, then one point below it at 0.4, last as good as it at 0.7.
    rows = pd.DataFrame({"energy_rel": [1.0] * 10, "validation_accuracy_pct": [90.0] * 10})
    rows.loc[10] = [0.4, 89.0]
    rows.loc[11] = [0.7, 90.0]
    found = progress(rows, "hard", 3).set_index(["trials", "drop_points"])["part"]
    assert found[10, 2.0] == 0
    assert found[12, 1.0] == pytest.approx(0.3)
    assert found[12, 2.0] == pytest.approx((0.6 * 1 + 0.3 * 1) / 2)
    assert found[12, 5.0] == pytest.approx((0.6 * 4 + 0.3 * 1) / 5)


def test_each_seed_has_its_own_choices(trials):
    other = trials.assign(
        validation_accuracy_pct=[90.0, 88.4, 89.9, 89.5, 88.0, 89.9],  # L1G alone will do here
    )
    table = pd.concat([outcomes(trials, "hard", 0), outcomes(other, "hard", 1)])
    found = at_equal_accuracy(table).set_index("drop_points").loc[1.0]
    assert found["fixed"] == "mul8s_1L2H mul8s_1L1G"
    assert found["seeds"] == 2
    assert found["fixed_energy_rel"] == pytest.approx((0.7 + 0.3) / 2)
    assert found["searched_energy_rel"] == pytest.approx((0.5 + 0.3) / 2)
    # A search that found nothing below its seed's fixed multiplier is given no credit for it.
    assert found["searched_energy_ratio"] == pytest.approx((0.5 / 0.7 + 1) / 2)
    assert found["searched_energy_ratio_half_width"] == pytest.approx(
        12.706 * (1 - 0.5 / 0.7) / 2, rel=1e-3
    )
    assert found["searched_energy_half_width"] == pytest.approx(12.706 * 0.2 / 2, rel=1e-3)
    (sentence,) = sentences(at_equal_accuracy(table))
    assert "as mul8s_1L2H or mul8s_1L1G, the cheapest" in sentence
    assert "(0.400 against 0.500)" in sentence


def test_where_nothing_cheaper_is_good_enough_the_fixed_one_stands(trials):
    worse = trials.assign(validation_accuracy_pct=[90.0, 89.9, 10, 10, 10, 10])
    found = at_equal_accuracy(outcomes(worse, "dense", 0))
    assert found["searched_energy_ratio"].tolist() == [1.0] * 4
    (sentence,) = sentences(found)
    assert "needs 1.000 × its energy (0.700 against 0.700)" in sentence
    assert "±" not in sentence  # one seed has no spread
    assert pd.isna(half_width(pd.Series([1.0])))


class TestOfPresets:
    @pytest.fixture
    def tables(self, trials):
        """The second is fine-tuned, its exact multiplier too, which must not count."""
        tuned = trials.assign(validation_accuracy_pct=[91.0, 89.4, 88.1, 89.5, 89.6, 89.9])
        return {"free": outcomes(trials, "dense", 0), "tuned": outcomes(tuned, "dense", 0)}

    def test_drops_are_from_the_exact_multiplier_of_the_first(self, tables):
        found = of_presets(tables).set_index(["preset", "drop_points"])
        assert found.loc["free", "energy_rel"].tolist() == [0.5, 0.5, 0.4, 0.4]
        assert found.loc["tuned", "energy_rel"].tolist() == [0.4, 0.4, 0.3, 0.3]
        assert found.loc[("tuned", 2.0), "test_accuracy_pct"] == 79.0
        # Of the box up to one point: 0.6 of the energy for 0.6 points that are left.
        assert found.loc[("tuned", 1.0), "validation_part"] == pytest.approx(0.6 * 0.6)

    def test_the_command_writes_it_with_the_seconds(self, tables, tmp_path, capsys):
        words = ("--results", tmp_path, "--compare", "free", "tuned")
        for name, table in tables.items():
            assert call(study, *words) == 2
            assert f"run --preset {name} first" in only_line(capsys.readouterr().err)
            table.to_csv(tmp_path / f"{name}.csv", index=False)
            preset = {"arch": "a", "dataset": "d", "weights": "", "topologies": ["dense"]}
            preset |= {"seeds": [0], "trials": 60}
            about = {"preset": preset, "searches": [{"processor_seconds": 3.5}]}
            (tmp_path / f"{name}.config.toml").write_text(tomli_w.dumps(about))
        assert call(study, *words) == 0
        made = pd.read_csv(tmp_path / "free-and-tuned.csv")
        assert set(made["processor_seconds"]) == {3.5}
        other = {"preset": preset | {"seeds": [1]}, "searches": [{}]}
        (tmp_path / "tuned.config.toml").write_text(tomli_w.dumps(other))
        assert call(study, *words) == 2
        assert "on one network each" in only_line(capsys.readouterr().err)


class TestCommand:
    @pytest.fixture
    def runs(self, trials, tmp_path, monkeypatch):
        preset = study.read_preset("digits")
        for topology in preset.topologies:
            for seed in preset.seeds:
                folder = tmp_path / "runs" / f"digits-{topology}-{seed}"
                folder.mkdir(parents=True)
                (folder / "front.csv").touch()
                trials.assign(seconds=1.5).to_csv(folder / "trials.csv", index=False)
                search = {"arch": "vit_small", "topology": topology, "dataset": "digits"}
                search |= {"seed": seed, "trials": 60, "multipliers": "mul8s"}
                search |= {"finetune": "promising", "finetune_epochs": 0.25}
                making = {"commit": "abc", "device": "CPU"}
                config = tomli_w.dumps({"search": search, "making": making})
                (folder / "config.toml").write_text(config)
        words = ["x", "--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
        monkeypatch.setattr("sys.argv", words)
        monkeypatch.setattr(study, "explore_run", None)  # what is there is not searched again
        return tmp_path

    def test_finished_searches_become_tables_and_a_figure(self, runs, capsys):
        study.main()
        names = {path.name for path in (runs / "results").iterdir()}
        assert names == {
            "digits.csv",
            "digits-equal.csv",
            "digits-progress.csv",
            "digits.config.toml",
            "digits.png",
        }
        assert capsys.readouterr().out.count("within one point of the exact one") == 4
        made = tomllib.loads((runs / "results/digits.config.toml").read_text())
        assert len(made["searches"]) == 12
        assert made["searches"][0]["seconds_of_scoring"] == 9.0
        assert made["searches"][0]["commit"] == "abc"

    def test_twice_is_once(self, runs):
        study.main()
        before = (runs / "results/digits.csv").read_bytes()
        study.main()
        assert (runs / "results/digits.csv").read_bytes() == before
        table = pd.read_csv(runs / "results/digits.csv")
        assert set(table["commit"]) == {"abc"}
        assert set(table["seconds_of_scoring"]) == {9.0}

    def test_a_run_of_another_configuration_is_refused(self, runs):
        file = runs / "runs/digits-soft-1/config.toml"
        file.write_text(file.read_text().replace("trials = 60", "trials = 2"))
        with pytest.raises(InputError, match="digits-soft-1 was searched with --trials 2, not 60"):
            study.main()
        assert not (runs / "results").exists()

    def test_results_of_another_configuration_are_refused(self, runs):
        study.main()
        file = runs / "results/digits.config.toml"
        file.write_text(file.read_text().replace("trials = 60", "trials = 2", 1))
        before = {path: path.read_bytes() for path in (runs / "results").iterdir()}
        with pytest.raises(InputError, match="is of another configuration than preset digits"):
            study.main()
        assert {path: path.read_bytes() for path in (runs / "results").iterdir()} == before

    def test_more_seeds_join_the_results(self, runs):
        study.main()
        file = runs / "results/digits.config.toml"
        made = tomllib.loads(file.read_text())
        made["preset"]["seeds"] = [0]
        made["searches"] = [search for search in made["searches"] if search["seed"] == 0]
        file.write_text(tomli_w.dumps(made))
        study.main()
        assert tomllib.loads(file.read_text())["preset"]["seeds"] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("key", "value", "lost"),
        [("topology", "fifth", "fifth with seed 0"), ("seed", 9, "dense with seed 9")],
    )
    def test_results_of_more_searches_are_refused(self, runs, key, value, lost):
        study.main()
        file = runs / "results/digits.config.toml"
        made = tomllib.loads(file.read_text())
        made["searches"].append(made["searches"][0] | {key: value})
        file.write_text(tomli_w.dumps(made))
        self.refused(runs, f"is of more searches than preset digits has now: {lost};")

    @pytest.mark.parametrize("name", ["digits.csv", "digits-progress.csv", "digits.png"])
    def test_results_without_their_configuration_are_refused(self, runs, name):
        (runs / "results").mkdir()
        (runs / "results" / name).write_text("mine")
        self.refused(runs, rf"{name} is there without digits\.config\.toml")

    @pytest.mark.parametrize("text", ["[", "preset = 3", "[preset]", "[search]\ntrials = 60"])
    def test_another_studys_configuration_is_refused(self, runs, text):
        (runs / "results").mkdir()
        (runs / "results/digits.config.toml").write_text(text)
        self.refused(runs, r"digits\.config\.toml is not a configuration of this study")

    def refused(self, runs, message):
        before = {path: path.read_bytes() for path in (runs / "results").iterdir()}
        with pytest.raises(InputError, match=message):
            study.main()
        assert {path: path.read_bytes() for path in (runs / "results").iterdir()} == before

    @pytest.mark.parametrize("broken", ["_figure.draw", "_caption"])
    def test_an_error_in_one_file_writes_none(self, runs, monkeypatch, broken):
        def breaks(*arguments):
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(f"studies.searched_vs_fixed.__main__.{broken}", breaks)
            with pytest.raises(ZeroDivisionError):
                study.main()
        assert not list((runs / "results").glob("*"))
        study.main()
        assert len(list((runs / "results").iterdir())) == 5

    def test_missing_images_are_one_line_before_anything_runs(self, runs, monkeypatch, capsys):
        (runs / "config.toml").write_text(
            '[digits]\narch="resnet20"\ndataset="cifar10-images"\ntopologies=["soft"]\n'
            "seeds=[7]\ntrials=3\n"
        )
        monkeypatch.setattr(_preset, "HERE", runs)
        monkeypatch.setattr(study, "explore_run", lambda *a: pytest.fail("a search was started"))
        folders = ("--runs", runs / "runs", "--results", runs / "results")
        assert call(study, "--images", runs / "no.tar.xz", *folders) == 2
        err = capsys.readouterr().err
        assert f"no images at {runs}/no.tar.xz: name" in only_line(err)

    def test_what_is_searched_needs_no_images(self, runs, monkeypatch):
        table = tomllib.loads((_preset.HERE / "config.toml").read_text())["digits"]
        table |= {"dataset": "cifar10-images"}
        (runs / "config.toml").write_text(tomli_w.dumps({"digits": table}))
        for file in (runs / "runs").rglob("config.toml"):
            made = file.read_text().replace('"digits"', f'"imagefolder:{runs}/gone"')
            file.write_text(made)
        monkeypatch.setattr(_preset, "HERE", runs)
        monkeypatch.setattr("sys.argv", [*sys.argv, "--images", f"{runs}/gone"])
        study.main()
        assert (runs / "results/digits.csv").exists()

    def test_missing_weights_are_named_before_anything_runs(self, runs, monkeypatch, tmp_path):
        monkeypatch.setattr(_preset, "HERE", tmp_path)
        table = 'arch="resnet20"\ndataset="digits"\ntopologies=["soft"]\nseeds=[7]\ntrials=3\n'
        (tmp_path / "config.toml").write_text(
            f'[digits]\n{table}weights="{{arch}}-{{topology}}-{{seed}}.safetensors"\n'
        )
        with pytest.raises(InputError, match=r"resnet20-soft-7\.safetensors are not there; train"):
            study.main()

    def test_an_unknown_preset(self):
        with pytest.raises(InputError, match="unknown preset 'digit'"):
            study.read_preset("digit")


def test_settings_of_a_search():
    preset, images = study.read_preset("cifar10-cpu"), Images()
    settings = preset.settings("dense", 0, images)
    assert settings["dataset"] == f"imagefolder:{images.cifar10}"
    assert settings["weights"].endswith("resnet20-dense-0.safetensors")
    assert settings["finetune_members"] == 8


@pytest.mark.parametrize("are_absolute", [False, True])
def test_a_run_is_known_by_its_weights_wherever_they_are_named_from(
    tmp_path, monkeypatch, are_absolute
):
    monkeypatch.chdir(tmp_path)
    kept = {"weights": str(tmp_path / "w.pt") if are_absolute else "w.pt", "topology": "dense"}
    (tmp_path / "config.toml").write_text(tomli_w.dumps({"search": kept}))
    for weights in ("w.pt", str(tmp_path / "w.pt")):
        config = SearchConfig(weights=weights, topology="dense")
        _preset.check_run(tmp_path, config, ["weights"])
    with pytest.raises(InputError, match="was searched with --weights"):
        _preset.check_run(tmp_path, SearchConfig(weights="v.pt", topology="dense"), ["weights"])


def test_committed_results_belong_to_their_presets():
    _preset.check_results(_preset.HERE / "results", "cifar10-cpu", study.read_preset("cifar10-cpu"))


def test_a_search_of_the_study_is_the_commands(tmp_path, monkeypatch):
    """Searches of one process do not touch each other."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    multipliers = "mul8s_1KV8,mul8s_1L1G,mul8s_1KTY"
    options = {"train-epochs": 2.0, "finetune": "none", "multipliers": multipliers}
    table = {"arch": TINY, "dataset": "digits", "topologies": ["hard"], "seeds": [0, 1]}
    table |= {"trials": 10, "options": options}
    (tmp_path / "config.toml").write_text(tomli_w.dumps({"tiny": table}))
    monkeypatch.setattr(_preset, "HERE", tmp_path)
    folders = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    assert call(study, "--preset", "tiny", *folders) == 0
    assert len(list((tmp_path / "results").iterdir())) == 5
    made = tomllib.loads((tmp_path / "results/tiny.config.toml").read_text())["searches"]
    assert all(one["processor_seconds"] > 0 for one in made)
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    flags += ["--arch", TINY, "--topology", "hard", "--dataset", "digits", "--seed", 1]
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another"))
    assert call(search, *flags, "--trials", 10, "--out", tmp_path / "run", "--quiet") == 0
    ours, theirs = (
        pd.read_csv(path / "trials.csv").drop(columns="seconds")
        for path in (tmp_path / "runs/tiny-hard-1", tmp_path / "run")
    )
    pd.testing.assert_frame_equal(ours, theirs)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    # A stopped search goes on; a finished one is left alone.
    before = (tmp_path / "runs/tiny-hard-0/study.db").read_bytes()
    (tmp_path / "runs/tiny-hard-1/front.csv").unlink()
    assert call(study, "--preset", "tiny", *folders) == 0
    assert (tmp_path / "runs/tiny-hard-1/front.csv").exists()
    assert (tmp_path / "runs/tiny-hard-0/study.db").read_bytes() == before
    later = tomllib.loads((tmp_path / "results/tiny.config.toml").read_text())["searches"]
    assert later[0]["processor_seconds"] == made[0]["processor_seconds"]
    assert later[1]["processor_seconds"] > made[1]["processor_seconds"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"trial": 3}, r"preset digits: no setting 'trial': did you mean trials\?"),
        ({"trials": "60", "seeds": 3}, r"seeds is a list .* not 3; trials is a whole .* not '60'"),
        ({"topologies": ["fourth"]}, "unknown topologies 'fourth'"),
        ({"seeds": []}, "seeds must not be empty"),
        ({"weights": "{archi}.safetensors"}, "weights takes {arch}"),
    ],
)
def test_an_illegal_preset_names_its_faults(table, message, tmp_path, monkeypatch):
    whole = tomllib.loads((_preset.HERE / "config.toml").read_text())["digits"] | table
    (tmp_path / "config.toml").write_text(tomli_w.dumps({"digits": whole}))
    monkeypatch.setattr(_preset, "HERE", tmp_path)
    with pytest.raises(InputError, match=message):
        study.read_preset("digits")


@pytest.mark.parametrize("table", [{"options": {"finetun": "none"}}, {"arch": "resnet2"}])
def test_what_cannot_be_searched_is_refused_before_anything_is_made(table, tmp_path, monkeypatch):
    whole = tomllib.loads((_preset.HERE / "config.toml").read_text())["digits"] | table
    (tmp_path / "config.toml").write_text(tomli_w.dumps({"digits": whole}))
    monkeypatch.setattr(_preset, "HERE", tmp_path)
    assert call(study, "--runs", tmp_path / "runs", "--results", tmp_path / "results") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
