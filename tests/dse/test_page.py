"""front.html: what it shows, that names stay text, and what it does in a headless Chromium."""

import dataclasses
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest

import luts
from dse.problem import Trial, non_dominated
from dse.results import Closing
from dse.results._page import page, page_data
from dse.results._pictures import draw_front
from dse.study import SearchConfig
from models import Assignment, Choice, Measure, Score

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH: the page is not opened here"
)
HOSTILE = '</script><img src=x onerror="document.title=1">&amp;$x$'
SITES = (
    "conv1",
    *(f"layer1.{block}.conv{layer}" for block in range(2) for layer in (1, 2)),
    *(f"layer2.moe.experts.{expert}.conv" for expert in range(3)),
    f"fc{HOSTILE}",
)


def search(count=60, sites=SITES, topology="hard", *, dataset="cifar10", exact=()):
    """A finished search with made-up scores: more power is mostly more accurate."""
    rng = np.random.default_rng(7)
    names = luts.catalog.names("mul8s")
    power = np.array([luts.catalog[name].power_mw for name in names])
    tables = {name: luts.catalog[name].sha256 for name in names}
    trials = {}
    for number in range(count):
        codes = rng.integers(0, len(names), len(sites))
        if number < len(names):
            codes[:] = number
        chosen = [Choice(names[code], *(rng.random(2) < 0.4)) for code in codes]
        choices = {
            site: Choice(names[0]) if site in exact else Choice(c.multiplier, bool(c.swapped),
                                                                bool(c.rounded))
            for site, c in zip(sites, chosen, strict=True)
        }  # fmt: skip
        energy = float(power[codes].mean() / power.max())
        accuracy = 0.9 - 0.2 * (1 - energy) ** 3 - abs(float(rng.normal(0, 0.02)))
        # Unlike the accuracy's, the cross-entropy's front has another shape.
        score = Score(accuracy, 0.5 - accuracy / 3 + float(rng.normal(0, 0.02)), 500)
        origin = "uniform" if number < len(names) else "screening" if number < 25 else "guided"
        assignment = Assignment(choices, tables)
        fidelity = "fine-tuned" if number % 7 == 6 else "recalibrated"
        trials[number] = Trial(number, origin, assignment, energy, score, fidelity, 1.0)
    points = np.array([trial.objectives for trial in trials.values()])
    front = tuple(int(at) for at in non_dominated(points))
    for number in (*front[:4], *range(len(names))):
        test = Score(trials[number].validation.accuracy - 0.01, 0.4, 2000)
        trials[number] = dataclasses.replace(trials[number], test=test)
    exact_score = Score(0.91, 0.2, 500)
    fixed = tuple(range(len(names)))
    closing = Closing(
        exact_score, exact_score, Score(0.9, 0.2, 2000), trials, front, front[:4], fixed, 3
    )
    return closing, SearchConfig(arch="resnet20", topology=topology, dataset=dataset, exact=exact)


def embedded(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))


# --- the data ----------------------------------------------------------------------------------


def test_every_trial_and_choice_is_there():
    closing, config = search()
    data = embedded(page([(closing, config)]))
    (run,) = data["runs"]
    assert data == json.loads(json.dumps(page_data([(closing, config)])))
    for shown, trial in zip(data["trials"], closing.trials.values(), strict=True):
        assert shown["number"] == trial.number and shown["origin"] == trial.origin
        assert shown["energy"] == pytest.approx(trial.energy_rel, abs=1e-6)
        assert shown["accuracy"] == pytest.approx(100 * trial.validation.accuracy, abs=1e-4)
        assert (shown["test"] is None) == (trial.test is None)
        for site, code in zip(run["sites"], shown["codes"], strict=True):
            choice = run["choices"][code]
            wanted = trial.assignment.choices[site]
            assert Choice(choice["multiplier"], choice["swapped"], choice["rounded"]) == wanted
            power = luts.catalog[wanted.multiplier].power_mw / luts.catalog["mul8s_1KV8"].power_mw
            assert choice["power"] == pytest.approx(power, abs=1e-4)


def test_experts_stand_side_by_side():
    (run,) = page_data([search()])["runs"]
    assert run["experts"] == ["shared", "expert 0", "expert 1", "expert 2"]
    shown = [site for row in run["grid"] for site in row["sites"] if site is not None]
    assert sorted(shown) == list(range(len(SITES)))
    (row,) = [row for row in run["grid"] if "experts" in row["name"]]
    assert [None if at is None else SITES[at] for at in row["sites"]] == [
        None, *(f"layer2.moe.experts.{expert}.conv" for expert in range(3))
    ]  # fmt: skip


