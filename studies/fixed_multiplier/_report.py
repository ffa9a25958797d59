"""Everything that is written from the cells: tables, figures, claims."""

from collections.abc import Mapping, Sequence

import pandas as pd

from luts.errors import InputError
from studies._files import together
from studies.fixed_multiplier import (
    _accuracy,
    _assumed,
    _claims,
    _figures,
    _orders,
    _protocols,
    _tables,
)
from studies.fixed_multiplier._plan import HERE, MatrixPreset, NetworkPlan, read_preset
from studies.fixed_multiplier._results import WRITTEN, Results
from studies.fixed_multiplier._verdicts import FAILS, OPEN


def write(results: Results, preset: MatrixPreset) -> str:
    """Write tables, figures and claims anew from the cells in a folder; the claims in short.

    An error in making one of them leaves all the old ones there.

    Raises:
        InputError: there is no cell.
    """
    rows = _tables.matrix(results.records())
    if rows.empty:
        raise InputError(
            f"{results.path} holds no cell: measure some with "
            f"python -m studies.fixed_multiplier --preset {preset.name}"
        )
    table, caption = _tables.summary(rows), making(rows, preset)
    text, said = page_of(rows, preset, caption)
    folder = results.path
    with together(folder) as new:
        matrix, summary, without, retrained, page, accuracy = map(new, WRITTEN)
        rows.to_csv(matrix, index=False, float_format="%.6g")
        table.to_csv(summary, index=False, float_format="%.6g")
        stands_for = proxies(preset)
        _figures.draw_without(without, table, caption, stands_for)
        _figures.draw_retrained(retrained, table, caption, stands_for)
        page.write_text(text, encoding="utf-8")
        by_cell = _accuracy.as_markdown(table, preset.name, caption)
        accuracy.write_text(by_cell, encoding="utf-8")
    return "\n".join([*said, f"{len(rows)} of {len(preset.cells())} cells in {folder}/"])


def page_of(rows: pd.DataFrame, preset: MatrixPreset, caption: str) -> tuple[str, list[str]]:
    """``claims.md``, and what is printed of it."""
    if preset.usual:
        usual = _protocols.committed(preset.usual)
        return protocols_as_markdown(rows, usual, preset, caption), []
    claims = _orders.judge(_tables.of_variant(rows, ""))
    lines = [
        f"{number}. {claim.verdict}: {claim.statement}"
        for number, claim in enumerate(claims, start=1)
    ]
    below = _orders.judge(_protocols.committed(preset.proxies)) if preset.proxies else []
    return as_markdown(claims, preset, caption, rows=rows, proxied=below), lines


def proxies(preset: MatrixPreset) -> dict[tuple[str, str], str]:
    """The paper's data set that each network's own stands for."""
    return {(n.arch, n.dataset): n.stands_for for n in preset.networks if n.stands_for}


def making(rows: pd.DataFrame, preset: MatrixPreset) -> str:
    """On one or two lines: how far the matrix is, how it was trained, and on what."""
    there = set(zip(rows["arch"], rows["dataset"], strict=True))
    networks = [plan for plan in preset.networks if (plan.arch, plan.dataset) in there]
    epochs = ", ".join(dict.fromkeys(map(_epochs, networks)))
    commits = ", ".join(dict.fromkeys(_short(commit) for commit in rows["commit"]))
    devices = ", ".join(
        f"{device} × {threads} thread{'s' if threads > 1 else ''}"
        for device, threads in rows[["device", "threads"]].drop_duplicates().itertuples(index=False)
    )
    hours = rows["seconds"].sum() / 3600
    free = rows[rows["recovery"] == "recalibrated"].drop_duplicates(["arch", "dataset", "how"])
    steps = "; ".join(f"{row.arch} on {row.dataset} by {row.how}" for row in free.itertuples())
    retrained = rows[rows["recovery"] == "retrained"]
    parts = "".join(f"; {said}" for said in parts_of(rows).values())
    in_vain = int(retrained["note"].str.contains("did not help|before it restored").sum())
    vain = (
        f"; in {in_vain} of {len(retrained)} retrained cells the recalibrated state was the better "
        f"one by validation and was kept"
        if len(retrained)
        else ""
    )
    return (
        f"preset {preset.name}: {len(rows)} of {len(preset.cells())} cells; epochs of retraining "
        f"after those of training: {epochs}{vain}; recalibrated: {steps or 'none'}{parts}\n"
        f"{devices}; {hours:.2f} hours without float training; commit {commits}"
    )


