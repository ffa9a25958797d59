"""Products that the comparison with ZigZag is made of."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

import energy
import luts
import models
from luts.errors import InputError
from studies._options import STUDIES
from studies.energy_check import _cases as study
from studies.energy_check import _mapping as mapping


@pytest.mark.parametrize("topology", ["dense", "hard"])
def test_products_do_the_macs_of_their_sites(topology):
    network = models.build("vit_small", topology=topology, image_size=32, patch_size=16)
    example = torch.zeros(1, 3, 32, 32)
    sites = models.sites(network, example)
    layers = models.expert_work(network, example)
    routing = study.whole_token_routing(layers, 0.5, np.random.default_rng(0))
    for site in sites:
        rate = 1.0 if site.expert is None else routing.rate(site.expert_layer, site.expert)
        product = study.product_of(site, sites, routing)
        assert product.macs == pytest.approx(site.macs * rate)


def test_mixes_grow_harsher():
    network = models.build("vit_small")
    sites = models.sites(network, torch.zeros(1, 3, 32, 32))
    rng = np.random.default_rng(0)
    mild, harsh = (study.mixed_assignment(sites, harshness, rng) for harshness in (0.1, 0.9))
    assert (
        energy.cost(energy.Workload(sites), mild).energy_rel
        > energy.cost(energy.Workload(sites), harsh).energy_rel + 0.3
    )


def test_mapping_needs_its_liberty_file(monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.which", lambda tool: tool)
    with pytest.raises(InputError, match="give a liberty file"):
        mapping.mapped_circuits(tmp_path / "none.lib")
    monkeypatch.setattr("shutil.which", lambda tool: None)
    with pytest.raises(InputError, match="install yosys and opensta"):
        mapping.mapped_circuits(tmp_path / "none.lib")
    assert (
        mapping._number(r"Chip area.*: ([\d.]+)", "   Chip area for module '\\m': 644.3") == 644.3
    )
    with pytest.raises(InputError, match="a tool's report lacks"):
        mapping._number("area (x)", "nothing")


def test_the_mapped_circuits_rank_as_ours():
    table = pd.read_csv(STUDIES / "energy_check/results/mapped_circuits.csv", comment="#")
    assert table["name"].is_unique and set(table["from"]) == {"published", "estimated"}
    for figure in ("power_mw", "area_um2", "delay_ns"):
        assert spearmanr(table[figure], table[f"mapped_{figure}"])[0] > 0.97
        for line in table[table["from"] == "estimated"].to_dict("records"):
            assert line[figure] == getattr(luts.catalog[line["name"]], figure)
