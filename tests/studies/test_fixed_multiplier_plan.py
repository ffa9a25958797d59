"""Presets of the fixed-multiplier matrix: what is legal, which cells there are, and their order."""

import dataclasses

import pytest

from luts import InputError, catalog
from studies.fixed_multiplier._plan import read_preset
from tests.studies.tiny_matrix import TINY, command

NETWORK = TINY[TINY.index("[[") :]
MULTIPLIERS = '"mul8s_1KV8,mul8s_1L1G"'


def test_the_parts_cover_everything_once_and_share_no_float_network(config):
    preset = read_preset("tiny", config)
    parts = [preset.part(index, 3) for index in (1, 2, 3)]
    assert sorted((cell for part in parts for cell in part), key=str) == sorted(
        preset.cells(), key=str
    )
    networks = [{cell.network for cell in part} for part in parts]
    assert sum(map(len, networks)) == len(set().union(*networks)) == 4


def test_what_starts_from_one_dense_network_is_in_one_part():
    preset = read_preset("paper-cpu")
    for count in (2, 3):
        parts = [preset.part(index, count) for index in range(1, count + 1)]
        assert sorted((c for part in parts for c in part), key=str) == sorted(
            preset.cells(), key=str
        )
        dense = [{(c.arch, c.seed) for c in part} for part in parts]
        assert sum(map(len, dense)) == len(set().union(*dense)) == 7


def test_the_order_of_cells():
    cells = read_preset("cifar10-cpu").cells()
    assert len(set(cells)) == len(cells) == 8 * 4 * 3 * (3 + 3 + 1)
    seeds = [cell.seed for cell in cells]
    assert seeds == sorted(seeds)
    assert {cell.arch for cell in cells[: 8 * 4 * 3]} == {"resnet20"}
    first = [cell.recovery for cell in cells[: 8 * 4 * 3]]
    assert first.index("retrained") == 8 * 4 * 2
    assert set(first[8 * 4 * 2 :]) == {"retrained"}
    archs = [cell.arch for cell in cells if cell.seed == 0]
    assert list(dict.fromkeys(archs)) == ["resnet20", "vit_small", "vgg11_bn"]


