"""The figures of the fixed-multiplier matrix."""

import pytest

from models import TOPOLOGIES
from studies.fixed_multiplier import _figures, _tables
from tests.studies._paper_world import table


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
