"""Operand orders, longer retraining and other protocols of the fixed-multiplier matrix."""

import dataclasses
import json

import pandas as pd
import pytest
import torch

import luts
import models
from luts import EXACT, InputError
from luts.console import SILENT
from models.training._files import CACHE_VARIABLE
from studies._images import Images
from studies._training import trained_weights
from studies.fixed_multiplier import _figures, _orders, _protocols, _report, _tables
from studies.fixed_multiplier._bench import Bench
from studies.fixed_multiplier._estimate import CellSeconds, Pace
from studies.fixed_multiplier._plan import FixedCell, read_preset
from studies.fixed_multiplier._protocol import Protocol
from studies.fixed_multiplier._results import Results, cell_of
from studies.fixed_multiplier._verdicts import FAILS, HOLDS, MISSING
from tests.studies._paper_world import as_the_paper_says, in_both_orders, table
from tests.studies.tiny_matrix import TINY, command, record

TWO_ORDERS = ["mul8s_1KR6", "mul8s_1KR3"]


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


def preset_of(tmp_path, text, name="tiny"):
    path = tmp_path / "presets.toml"
    path.write_text(text)
    return read_preset(name, path)


ORDERS = TINY.replace("mul8s_1KV8,mul8s_1L1G", "mul8s_1KV8,mul8s_1KR3").replace(
    "test_images = 50", 'test_images = 50\nports = "both"'
)
SHORT = ORDERS.replace("seeds = [0, 1]", "seeds = [0]").replace('["dense", "hard"]', '["dense"]')


def test_both_orders_are_measured_where_the_table_has_two():
    cells = read_preset("paper-cpu").cells()
    assert len(set(cells)) == len(cells) == (8 + 2) * 4 * 3 * (3 + 2 + 1 + 1)
    assert {cell.multiplier for cell in cells if cell.swapped} == set(TWO_ORDERS)
    names = luts.catalog.names("paper")
    assert [name for name in names if not luts.catalog[name].is_commutative] == TWO_ORDERS


@pytest.mark.parametrize(("ports", "orders"), [("activation", [False]), ("weight", [True])])
def test_one_order_is_that_of_the_circuits_that_have_two(ports, orders, tmp_path):
    preset = preset_of(tmp_path, ORDERS.replace('"both"', f'"{ports}"'))
    swapped = {(cell.multiplier, cell.swapped) for cell in preset.cells()}
    assert swapped == {("mul8s_1KV8", False)} | {("mul8s_1KR3", order) for order in orders}


def test_a_cell_says_its_order_and_protocol_only_where_they_are_not_the_usual_ones():
    usual = FixedCell("resnet20", "cifar100", "dense", "mul8s_1KR3", "none", 0)
    other = dataclasses.replace(usual, swapped=True, variant="ends-exact")
    assert usual.name == "resnet20-cifar100-dense-mul8s_1KR3-none-0"
    assert other.name == "resnet20-cifar100-dense-mul8s_1KR3-swapped-none-0-ends-exact"
    assert set(usual.to_dict()) == {f.name for f in dataclasses.fields(usual)[:6]}
    for cell in (usual, other):
        assert cell_of({"cell": cell.to_dict()}) == cell
    with pytest.raises(TypeError, match="swapped is 1"):
        cell_of({"cell": usual.to_dict() | {"swapped": 1}})


def test_aggressive_circuits_are_retrained_longer_and_first():
    preset = read_preset("paper-cpu")
    cells = [c for c in preset.cells() if c.recovery == "retrained" and c.topology == "dense"]
    epochs = {
        (cell.arch, cell.multiplier): preset.settings(cell)["retrain_epochs"] for cell in cells
    }
    for (arch, name), count in epochs.items():
        is_aggressive = name in ("mul8s_1L2D", "mul8s_1L1G", "mul8s_1KR3")
        assert count == ((2 if arch == "resnet20" else 1) if is_aggressive else 0.25)
    order = [cell.multiplier for cell in cells if (cell.arch, cell.seed) == ("resnet20", 0)]
    power = [luts.catalog[name].power_mw for name in order]
    assert order[0] == EXACT and power[1:] == sorted(power[1:])