def _epochs(network: NetworkPlan) -> str:
    more = network.aggressive_epochs
    also = "" if more is None else f" ({more:g} at aggressive multipliers)"
    return f"{network.arch} {network.retrain_epochs:g}{also} after {network.base_epochs:g}"


def parts_of(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Of networks whose data set is a part of the published one: how much of it there is."""
    if "data" not in rows:
        return {}
    some = rows[rows["data"].str.contains(" images)", regex=False)]
    pairs = some[["arch", "dataset", "data"]].drop_duplicates().itertuples(index=False)
    return {(str(row.arch), str(row.dataset)): str(row.data) for row in pairs}


def _short(commit: str) -> str:
    digits, mark, _ = commit.partition("+")
    return digits[:10] + ("+changes" if mark else "")


def as_markdown(
    claims: list[_claims.Claim],
    preset: MatrixPreset,
    caption: str,
    *,
    rows: pd.DataFrame | None = None,
    proxied: Sequence[_claims.Claim] = (),
) -> str:
    """The claims as a page, by ``claims_page.md``.

    Args:
        claims: of the preset.
        preset: what they are judged on.
        caption: how the cells were made.
        rows: the cells, where the page says of what parts of data sets they are, and on the paper's
            own data what the verdicts assume.
        proxied: the claims as a preset of proxies answers them, for below.
    """
    parts = {} if rows is None else parts_of(rows)
    meant = {subject: f"a proxy of {name}" for subject, name in proxies(preset).items()}
    assumed = "" if rows is None or meant else f"\n\n{_assumed.as_markdown(preset, rows)}"
    return (
        (HERE / "claims_page.md")
        .read_text(encoding="utf-8")
        .format(
            rows="\n".join(_claim_rows(claims, meant, parts)),
            preset=preset,
            order=_PORTS[preset.ports],
            claims=_claims,
            fails=FAILS,
            open=OPEN,
            caption=caption.replace("\n", ". "),
            assumed=assumed,
            below=_below(preset, proxied) if proxied else "",
        )
    )


_PORTS = {
    "activation": "the activation on the circuit's first port",
    "weight": "the weight on the circuit's first port",
    "both": (
        "the activation on the circuit's first port, and the weight there, for the circuits that "
        "are not commutative; where that decides a claim, its verdict says so"
    ),
}


def _claim_rows(
    claims: Sequence[_claims.Claim],
    meant: Mapping[tuple[str, str], str],
    parts: Mapping[tuple[str, str], str],
) -> list[str]:
    """Rows of a table; what networks were measured on, with what is to be said of the data."""
    lines = []
    for number, claim in enumerate(claims, start=1):
        basis = claim.basis
        for (arch, dataset), proxy in meant.items():
            stands = f"{arch} on {dataset}"
            basis = basis.replace(stands, f"{stands} ({proxy})")
        for (arch, dataset), said in parts.items():
            basis = basis.replace(f"{arch} on {dataset}", f"{arch} on {said}")
        lines.append(
            f"| {number} | {claim.statement} | **{claim.verdict}** | {claim.figure} | {basis} |"
        )
    return lines


def _below(preset: MatrixPreset, proxied: Sequence[_claims.Claim]) -> str:
    """The same claims as proxies answer them, said to be that."""
    other = read_preset(preset.proxies)
    meant = {subject: f"a proxy of {name}" for subject, name in proxies(other).items()}
    rows = "\n".join(_claim_rows(proxied, meant, {}))
    return (
        f"\n\n## Proxies\n\nThe same claims on other data, of preset `{other.name}` "
        f"([its page](../{other.name}/claims.md)): hints, where the table above has a verdict of "
        f"its own.\n\n| | claim | verdict on a proxy | figure | measured on |\n"
        f"|---|---|---|---|---|\n{rows}"
    )


def protocols_as_markdown(
    rows: pd.DataFrame, usual: pd.DataFrame, preset: MatrixPreset, caption: str
) -> str:
    """The verdicts under each protocol as a page, by ``protocols_page.md``."""
    statements = "\n".join(
        f"{number}. {claim.statement}"
        for number, claim in enumerate(_claims.judge(rows[:0]), start=1)
    )
    return (
        (HERE / "protocols_page.md")
        .read_text(encoding="utf-8")
        .format(
            rows=_protocols.as_table(rows, usual, preset),
            preset=preset,
            claims=statements,
            caption=caption.replace("\n", ". "),
        )
    )
