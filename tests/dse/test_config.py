import pytest

from dse.results import Run
from dse.study import SearchConfig
from luts import InputError
from models import TOPOLOGIES


def test_toml_round_trip():
    config = SearchConfig(
        trials=7, finetune="none", multipliers="paper", finetune_epochs=0.25, exact=("a*", "b")
    )
    assert SearchConfig.from_toml(config.to_toml({"commit": "x"})) == config


def test_the_network_is_what_was_asked_for():
    config = SearchConfig(
        topology="all", expert_blocks=(1, 3), top_k=2, cluster_features="unit", experts=3
    )
    assert SearchConfig.from_toml(config.to_toml({})) == config
    made = {t: config.network(num_classes=10, topology=t) for t in config.topologies}
    assert {t: network.top_k for t, network in made.items()} == {
        **dict.fromkeys(("dense", "soft", "cluster"), 1),
        "hard": 2,
    }
    assert made["cluster"].cluster_features == "unit"
    assert made["cluster"].expert_blocks == (1, 3)
    assert SearchConfig().network(num_classes=10).expert_blocks is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "vit_smal"}, r"unknown architecture 'vit_smal'.*vit_small"),
        ({"topology": "hrad"}, r"unknown topology 'hrad'.*hard"),
        ({"dataset": "digit"}, r"unknown data set 'digit'.*digits"),
        ({"dataset": "imagefolder:"}, r"unknown data set 'imagefolder:'.*imagefolder:PATH"),
        ({"dataset": "digits:8"}, r"unknown data set 'digits:8'.*digits"),
        ({"objective": "paretto"}, r"unknown objective 'paretto'.*pareto"),
        ({"sampler": "nsga"}, r"unknown sampler 'nsga'.*nsga2"),
        ({"tie": "blok"}, r"unknown tie 'blok'.*block"),
        ({"only": "mul8s_1L1G"}, r"--only mul8s_1L1G leaves 1"),
        ({"objective": "energy"}, r"--objective energy and --max-drop belong together"),
        ({"max_energy": 0.5}, r"--objective accuracy and --max-energy belong together"),
        ({"storage": "postgresql://h/d"}, r"--storage and --study belong together"),
        ({"max_distinct": 0}, r"max_distinct is a whole number from 1 up, not 0"),
        ({"finetune": "all"}, r"unknown finetune 'all': known: every, promising, front, none"),
        ({"multipliers": "mul8s_1L2X"}, r"unknown multiplier or set 'mul8s_1L2X'.*mul8s_1L2H"),
        ({"trials": -5}, r"trials is a whole number from 1 up, not -5"),
        ({"trials": 0}, r"trials is a whole number from 1 up, not 0"),
        ({"finetune_epochs": float("nan")}, "finetune_epochs is a positive finite number, not nan"),
        ({"experts": 1}, "experts is a whole number from 2 up, not 1"),
        ({"patch_size": 5}, "is no multiple of 5"),
        ({"top_k": 2, "topology": "soft"}, "top_k is for the topology hard"),
        ({"cluster_features": "rwa"}, "unknown cluster_features 'rwa': did you mean raw"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        SearchConfig(**settings)


def test_unknown_key_names_the_nearest():
    with pytest.raises(InputError, match=r"no setting 'trails': did you mean trials"):
        SearchConfig.from_toml("[search]\ntrails = 3\n")
    with pytest.raises(InputError, match="not the configuration of a run"):
        SearchConfig.from_toml("trials = ")


def test_every_fault_of_a_file_is_named_at_once():
    text = '[search]\ntrials = "60"\nseed = 1.5\ntie = "blok"\nexact = "blocks"\ntrails = 3\n'
    with pytest.raises(InputError) as refused:
        SearchConfig.from_toml(text)
    said = str(refused.value)
    assert "\n" not in said
    for fault in (
        "trials is a whole number from 1 up, not '60'",
        "seed is a whole number from 0 to 4294967295, not 1.5",
        "unknown tie 'blok': did you mean block",
        "exact is a list of texts, not 'blocks'",
        "no setting 'trails': did you mean trials",
    ):
        assert fault in said


def test_a_configuration_says_what_its_settings_mean_and_reads_back():
    config = SearchConfig(exact=("head", "blocks.0.*"), max_distinct=3, finetune_epochs=1 / 3)
    text = config.to_toml({"commit": "abc"})
    assert "trials = 60  # assignments to score" in text
    assert SearchConfig.from_toml(text) == config


def test_a_run_folder_is_never_overwritten(tmp_path):
    run = Run.create(SearchConfig(), tmp_path / "run")
    before = (run.path / "config.toml").read_text()
    with pytest.raises(InputError, match=r"exists already and is not overwritten.*--resume"):
        Run.create(SearchConfig(trials=3), tmp_path / "run")
    assert (run.path / "config.toml").read_text() == before
    assert Run.open(run.path).config == SearchConfig()


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"is not a run"):
        Run.open(tmp_path)
    with pytest.raises(InputError, match=r"is not a run"):
        Run.open(tmp_path / "gone")


def test_the_budget_may_grow_but_not_shrink(tmp_path):
    run = Run.create(SearchConfig(trials=10), tmp_path / "run")
    assert run.with_trials(20).config.trials == Run.open(run.path).config.trials == 20
    with pytest.raises(InputError, match="budget of 20 trials, which 5 would cut"):
        Run.open(run.path).with_trials(5)


def test_config_records_its_making(tmp_path):
    text = (Run.create(SearchConfig(), tmp_path / "run").path / "config.toml").read_text()
    for word in ("[making]", "commit", "device", "torch", "started"):
        assert word in text


@pytest.mark.parametrize("setting", [{"experts": 8}, {"top_k": 2}, {"cluster_features": "unit"}])
def test_in_a_search_of_all_topologies_settings_are_for_those_that_take_them(setting):
    name, value = next(iter(setting.items()))
    with pytest.raises(InputError, match=f"{name} is for .* dense takes none, not {value}"):
        SearchConfig(topology="dense", **setting)
    whole = SearchConfig(topology="all", **setting)
    found = {t: whole.for_topology(t).network(num_classes=10) for t in TOPOLOGIES}
    assert found == {t: whole.network(num_classes=10, topology=t) for t in TOPOLOGIES}
    assert getattr(found["dense"], name) != value in {getattr(c, name) for c in found.values()}


@pytest.mark.parametrize("kept", ["experts = 8", 'topology = "cluster"\ntop_k = 2'])
def test_settings_that_earlier_versions_kept_for_nothing_are_read_over(kept):
    topology = "" if "topology" in kept else 'topology = "dense"\n'
    config = SearchConfig.from_toml(f"[search]\n{topology}{kept}\n")
    assert (config.experts, config.top_k) == (SearchConfig.experts, SearchConfig.top_k)