def test_recipes_and_epochs_of_the_paper_are_those_that_weights_are_trained_by():
    for plan in read_preset("paper-cpu").networks:
        assert dataclasses.replace(plan, training="").recipe() != plan.recipe()
        theirs = trained_weights(plan.training)
        assert theirs.recipe("dense") == plan.recipe()
        for topology in ("hard", "soft", "cluster"):
            assert theirs.recipe(topology) == plan.experts_recipe(topology)


def test_cells_of_both_lengths_are_of_one_recipe(tmp_path):
    preset = preset_of(tmp_path, ORDERS + "aggressive_epochs = 2\n")
    results = Results(tmp_path / "r", preset)
    cells = [cell for cell in preset.cells() if cell.recovery == "retrained"][:2]
    for cell in cells:
        recipe = {"epochs": preset.settings(cell)["retrain_epochs"]}
        results.keep(cell, record(cell, preset) | {"recipe": recipe})
    assert {results.read(cell)["recipe"]["epochs"] for cell in cells} == {0.25, 2}
    with pytest.raises(InputError, match="different recipes"):
        results.check_recipe(cells[0], {"epochs": 1})


def test_the_estimate_counts_training_and_the_longer_retraining(tmp_path, monkeypatch):
    data = type("Data", (), {"train": range(1000), "validation": (), "test": ()})

    def seconds(text, recovery="retrained"):
        bench = type("Bench", (), {"preset": preset_of(tmp_path, text)})
        of = CellSeconds(bench)
        monkeypatch.setattr(of, "_pace", lambda cell: Pace(data, forward=1.0, step=3.0))
        cell = FixedCell("resnet20", "digits", "dense", "mul8s_1KR3", recovery, 0)
        return of(cell), of(cell)

    # A step through the circuits is one of inference and one of training.
    usual, longer = seconds(ORDERS), seconds(ORDERS + "aggressive_epochs = 2\n")
    assert longer[0] - usual[0] == pytest.approx((1 + 3) * 1.75 * 1000)
    # The float network is trained with its first cell.
    first, second = seconds(ORDERS, "none")
    again, _ = seconds(ORDERS.replace("base_epochs = 1.0", "base_epochs = 2.0"), "none")
    assert again - first == pytest.approx(3 * 1000) and first - second > 3 * 1000


def test_the_pace_is_timed(tmp_path):
    preset = preset_of(tmp_path, ORDERS + 'precision = "bfloat16"\n')
    bench = Bench(preset, Images(), "cpu", SILENT, lambda *a: None, lambda *a: None)
    of = CellSeconds(bench)
    assert sum(map(of, preset.cells())) > 0
    assert len(of._timed) == 2 and all(p.forward > 0 < p.step for p in of._timed.values())


def worse_with_weights_first(arch, topology, multiplier, recovery):
    lost = as_the_paper_says(arch, topology, multiplier, recovery)
    is_it = (arch, multiplier, recovery) == ("resnet20", "mul8s_1KR3", "retrained")
    return 60.0 if is_it else lost


def test_a_claim_that_the_operand_order_decides_is_named():
    rows = in_both_orders(table(), table(worse_with_weights_first))
    claims = _orders.judge(rows)
    third = claims[2].verdict
    assert third == (
        f"{HOLDS} with the activation first, {FAILS} with the weight first: the operand order "
        f"decides"
    )
    assert "activation first: resnet20: points that stay lost: up to 0.2" in claims[2].figure
    assert "weight first: resnet20: points that stay lost: up to 60.0" in claims[2].figure
    assert [claim.verdict for claim in claims[:2] + claims[3:]] == [HOLDS] * 5
    # As if each had been the only one.
    assert [c.verdict for c in _orders.judge(table().assign(swapped=False))] == [HOLDS] * 6
    by_order = _orders.by_order(rows)
    assert by_order[True][2].verdict == FAILS and by_order[False][2].verdict == HOLDS


