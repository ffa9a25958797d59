"""``python -m studies.energy_check.run``: rank assignments by our energy model and by ZigZag.

Needs ZigZag (``pip install -e '.[energy-check]'``); writes `results/`.
"""

import dataclasses
import json
import logging
import platform
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import energy
import luts
import models
from luts.console import Parser, Reporter, run
from luts.errors import InputError

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Product:
    """A site as matrix products ``(rows, inner) · (inner, columns)``, ``count`` of them."""

    rows: int
    inner: int
    columns: int
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all of them."""
        return self.rows * self.inner * self.columns * self.count


def main() -> None:
    """Cost every assignment with both models; print and write the comparison."""
    parser = Parser(prog="python -m studies.energy_check.run", description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "config.toml")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    options = parser.parse_args()
    config = tomllib.loads(options.config.read_text(encoding="utf-8"))
    rng = np.random.default_rng(config["seed"])

    # ZigZag is told of operands of 8 bit, so that ours keep all of them, too.
    figures = energy.published_figures().at_full_width()
    figures = dataclasses.replace(figures, activation_memory="sram_1mb")

    # Ten assignments, from nearly exact to mostly harsh, on networks with and without experts.
    counts = config["expert_counts"]
    listed = {experts: _sites_and_layers(config, experts) for experts in counts}
    cases = [
        _case(*listed[counts[index % len(counts)]], harshness, config["concentration"], rng)
        for index, harshness in enumerate(np.linspace(0, 1, config["assignments"]))
    ]

    # Ours: memory model, weights from DRAM, activations from a 1 MB SRAM.
    ours = [case.ours(figures) for case in cases]

    # Theirs: ZigZag's memory energy of each distinct product, arithmetic from our figures.
    memory_pj = zigzag_memory_pj([p for case in cases for p in case.products().values()], config)
    theirs = [zigzag_pj(case, memory_pj, figures) for case in cases]

    ranking = _ranking(cases, ours, theirs)
    per_site = _per_site(cases, ours, memory_pj)
    _write(options.out, ranking, per_site, config)
    _show(ranking, per_site)


@dataclasses.dataclass(frozen=True)
class Case:
    """One assignment on one network under its own routing."""

    sites: tuple[models.Site, ...]
    layers: tuple[models.ExpertWork, ...]
    routing: models.Routing
    assignment: models.Assignment

    def ours(self, figures: energy.Figures) -> energy.CostBreakdown:
        """Its cost by our model."""
        return energy.cost(
            energy.Workload(self.sites, self.routing, self.layers),
            self.assignment,
            figures,
            used=energy.usage([self.routing]),
            model="memory",
        )

    def products(self) -> dict[str, Product]:
        """What one image computes at every site that works for it."""
        found = {site.name: product_of(site, self.sites, self.routing) for site in self.sites}
        return {name: product for name, product in found.items() if product.rows}


def _sites_and_layers(
    config: dict[str, Any], experts: int
) -> tuple[tuple[models.Site, ...], tuple[models.ExpertWork, ...]]:
    fields = {field.name for field in dataclasses.fields(models.NetworkConfig)}
    chosen = {key: value for key, value in config.items() if key in fields}
    if experts > 1:
        chosen |= {"topology": "hard", "experts": experts}
    network = models.build(models.NetworkConfig(**chosen))
    example = torch.zeros(1, 3, config["image_size"], config["image_size"])
    return models.sites(network, example), models.expert_work(network, example)


def _case(
    sites: tuple[models.Site, ...],
    layers: tuple[models.ExpertWork, ...],
    harshness: float,
    concentration: float,
    rng: np.random.Generator,
) -> Case:
    return Case(
        sites=sites,
        layers=layers,
        routing=whole_token_routing(layers, concentration, rng),
        assignment=mixed_assignment(sites, harshness, rng),
    )


def whole_token_routing(
    layers: Sequence[models.ExpertWork], concentration: float, rng: np.random.Generator
) -> models.Routing:
    """Uneven activation rates that are whole numbers of one image's tokens."""
    rates = {}
    for layer in layers:
        parts = rng.dirichlet([concentration] * layer.experts)
        tokens = rng.multinomial(layer.items, parts)
        rates[layer.layer] = tuple(tokens / layer.items)
    return models.Routing(rates=rates, source="drawn by the study")


def mixed_assignment(
    sites: Sequence[models.Site], harshness: float, rng: np.random.Generator
) -> models.Assignment:
    """A mix of multipliers around the one at ``harshness`` (0…1) in the order of power."""
    names = luts.catalog.names("mul8s")
    codes = rng.normal(harshness * (len(names) - 1), 3, len(sites))
    codes = np.clip(np.rint(codes), 0, len(names) - 1).astype(int)
    choices = {}
    for site, code in zip(sites, codes, strict=True):
        choices[site.name] = models.Choice(luts.EXACT if site.kind == "router" else names[code])
    return models.Assignment.of(choices)


