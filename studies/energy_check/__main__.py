"""``python -m studies.energy_check``: rank assignments by our energy model and by ZigZag.

Needs ZigZag (``pip install -e '.[energy-check]'``); or, with ``--mapping``, Yosys and OpenSTA,
through which it sends circuits instead. Writes `results/`.
"""

import dataclasses
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import energy
from dse import provenance
from luts.console import run
from studies._files import together, write_table
from studies._options import study_parser, study_settings
from studies.energy_check._cases import Case, EnergyCheck, LayerProduct, drawn_cases
from studies.energy_check._mapping import compared, mapped_circuits
from studies.energy_check._zigzag import zigzag_memory_pj, zigzag_pj


def main() -> None:
    """Compare what the command line asks for; print and write the comparison."""
    parser = study_parser("energy_check", __doc__)
    parser.add_argument(
        "--mapping",
        type=Path,
        metavar="LIBERTY",
        help="map circuits to the 45 nm cells of this file, in the place of costing assignments",
    )
    options = parser.parse_args()
    if options.mapping is None:
        _compare_assignments(options.results)
        return
    table = mapped_circuits(options.mapping)
    write_table(options.results / "mapped_circuits.csv", table, options.mapping.name)
    print(table.to_string(index=False))
    print("\n".join(compared(table)))


def _compare_assignments(results: Path) -> None:
    """Cost every assignment with both models."""
    study = study_settings(EnergyCheck, "energy_check")
    cases = drawn_cases(study, np.random.default_rng(study.seed))
    # ZigZag is told of operands of 8 bits, so that ours keep all of them, too.
    figures = energy.published_figures().at_full_width()
    figures = dataclasses.replace(figures, activation_memory="sram_1mb")

    # Ours: memory model, weights from DRAM, activations from a 1 MB SRAM.
    ours = [case.ours(figures) for case in cases]

    # Theirs: ZigZag's memory energy of each distinct product, arithmetic from our figures.
    memory_pj = zigzag_memory_pj([p for case in cases for p in case.products().values()], study)
    theirs = [zigzag_pj(case, memory_pj, figures) for case in cases]

    ranking = _ranking(cases, ours, theirs)
    per_site = _per_site(cases, ours, memory_pj)
    agreement = _agreement(ranking, per_site)
    record = {
        "config": dataclasses.asdict(study),
        **provenance(),
        "zigzag-dse": metadata.version("zigzag-dse"),
        "runs": 1,
        "spearman": agreement,
    }
    with together(results) as new:
        ranking.to_csv(new("ranking.csv"), index=False, float_format="%.6g")
        per_site.to_csv(new("traffic_per_site.csv"), index=False, float_format="%.6g")
        text = json.dumps(record, indent=1)
        new("making.json").write_text(text + "\n", encoding="utf-8")
    print(ranking.to_string(index=False, float_format="%.5g"))
    for name, correlation in agreement.items():
        print(f"Spearman, {name.replace('_', ' ')}: {correlation}")


def _ranking(
    cases: list[Case], ours: list[energy.CostBreakdown], theirs: list[float]
) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "experts": [case.layers[0].experts if case.layers else 1 for case in cases],
            "multiplier_uj": [b.components_pj()["multiplier"] / 1e6 for b in ours],
            "ours_uj": [b.energy_pj / 1e6 for b in ours],
            "zigzag_uj": [pj / 1e6 for pj in theirs],
        }
    )
    for column in ("multiplier", "ours", "zigzag"):
        frame[f"{column}_rank"] = frame[f"{column}_uj"].rank().astype(int)
    return frame


def _per_site(
    cases: list[Case], ours: list[energy.CostBreakdown], memory_pj: dict[LayerProduct, float]
) -> pd.DataFrame:
    lines = {}
    for case, breakdown in zip(cases, ours, strict=True):
        rows = {row.site: row for row in breakdown.rows}
        for site, product in case.products().items():
            row = rows[site]
            # Equal products cost the same everywhere, so each is one line.
            lines[product] = {
                "site": site,
                **dataclasses.asdict(product),
                "ours_traffic_pj": row.weight_traffic_pj + row.activation_traffic_pj,
                "zigzag_traffic_pj": memory_pj[product],
            }
    return pd.DataFrame(lines.values()).sort_values(["rows", "inner", "columns"])


def _agreement(ranking: pd.DataFrame, per_site: pd.DataFrame) -> dict[str, float]:
    """Spearman rank correlations with ZigZag."""
    pairs = {
        "assignments": (ranking["ours_uj"], ranking["zigzag_uj"]),
        "assignments_by_products_alone": (ranking["multiplier_uj"], ranking["zigzag_uj"]),
        "traffic_of_products": (per_site["ours_traffic_pj"], per_site["zigzag_traffic_pj"]),
    }
    return {name: round(float(spearmanr(*pair).statistic), 4) for name, pair in pairs.items()}


if __name__ == "__main__":
    run(main)
