"""Everything that is written from the cells: tables, figures, claims."""

import pandas as pd

from luts.errors import InputError
from studies._files import together
from studies.fixed_multiplier import _claims, _figures, _tables
from studies.fixed_multiplier._plan import HERE, MatrixPreset
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
    table, claims, caption = _tables.summary(rows), _claims.judge(rows), making(rows, preset)
    folder = results.path
    with together(folder) as new:
        matrix, summary, without, retrained, page = map(new, WRITTEN)
        rows.to_csv(matrix, index=False, float_format="%.6g")
        table.to_csv(summary, index=False, float_format="%.6g")
        stands_for = proxies(preset)
        _figures.draw_without(without, table, caption, stands_for)
        _figures.draw_retrained(retrained, table, caption, stands_for)
        page.write_text(as_markdown(claims, preset, caption), encoding="utf-8")
    lines = [
        f"{number}. {claim.verdict}: {claim.statement}"
        for number, claim in enumerate(claims, start=1)
    ]
    return "\n".join([*lines, f"{len(rows)} of {len(preset.cells())} cells in {folder}/"])


def proxies(preset: MatrixPreset) -> dict[tuple[str, str], str]:
    """The paper's data set that each network's own stands for."""
    return {(n.arch, n.dataset): n.stands_for for n in preset.networks if n.stands_for}


def making(rows: pd.DataFrame, preset: MatrixPreset) -> str:
    """On one or two lines: how far the matrix is, how it was trained, and on what."""
    epochs = ", ".join(
        f"{n.arch} {n.retrain_epochs:g} after {n.base_epochs:g}" for n in preset.networks
    )
    commits = ", ".join(dict.fromkeys(_short(commit) for commit in rows["commit"]))
    devices = ", ".join(
        f"{device} × {threads} thread{'s' if threads > 1 else ''}"
        for device, threads in rows[["device", "threads"]].drop_duplicates().itertuples(index=False)
    )
    hours = rows["seconds"].sum() / 3600
    free = rows[rows["recovery"] == "recalibrated"].drop_duplicates(["arch", "dataset", "how"])
    steps = "; ".join(f"{row.arch} on {row.dataset} by {row.how}" for row in free.itertuples())
    retrained = rows[rows["recovery"] == "retrained"]
    in_vain = int(retrained["note"].str.contains("did not help|before it restored").sum())
    return (
        f"preset {preset.name}: {len(rows)} of {len(preset.cells())} cells; epochs of retraining "
        f"after those of training: {epochs}; in {in_vain} of {len(retrained)} retrained cells the "
        f"recalibrated state was the better one by validation and was kept; recalibrated: "
        f"{steps or 'none'}\n{devices}; "
        f"{hours:.2f} hours without float training; commit {commits}"
    )


def _short(commit: str) -> str:
    digits, mark, _ = commit.partition("+")
    return digits[:10] + ("+changes" if mark else "")


def as_markdown(claims: list[_claims.Claim], preset: MatrixPreset, caption: str) -> str:
    """The claims as a page, by ``claims_page.md``."""
    rows = []
    for number, claim in enumerate(claims, start=1):
        basis = claim.basis
        for (arch, dataset), meant in proxies(preset).items():
            stands = f"{arch} on {dataset}"
            basis = basis.replace(stands, f"{stands} (a proxy of {meant})")
        rows.append(
            f"| {number} | {claim.statement} | **{claim.verdict}** | {claim.figure} | {basis} |"
        )
    return (
        (HERE / "claims_page.md")
        .read_text(encoding="utf-8")
        .format(
            rows="\n".join(rows),
            preset=preset,
            order="weight" if preset.swapped else "activation",
            claims=_claims,
            fails=FAILS,
            open=OPEN,
            caption=caption.replace("\n", ". "),
        )
    )