def test_an_order_that_was_not_measured_decides_nothing():
    other = table(worse_with_weights_first, archs=("vgg11_bn",))
    claims = _orders.judge(in_both_orders(table(archs=("resnet20",)), other))
    assert claims[2].verdict == HOLDS
    assert "weight first: –" in claims[2].figure
    assert claims[5].verdict == MISSING


def test_the_summary_and_the_figures_tell_both_orders_apart(tmp_path, monkeypatch):
    rows = in_both_orders(table(seeds=(0,)), table(worse_with_weights_first, seeds=(0,)))
    summary = _tables.summary(rows)
    assert summary["seeds"].eq(1).all() and len(summary) == len(rows)
    assert "swapped" not in _tables.summary(table().assign(swapped=False))
    drawn = []
    monkeypatch.setattr(_figures, "_save", lambda figure, *arguments: drawn.append(figure))
    for draw in (_figures.draw_without, _figures.draw_retrained):
        draw(tmp_path / "figure.png", summary, "a caption", {})
        axis = drawn[-1].axes[0]
        crosses = [line for line in axis.lines if line.get_marker() == "x"]
        lines = [line for line in axis.lines if line.get_marker() != "x"]
        assert crosses and all(len(line.get_xdata()) == 2 for line in crosses)
        assert lines and all(len(line.get_xdata()) == 8 for line in lines)
        assert "weight on the first port" in [t.get_text() for t in axis.get_legend().get_texts()]


def test_drops_of_the_other_order_are_from_the_exact_multiplier(tmp_path):
    preset = preset_of(tmp_path, ORDERS)
    cells = [c for c in preset.cells() if (c.topology, c.recovery, c.seed) == ("dense", "none", 0)]
    accuracy = {EXACT: 0.5, "mul8s_1KR3": 0.3}
    records = []
    for cell in cells:
        made = record(cell, preset)
        made["test"] = made["test"] | {"accuracy": accuracy[cell.multiplier] - 0.1 * cell.swapped}
        records.append(made)
    rows = _tables.matrix(records)
    assert rows["drop_points"].tolist() == pytest.approx([0, 20, 30])
    assert rows["swapped"].tolist() == [False, False, True]


def test_a_part_of_a_data_set_is_in_every_row_and_caption(tmp_path):
    preset = preset_of(tmp_path, TINY)
    part = {"name": "digits", "train": 40, "validation": 10, "test": 50}
    made = [record(cell, preset) for cell in preset.cells()]
    for each in made:
        each["base"]["data"] = part | {"part_of": {"train": 100, "test": 50}}
    rows = _tables.matrix(made)
    assert set(rows["data"]) == {"digits (50 of 100 training images)"}
    assert "digits (50 of 100 training images)" in _report.making(rows, preset)
    assert _tables.said_of(part) == "digits"
    claims = _orders.judge(table(archs=("vit_small",)).assign(swapped=False))
    world = table(archs=("vit_small",)).assign(data="digits (50 of 100 training images)", how="")
    page = _report.as_markdown(claims, preset, "c", rows=world.assign(float_test_accuracy_pct=20.0))
    assert "vit_small on digits (50 of 100 training images), 3 seeds" in page


def test_the_paper_page_says_what_it_assumes_and_keeps_proxies_below():
    preset = read_preset("paper-cpu")
    rows = table(archs=("resnet20",)).assign(
        dataset="cifar100", data="cifar100", swapped=False, float_test_accuracy_pct=65.81
    )
    claims = _orders.judge(rows)
    proxied = _orders.judge(_protocols.committed(preset.proxies))
    page = _report.as_markdown(claims, preset, "c", rows=rows, proxied=proxied)
    above, below = page.split("## Proxies")
    assert "proxy of" not in above
    assert "resnet20 on cifar10-images (a proxy of CIFAR-100), 3 seeds" in below
    assert "resnet20 on cifar100, 3 seeds" in above
    assert "0.25 (2 at aggressive circuits) epochs of resnet20" in above
    assert "| resnet20 on cifar100 | 65.8 (seed 0), 65.8 (seed 1), 65.8 (seed 2) | 68.8 | 30 |" in (
        above
    )
    assert "the weight there, for the circuits that are not commutative" in above


