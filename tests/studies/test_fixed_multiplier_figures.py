"""The figures of the fixed-multiplier matrix."""

import pytest

from models import TOPOLOGIES
from studies.fixed_multiplier import _accuracy, _figures, _tables
from tests.studies._paper_world import in_both_orders, table


def test_figures_draw_gaps_and_one_seed(tmp_path):
    for name, rows in (
        ("gaps", table().sample(frac=0.7, random_state=0)),
        ("raw", table(seeds=(0,), archs=("resnet20",)).query("recovery == 'none'")),
    ):
        summary = _tables.summary(rows)
        for kind, draw in (
            ("without", _figures.draw_without),
            ("retrained", _figures.draw_retrained),
        ):
            path = tmp_path / f"{name}-{kind}.png"
            draw(path, summary, "a caption", {})
            assert path.stat().st_size > 10_000


@pytest.mark.parametrize("draw", [_figures.draw_without, _figures.draw_retrained])
def test_the_legend_names_what_any_panel_shows(draw, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(_figures, "_save", lambda figure, *arguments: drawn.append(figure))
    rows = table(seeds=(0,))
    first = (rows["arch"] == "resnet20") & rows["topology"].isin(["soft", "cluster"])
    proxies = {("vit_small", "digits"): "Tiny ImageNet-200"}
    draw(tmp_path / "figure.png", _tables.summary(rows[~first]), "a caption", proxies)
    legend = drawn[0].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()][:4] == list(TOPOLOGIES)
    colours = dict(zip(TOPOLOGIES, legend.legend_handles, strict=False))
    assert {t: line.get_color() for t, line in colours.items()} == _figures.TOPOLOGY_COLOURS
    titles = [axis.get_title() for axis in drawn[0].axes[:3]]
    assert titles[0] == "resnet20 on cifar10-images, 1 seed"
    assert titles[2] == "vit_small on digits, 1 seed\n(a proxy of Tiny ImageNet-200)"


def test_the_enlarged_rows_show_what_is_near(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(_figures, "_save", lambda figure, *arguments: drawn.append(figure))
    summary = _tables.summary(table())
    _figures.draw_without(tmp_path / "a.png", summary, "", {})
    _figures.draw_retrained(tmp_path / "b.png", summary, "", {})
    near = _figures.NEAR_POINTS
    for axis in drawn[0].axes[6:]:
        assert axis.get_ylim() == (near, -near / 4)
    for (_, rows), axis in zip(
        summary.query("recovery == 'retrained'").groupby("arch", sort=False),
        drawn[1].axes[3:],
        strict=True,
    ):
        low, high = axis.get_ylim()
        assert (low, high) == pytest.approx((high - 1.25 * near, low + 1.25 * near))
        assert low < rows["test_accuracy_pct"].max() < high


def test_the_accuracy_of_every_point_is_in_its_place():
    rows = table(archs=("resnet20",))
    is_lacking = (rows["topology"] == "soft") | (rows["topology"] == "hard") & (rows["seed"] > 0)
    is_lacking &= (rows["recovery"] == "retrained") & (rows["multiplier"] == "mul8s_1L1G")
    summary = _tables.summary(rows[~is_lacking])
    page = _accuracy.as_markdown(summary, "tiny", "one line\nand another")
    assert page.endswith("\n\none line. and another.\n")
    heading, cells = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith(("| circuit", "| `mul8s_1L1G`"))
    )
    assert heading[:4] == ["circuit", "power", "raw: `dense`", "`hard`"]
    assert heading[6] == "retrained: `dense`" and len(heading) == len(cells) == 10
    point = summary[(summary["multiplier"] == "mul8s_1L1G") & (summary["topology"] == "dense")]
    raw = point[point["recovery"] == "none"].iloc[0]
    assert cells[2] == f"{raw['test_accuracy_pct']:.1f} ± {raw['accuracy_half_width']:.1f}"
    assert cells[7].endswith(" (n = 1)") and "±" not in cells[7]
    assert cells[8] == ""


def test_both_operand_orders_have_a_row():
    rows = table(seeds=(0,), archs=("resnet20",))
    summary = _tables.summary(in_both_orders(rows, rows))
    page = _accuracy.as_markdown(summary, "tiny", "")
    assert page.index("| `mul8s_1KR3` |") < page.index("| `mul8s_1KR3`, weight first |")
    assert page.count("mul8s_1L1G") == 1