PRESETS = ["smoke", "cifar10-cpu", "paper-cpu", "paper-protocols", "paper"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_committed_presets_are_legal(name):
    preset = read_preset(name)
    assert preset.circuits == catalog.names("paper")
    for network in preset.networks:
        assert network.retrain_epochs >= 0.25
        assert network.weights_file("dense", seed=9) is None


def test_weights_of_a_file_are_of_seed_0_unless_it_says_so(tmp_path):
    ours = next(n for n in read_preset("cifar10-cpu").networks if n.arch == "resnet20")
    assert ours.weights_file("dense", 0).name == "resnet20-dense-0.safetensors"
    (tmp_path / "dense.safetensors").touch()
    network = dataclasses.replace(ours, weights="{topology}.safetensors")
    assert network.weights_file("dense", 0, tmp_path).name == "dense.safetensors"
    assert network.weights_file("dense", 1, tmp_path) is None
    seeded = next(n for n in read_preset("paper").networks if n.arch == "resnet20")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/resnet20-dense-cifar100-1.safetensors").touch()
    assert seeded.weights_file("dense", 1, tmp_path) is not None
    assert seeded.weights_file("dense", 0, tmp_path) is None


def test_too_little_retraining_is_no_cell(config):
    config.write_text(TINY.replace("retrain_epochs = 0.25", "retrain_epochs = 0.2"))
    recoveries = {cell.recovery for cell in read_preset("tiny", config).cells()}
    assert recoveries == {"none", "recalibrated"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[tiny]", "[tiny]\ncalibration_image = 3"), "did you mean calibration_images"),
        (('"hard"]', '"harder"]'), "did you mean hard"),
        (('arch = "resnet20"', 'arch = "resnet2"'), "did you mean resnet20"),
        (("mul8s_1L1G", "mul8s_1L2G"), "did you mean"),
        (("seeds = [0, 1]", "seeds = []"), "seeds must not be empty"),
        (("seeds = [0, 1]", "seeds = 3"), "seeds is a list of whole numbers from 0 up, not 3"),
        (("seeds = [0, 1]", "seeds = [0, -1]"), "not [0, -1]"),
        (("seeds = [0, 1]", 'seeds = ["a"]'), "not ['a']"),
        (('["dense", "hard"]', "[]"), "topologies must not be empty"),
        (
            ('["dense", "hard"]', "3"),
            "topologies is a list of some of dense, hard, soft, cluster, not 3",
        ),
        (('["dense", "hard"]', "[3]"), "hard, soft, cluster, not [3]"),
        (("[tiny]", "[tiny]\nrecoveries = []"), "recoveries must not be empty"),
        (("[tiny]", '[tiny]\nrecoveries = ["nothing"]'), "unknown recoveries 'nothing'"),
        ((NETWORK, "networks = []"), "networks must not be empty"),
        ((NETWORK, NETWORK + NETWORK), "an architecture is named twice on one data set"),
        (("[[tiny.networks]]", "[[tiny.network]]"), "did you mean networks"),
        (("[tiny]", "[tiny"), "cannot read presets"),
        ((TINY, "tiny = 3"), "preset tiny is a table of settings, not 3"),
        (("[tiny]", '[tiny]\nname = "x"'), "preset tiny has no setting 'name'"),
        (("[[tiny.networks]]", "[tiny.networks]"), "networks is a list of values, not {"),
        ((NETWORK, "networks = [3]"), "networks[0] is a table of settings, not 3"),
        ((MULTIPLIERS, '["mul8s_1KV8"]'), "multipliers is a text, not ['mul8s_1KV8']"),
        ((MULTIPLIERS, "3"), "multipliers is a text, not 3"),
        (("= 32", "= 0"), "calibration_images is a whole number from 1 up, not 0"),
        (("= 32", "= true"), "a whole number from 1 up, not True"),
        (("= 40", "= -1"), "validation_images is a whole number from 0 up, not -1"),
        (("= 50", "= 2.5"), "test_images is a whole number from 0 up, not 2.5"),
        (("= 50", "= 50\nports = 1"), "ports is one of activation, weight, both, not 1"),
        (("= 50", "= 50\nswapped = true"), "no setting 'swapped'"),
        (("= 0.25", "= 0.25\naggressive_epochs = -1"), "aggressive_epochs is a number from 0 up"),
        (("= 8", '= 8\ntraining = "resnet2"'), "unknown network 'resnet2'; did you mean"),
        (("= 8", '= 8\ntraining = "resnet20"'), "is of dataset cifar10-images, not digits"),
        (("= 8", '= 8\nprotocol = {name = "x", exact = ["end"]}'), "did you mean ends"),
        (("= 8", '= 8\nprotocol = {name = "x", experts = 1}'), "from 2 up, not 1"),
        (("= 8", '= 8\nprotocol = {ports = "by-kind"}'), "a protocol that changes ports needs a"),
        (("= 8", '= 8\nprotocol = {name = "x"}'), "protocol x changes nothing"),
        (("= 8", '= "8"'), "networks[0].image_size is a whole number from 1 up"),
        (("= 8", "= 8\npatch_size = 0"), "networks[0].patch_size is a whole number from 1 up"),
        (("= 1.0", "= nan"), "networks[0].base_epochs is a number from 0 up, not nan"),
        (("= 1.0", '= "1"'), "a number from 0 up, not '1'"),
        (("= 1.0", "= true"), "a number from 0 up, not True"),
        (("= 1.0", f"= 1{400 * '0'}"), "a number from 0 up, not 1000"),
        (("= 0.25", "= -1"), "networks[0].retrain_epochs is a number from 0 up"),
        (("= 0.25", "= inf"), "a number from 0 up, not inf"),
        (("= 0.25", f"= 1{400 * '0'}"), "a number from 0 up, not 1000"),
        (('"resnet20"', "3"), "networks[0].arch is a text, not 3"),
        (('"resnet20"', '""'), "arch must not be empty"),
        (('"digits"', "[]"), "networks[0].dataset is a text"),
        (("= 8", "= 8\nweights = 3"), "networks[0].weights is a text"),
        (("= 8", "= 8\nstands_for = 3"), "networks[0].stands_for is a text"),
        (("= 8", "= 8\nprecision = 3"), "networks[0].precision is one of float32, bfloat16, not 3"),
        *(
            (("= 8", f'= 8\nweights = "{name}"'), "takes {arch}, {topology}, {dataset}, {seed} in")
            for name in ("a{foo}", "a{", "a}", "{}", "{arch.x}", "{seed:d}", "{arch!x}")
        ),
    ],
)
def test_an_illegal_preset_is_one_line(config, change, message, tmp_path, capsys):
    config.write_text(TINY.replace(*change))
    assert command("--preset", "tiny", "--config", config, "--results", tmp_path / "r") == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_all_faults_of_a_preset_are_named_at_once(config):
    config.write_text(TINY.replace("= 32", "= 0").replace('"digits"', "3").replace("seeds", "seed"))
    with pytest.raises(InputError) as refused:
        read_preset("tiny", config)
    message = str(refused.value)
    assert message.startswith("preset tiny: ")
    for fault in (
        "calibration_images is a whole number from 1 up, not 0",
        "networks[0].dataset is a text, not 3",
        "no setting 'networks[0].seed': did you mean seeds?",
        "networks[0].seeds is missing",
    ):
        assert fault in message


def test_whole_epochs_stay_whole_in_what_is_kept():
    preset = read_preset("cifar10-cpu")
    kept = preset.settings(preset.cells()[0])
    assert kept["base_epochs"] == 20 and type(kept["base_epochs"]) is int


def test_the_least_values_are_legal(config):
    least = TINY.replace("= 32", "= 1").replace("= 40", "= 0").replace("= 50", "= 0")
    least = least.replace("= 1.0", "= 0").replace("retrain_epochs = 0.25", 'weights = "{{{arch}"')
    config.write_text(least)
    preset = read_preset("tiny", config)
    assert preset.networks[0].base_epochs == preset.networks[0].retrain_epochs == 0