def sites_of(topology="dense"):
    network = models.build("vit_small", topology=topology, image_size=32).eval()
    return models.sites(network, torch.randn(1, 3, 32, 32))


def test_ends_and_attention_stay_exact():
    sites = sites_of()
    ends = Protocol(name="x", exact=("ends",)).assignment(sites, "mul8s_1KR3", swapped=True)
    kept = [name for name, choice in ends.choices.items() if choice.multiplier == EXACT]
    assert kept == ["patch_embed.proj", "head"]
    assert all(c.swapped for c in ends.choices.values() if c.multiplier != EXACT)
    attention = Protocol(name="x", exact=("attention",))
    products = attention.assignment(sites, "mul8s_1KR3", swapped=False)
    kept = {site.kind for site in sites if products.choices[site.name].multiplier == EXACT}
    assert kept == {"qk", "av"}


def test_ports_by_kind_are_those_of_transaxx():
    sites = sites_of("hard")
    by_kind = Protocol(name="x", ports="by-kind")
    choices = by_kind.assignment(sites, "mul8s_1KR3", swapped=False).choices
    for site in sites:
        assert choices[site.name].swapped == (site.kind == "conv")
        assert choices[site.name].multiplier == (EXACT if site.kind == "router" else "mul8s_1KR3")
    preset = read_preset("paper-protocols")
    cells = [cell for cell in preset.cells() if cell.variant == "ports-by-kind"]
    assert cells and not any(cell.swapped for cell in cells)


def test_weights_of_the_usual_experts_are_not_those_of_others():
    plans = {plan.protocol.name: plan for plan in read_preset("paper-protocols").networks}
    assert plans["weights-per-tensor"].weights_file("hard", 0) is not None
    assert plans["experts-8"].weights_file("hard", 0) is None
    assert plans["experts-8"].weights_file("dense", 0) is not None
    assert plans["experts-8"].shape("hard", 100, 32).experts == 8
    assert plans["experts-8"].shape("dense", 100, 32).experts == 4
    assert plans["cluster-by-image"].shape("cluster", 100, 32).cluster_route == "image"


VARIANT = SHORT + 'protocol = { name = "whole", weight_scales = "tensor", exact = ["ends"] }\n'


def test_cells_of_another_protocol_are_refused(tmp_path, capsys):
    preset = preset_of(tmp_path, VARIANT)
    cell = preset.cells()[0]
    folder = tmp_path / "r"
    Results(folder, preset).keep(cell, record(cell, preset))
    before = (folder / f"cells/{cell.name}.json").read_bytes()
    flags = ("--preset", "tiny", "--config", tmp_path / "presets.toml", "--results", folder)
    for text, message in (
        (VARIANT.replace(', exact = ["ends"]', ""), "computed with protocol {'weight_scales':"),
        (VARIANT.replace('"whole"', '"other"'), "on digits by protocol whole, which preset tiny"),
        (SHORT, "on digits by protocol whole, which preset tiny does not have"),
    ):
        (tmp_path / "presets.toml").write_text(text)
        assert command(*flags) == 2
        err = capsys.readouterr().err
        assert message in err and len(err.strip().splitlines()) == 1
    assert (folder / f"cells/{cell.name}.json").read_bytes() == before