def product_of(site: models.Site, sites: Sequence[models.Site], routing: models.Routing) -> Product:
    """What one image computes at ``site``."""
    if site.kind in ("qk", "av"):
        attention = site.name.rsplit(".", 1)[0]
        qk = next(s for s in sites if s.name == f"{attention}.qk")
        av = next(s for s in sites if s.name == f"{attention}.av")
        tokens, width = av.fan_in, qk.fan_in
        heads = site.macs // (tokens * tokens * width)
        inner, columns = (width, tokens) if site.kind == "qk" else (tokens, width)
        return Product(tokens, inner, columns, heads)
    rows = site.macs // site.weights
    if site.expert_layer is not None and site.expert is not None:
        rows = round(rows * routing.rate(site.expert_layer, site.expert))
    return Product(rows, site.fan_in, site.weights // site.fan_in)


def zigzag_pj(case: Case, memory_pj: dict[Product, float], figures: energy.Figures) -> float:
    """Energy of one image in picojoule: ZigZag's memories, our products and accumulations."""
    total = 0.0
    for name, product in case.products().items():
        mac_pj = figures.product_pj(case.assignment.choices[name].multiplier)
        total += memory_pj[product] + product.macs * (mac_pj + figures.accumulation_pj)
    return total


def zigzag_memory_pj(products: list[Product], config: dict[str, Any]) -> dict[Product, float]:
    """Energy of all memory accesses by product, in picojoule, under ZigZag's best mapping.

    Raises:
        InputError: ZigZag is not installed.
    """
    try:
        import zigzag
        from zigzag.api import get_hardware_performance_zigzag
    except ImportError as error:
        raise InputError(
            f"this study compares with ZigZag, which is not there ({error}); "
            f"pip install -e '.[energy-check]'"
        ) from error
    logging.disable(logging.WARNING)
    inputs = Path(zigzag.__file__).parent / "inputs"
    found = {}
    distinct = sorted(set(products), key=dataclasses.astuple)
    with tempfile.TemporaryDirectory() as scratch:
        for product in Reporter().track(distinct, "ZigZag, product shapes"):
            _, _, evaluations = get_hardware_performance_zigzag(
                [_layer(product)],
                str(inputs / "hardware" / f"{config['accelerator']}.yaml"),
                str(inputs / "mapping" / f"{config['accelerator']}.yaml"),
                opt="energy",
                dump_folder=scratch,
                lpf_limit=config["lpf_limit"],
                loma_show_progress_bar=False,
            )
            found[product] = evaluations[0][0].mem_energy * product.count
    return found


def _layer(product: Product) -> dict[str, Any]:
    return {
        "id": 0,
        "name": "product",
        "operator_type": "Gemm",
        "equation": "O[b][k]+=I[b][c]*W[c][k]",
        "dimension_relations": [],
        "loop_dims": ["B", "K", "C"],
        "loop_sizes": [product.rows, product.columns, product.inner],
        "operand_precision": {"O": 16, "O_final": 8, "W": 8, "I": 8},
        "operand_source": {"W": 0, "I": 0},
    }


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
    cases: list[Case], ours: list[energy.CostBreakdown], memory_pj: dict[Product, float]
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


def _write(
    out: Path, ranking: pd.DataFrame, per_site: pd.DataFrame, config: dict[str, Any]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    ranking.to_csv(out / "ranking.csv", index=False, float_format="%.6g")
    per_site.to_csv(out / "traffic_per_site.csv", index=False, float_format="%.6g")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    ).stdout.strip()
    record = {
        "config": config,
        "commit": commit or "unknown",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "zigzag-dse": metadata.version("zigzag-dse"),
        "runs": 1,
        "spearman": _agreement(ranking, per_site),
    }
    (out / "making.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _agreement(ranking: pd.DataFrame, per_site: pd.DataFrame) -> dict[str, float]:
    """Spearman rank correlations with ZigZag."""
    pairs = {
        "assignments": (ranking["ours_uj"], ranking["zigzag_uj"]),
        "assignments_by_products_alone": (ranking["multiplier_uj"], ranking["zigzag_uj"]),
        "traffic_of_products": (per_site["ours_traffic_pj"], per_site["zigzag_traffic_pj"]),
    }
    return {name: round(float(spearmanr(*pair).statistic), 4) for name, pair in pairs.items()}


def _show(ranking: pd.DataFrame, per_site: pd.DataFrame) -> None:
    table = Table(title="energy of one image by both models")
    for column in ranking.columns:
        table.add_column(column, justify="right")
    for line in ranking.itertuples(index=False):
        table.add_row(*(f"{value:.5g}" for value in line))
    console = Console()
    console.print(table)
    for name, correlation in _agreement(ranking, per_site).items():
        console.print(f"Spearman, {name.replace('_', ' ')}: {correlation}")


if __name__ == "__main__":
    run(main)
