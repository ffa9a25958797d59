"""The other cost model: ZigZag's memories, with our figures for products and accumulations."""

import dataclasses
import logging
import tempfile
from pathlib import Path
from typing import Any

import energy
from luts.console import Reporter
from luts.errors import InputError
from studies.energy_check._cases import Case, EnergyCheck, LayerProduct


def zigzag_pj(case: Case, memory_pj: dict[LayerProduct, float], figures: energy.Figures) -> float:
    """Energy of one image in picojoule: ZigZag's memories, our products and accumulations."""
    total = 0.0
    for name, product in case.products().items():
        mac_pj = figures.product_pj(case.assignment.choices[name].multiplier)
        total += memory_pj[product] + product.macs * (mac_pj + figures.accumulation_pj)
    return total


def zigzag_memory_pj(products: list[LayerProduct], study: EnergyCheck) -> dict[LayerProduct, float]:
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
    memory_pj = {}
    distinct = sorted(set(products), key=dataclasses.astuple)
    with tempfile.TemporaryDirectory() as scratch:
        for product in Reporter().track(distinct, "ZigZag, product shapes"):
            _, _, evaluations = get_hardware_performance_zigzag(
                [_layer(product)],
                str(inputs / "hardware" / f"{study.accelerator}.yaml"),
                str(inputs / "mapping" / f"{study.accelerator}.yaml"),
                opt="energy",
                dump_folder=scratch,
                lpf_limit=study.lpf_limit,
                loma_show_progress_bar=False,
            )
            memory_pj[product] = evaluations[0][0].mem_energy * product.count
    return memory_pj


def _layer(product: LayerProduct) -> dict[str, Any]:
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