def test_other_orders_and_protocols_are_measured(tmp_path):
    """A whole run on a network that learns in seconds; figures differ as they must."""
    text = SHORT + "\n" + VARIANT[VARIANT.index("[[") :]
    text = text.replace("mul8s_1KR3", "mul8s_1KR6")
    path = tmp_path / "presets.toml"
    path.write_text(text)
    folder = tmp_path / "results"
    assert command("--preset", "tiny", "--config", path, "--results", folder, "--quiet") == 0
    rows = pd.read_csv(folder / "matrix.csv", keep_default_na=False)
    assert len(rows) == 2 * 3 * 3
    found = rows.set_index(["variant", "recovery", "multiplier", "swapped"])["test_cross_entropy"]
    for variant in ("", "whole"):
        first, other = (found[variant, "none", "mul8s_1KR6", order] for order in (False, True))
        assert first != other
    assert found["", "none", EXACT, False] != found["whole", "none", EXACT, False]
    energy = rows.set_index(["variant", "recovery", "multiplier", "swapped"])["energy_rel"]
    assert energy["whole", "none", "mul8s_1KR6", False] > energy["", "none", "mul8s_1KR6", False]
    assert energy["whole", "none", EXACT, False] == pytest.approx(1)
    one = json.loads(next((folder / "cells").glob("*-whole.json")).read_text())
    assert one["settings"]["protocol"] == {"weight_scales": "tensor", "exact": ["ends"]}
    assert one["base"]["training"]["dense"]["epochs"] == 1.0


def test_other_experts_are_trained_from_the_dense_network_and_measured(tmp_path):
    plan = SHORT[SHORT.index("[[") :].replace('["dense"]', "{}")
    path, folder = tmp_path / "presets.toml", tmp_path / "results"
    path.write_text(
        SHORT[: SHORT.index("[[")].replace("mul8s_1KR3", "mul8s_1L1G")
        + plan.format('["cluster"]')
        + 'protocol = { name = "by-image", cluster_route = "image" }\n'
        + plan.format('["soft"]')
        + 'protocol = { name = "kernels", soft_mixes = "kernels" }\n'
    )
    assert command("--preset", "tiny", "--config", path, "--results", folder, "--quiet") == 0
    rows = pd.read_csv(folder / "matrix.csv")
    assert set(rows["variant"]) == {"by-image", "kernels"} and len(rows) == 2 * 2 * 3
    assert set(rows["float_weights"]) == {"dense: 1 epochs, upcycled and trained on"}
    exact = rows[(rows["multiplier"] == EXACT) & (rows["recovery"] == "none")]
    energy = exact.set_index("variant")["energy_rel"]
    # Mixing kernels costs more on images of 2 × 2 pixels than these convolutions do.
    assert energy["by-image"] == pytest.approx(1, abs=0.02) and energy["kernels"] > 1


def rows_of(variant="", drop=as_the_paper_says):
    rows = table(drop, seeds=(0,), archs=("resnet20",))
    return rows.assign(dataset="cifar100", swapped=False, variant=variant)


def test_protocols_that_flip_a_claim_are_named(tmp_path):
    preset = read_preset("paper-protocols")

    def bad(arch, topology, multiplier, recovery):
        lost = as_the_paper_says(arch, topology, multiplier, recovery)
        return lost + 9 if (topology, recovery) == ("cluster", "retrained") and lost else lost

    cluster = rows_of("cluster-by-image", bad)
    mine = pd.concat([rows_of("ends-exact"), cluster[cluster["topology"] == "cluster"]])
    lines = _protocols.as_table(mine, rows_of().drop(columns="variant"), preset).splitlines()
    head = lines[0].split(" | ")
    assert [word.strip("| ") for word in head[3:]] == ["claim 1", "claim 3", "flips"]
    by_name = {line.split(" | ")[0].strip("| "): line for line in lines[2:]}
    assert f"**{HOLDS}**" in by_name["usual, resnet20"]
    assert by_name["ends-exact, resnet20"].endswith("| none |")
    assert by_name["cluster-by-image, resnet20"].endswith("| 3 |")
    assert "cluster_route image" in by_name["cluster-by-image, resnet20"]
    assert MISSING in by_name["experts-8, resnet20"]
    assert by_name["experts-8, resnet20"].endswith("| – |")
    # Without the usual protocol's cells nothing flips, and nothing is said not to.
    alone = _protocols.as_table(mine, rows_of()[:0], preset)
    assert next(line for line in alone.splitlines() if "ends-exact" in line).endswith("| – |")
    page = _report.protocols_as_markdown(mine, rows_of(), preset, "c")
    assert "`paper-cpu`" in page and "3. With retraining, ResNet-20" in page