def test_progress_never_falls_and_ends_at_one():
    closing, config = search()
    (run,) = page_data([(closing, config)])["runs"]
    progress = run["progress"]
    assert len(progress) == len(closing.trials) and progress[-1] == 1
    assert progress == sorted(progress) and progress[0] < 1
    assert [origin for _, origin in run["phases"]] == ["uniform", "screening", "guided"]


def test_sites_that_stayed_exact_are_marked():
    (run,) = page_data([search(exact=("conv1",))])["runs"]
    assert [site for site, pinned in zip(run["sites"], run["pinned"], strict=True) if pinned] == [
        "conv1"
    ]


def test_a_page_asks_for_nothing_and_is_small():
    sites = tuple(f"blocks.{i // 8}.layer{i % 8}" for i in range(100))
    text = page([search(1000, sites)])
    assert len(text.encode()) < 5 * 2**20
    urls = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert urls == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bsrc\s*=|@import|url\((?!#)", text)


def test_names_cannot_end_the_script():
    text = page([search(dataset=f"imagefolder:{HOSTILE}")])
    assert "<img" not in text
    assert embedded(text)["runs"][0]["sites"][-1] == f"fc{HOSTILE}"


# --- in a browser ------------------------------------------------------------------------------


def opened(tmp_path, searches, script=""):
    """What the script returns, run in the page after it has drawn itself."""
    text = page(searches)
    probe = (
        "<script>window.addEventListener('load', () => {let said;"
        "try {said = (() => {" + script + "})();} catch (error) {said = 'failed: ' + error;}"
        "const made = document.createElement('pre'); made.id = 'said';"
        "made.textContent = encodeURIComponent(JSON.stringify(said ?? null));"
        "document.body.append(made);});</script>"
    )
    file = tmp_path / "front.html"
    file.write_text(text.replace("</body>", probe + "</body>"), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user")
    done = subprocess.run(
        [CHROMIUM, *options, "--virtual-time-budget=20000", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    from urllib.parse import unquote

    said = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    return json.loads(unquote(said.group(1))), done.stdout


@needs_chromium
def test_the_front_is_one_in_the_axes_that_are_drawn(tmp_path):
    closing, config = search()
    script = """
        const found = {};
        byId("view").value = "all"; byId("view").dispatchEvent(new Event("change"));
        for (const option of [...byId("metric").options]) {
          byId("metric").value = option.value;
          byId("metric").dispatchEvent(new Event("change"));
          found[option.value] = [...document.querySelectorAll(".mark.on-front")]
            .map((mark) => data.trials[mark.dataset.at].number);
          found[option.value + " drawn"] = document.querySelectorAll(".mark").length;
        }
        return [document.body.dataset.ready, found];
    """
    (ready, found), _ = opened(tmp_path, [(closing, config)], script)
    assert ready == "yes"
    trials = list(closing.trials.values())
    values = {
        "accuracy": lambda t: -t.validation.accuracy,
        "cross_entropy": lambda t: t.validation.cross_entropy,
        "test": lambda t: None if t.test is None else -t.test.accuracy,
    }
    for metric, value in values.items():
        shown = [trial for trial in trials if value(trial) is not None]
        assert found[f"{metric} drawn"] == len(shown)
        expected = []
        groups = {"tested"} if metric == "test" else {trial.fidelity for trial in shown}
        for group in groups:
            mine = [t for t in shown if group in ("tested", t.fidelity)]
            points = np.array([[round(t.energy_rel, 6), value(t)] for t in mine])
            expected += [mine[at].number for at in non_dominated(points)]
        assert sorted(found[metric]) == sorted(expected)


@needs_chromium
def test_a_click_or_enter_offers_the_assignment_as_json(tmp_path):
    closing, config = search()
    script = """
        const texts = [];
        const marks = [...document.querySelectorAll(".mark")];
        marks[3].dispatchEvent(new MouseEvent("click", { bubbles: true }));
        const first = state.chosen.number;
        const link = byId("download").href;
        texts.push([first, decodeURIComponent(link.slice(link.indexOf(",") + 1))]);
        const focusable = document.querySelector(".mark[tabindex='0']");
        focusable.focus();
        const press = (key) => document.activeElement.dispatchEvent(
          new KeyboardEvent("keydown", { key, bubbles: true }));
        press("Home"); press("ArrowRight"); press("ArrowRight"); press("Enter");
        texts.push([state.chosen.number, jsonOf(state.chosen)]);
        return [texts, byId("assignment").querySelectorAll("td.cell").length,
          byId("trial-heading").textContent, document.activeElement.dataset.at,
          document.querySelectorAll(".mark[tabindex='0']").length];
    """
    (texts, cells, heading, focus, stops), _ = opened(tmp_path, [(closing, config)], script)
    for number, text in texts:
        assert text == closing.trials[number].assignment.to_json()
    assert texts[0][0] != texts[1][0] and cells == len(SITES)
    assert str(texts[1][0]) in heading
    assert int(focus) == texts[1][0] and stops == 1


@needs_chromium
def test_filters_and_views_change_what_is_drawn(tmp_path):
    dense = search(30, SITES[:5], "dense")
    script = """
        byId("view").value = "all"; byId("view").dispatchEvent(new Event("change"));
        const drawn = () => [...document.querySelectorAll(".mark")]
          .map((mark) => data.trials[mark.dataset.at]);
        const untick = (id, at) => byId(id).querySelectorAll("input")[at].click();
        const counts = [drawn().length];
        untick("topologies", 1); counts.push(drawn().length);
        untick("origins", 0); counts.push(drawn().filter((t) => t.origin === "uniform").length);
        untick("fidelities", 0); counts.push(new Set(drawn().map((t) => t.fidelity)).size);
        untick("fidelities", 1); counts.push(byId("chart").textContent);
        return counts;
    """
    counts, _ = opened(tmp_path, [search(), dense], script)
    assert counts == [90, 60, 0, 1, "No trial is left; tick more boxes."]


def test_names_with_braces_and_scores_that_are_no_numbers_are_data():
    closing, config = search(dataset="imagefolder:{{data}} {{style}}")
    first = closing.trials[0]
    lost = dataclasses.replace(first.validation, loss=float("nan"))
    closing.trials[0] = dataclasses.replace(first, validation=lost)
    text = page([(closing, config)])
    assert "<title>" in text and "{{data}} {{style}}" in text.split("</title>")[0]
    data = embedded(text)
    assert data["title"] == config.title and data["trials"][0]["cross_entropy"] is None


@needs_chromium
def test_hostile_names_are_shown_as_text(tmp_path):
    found = search(dataset=f"imagefolder:{HOSTILE}")
    said, dom = opened(
        tmp_path, [found],
        "return [document.title, byId('title').textContent, document.images.length,"
        " byId('assignment').textContent];",
    )  # fmt: skip
    title, heading, images, table = said
    assert title == heading == found[1].title and images == 0
    assert f"fc{HOSTILE}" in table
    assert "<img" not in dom


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0])
def test_a_metric_that_is_no_number_or_at_its_best_is_drawn(value):
    closing, config = search()
    measure = Measure("share", True, 1.0)
    score, exact = Score(value, value, 500, measure), Score(0.9, 0.2, 500, measure)
    trials = {
        number: dataclasses.replace(t, validation=score, test=t.test and score)
        for number, t in closing.trials.items()
    }
    exacts = {"exact_validation": exact, "exact_searched": exact, "exact_test": score}
    drawn = dataclasses.replace(closing, trials=trials, **exacts)
    data = embedded(page([(drawn, config)]))
    assert data["runs"][0]["exact"]["test"] == (1.0 if value == 1.0 else None)
    assert draw_front(drawn, config).axes[0].get_ylabel().startswith("validation 1 − share")


@needs_chromium
def test_the_page_of_a_metric_says_its_name_and_no_percent(tmp_path):
    closing, config = search()
    measure = Measure("perplexity", False, 1.0)

    def by_metric(score):
        return score and Score(1 + score.loss, score.loss, score.images, measure, 0.01)

    trials = {
        number: dataclasses.replace(t, validation=by_metric(t.validation), test=by_metric(t.test))
        for number, t in closing.trials.items()
    }
    names = ("exact_validation", "exact_searched", "exact_test")
    exacts = {name: by_metric(getattr(closing, name)) for name in names}
    script = """
        const titles = [...byId("metric").options].map((option) => option.textContent);
        const mark = document.querySelector(".mark.on-front");
        mark.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        return [document.body.dataset.ready, titles, mark.getAttribute("aria-label"),
          byId("trial-facts").textContent, byId("front-heading").textContent];
    """
    found, _ = opened(
        tmp_path, [(dataclasses.replace(closing, trials=trials, **exacts), config)], script
    )
    ready, titles, label, facts, heading = found
    assert ready == "yes" and heading == "perplexity against energy"
    assert titles == ["validation perplexity", "validation loss", "test perplexity"]
    assert re.search(r"validation perplexity 1\.\d{4} ± 0\.0100, loss 0\.\d{4}", label)
    assert "loss 0." in facts and "%" not in label + facts
