"""Figures: the published ones, the user's own, and every fault in a file."""

import dataclasses

import pytest

import energy
import luts
from luts.circuits import members
from luts.errors import InputError
from tests.energy.networks import load

HEADER = "multiplier,power_mw,area_um2,delay_ns,source\n"


def written(folder, text):
    path = folder / "figures.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_published_figures_are_the_catalogues():
    figures = energy.published_figures()
    assert set(figures.multipliers) == {*luts.catalog, *members()}
    assert figures.multiplier("array:a3b5d0").power_mw == luts.catalog["array:a3b5d0"].power_mw
    assert figures.relative("array:a0b0d0") == 1
    assert figures.relative("mul8s_1L2H") == pytest.approx(0.7082, abs=5e-5)
    assert all(entry.source for entry in figures.operations.values())
    # Horowitz: 1.3 nJ for 64 bit of DRAM is 20.3 pJ a bit.
    assert figures.weight_byte_pj / 8 == pytest.approx(20.3, abs=0.05)


def test_power_delay_product_of_the_smallest_circuit():
    figures = energy.published_figures(convention="power-delay")
    assert figures.relative("mul8s_1KR3") == pytest.approx(0.074, abs=5e-4)


def test_own_figures_replace_the_published(tmp_path):
    path = written(tmp_path, HEADER + "mul8s_1KR3, 0.2125, 100, 1, my synthesis\n")
    figures = energy.read_figures(path)
    assert figures.relative("mul8s_1KR3") == 0.5
    assert figures.multipliers["mul8s_1KR3"].source == "my synthesis"
    assert figures.relative("mul8s_1L2H") == energy.published_figures().relative("mul8s_1L2H")


def test_aliases_reach_the_circuit(tmp_path):
    path = written(tmp_path, HEADER + "v2022/mul8s_1L12,0.2125,100,1,mine\n")
    assert energy.read_figures(path).relative("mul8s_1KR3") == 0.5


def test_own_figures_leave_the_circuit_as_it_is(tmp_path):
    path = written(tmp_path, HEADER + "mul8s_1KR3,0.1,100,1,mine\nfar_away,0.1,100,1,mine\n")
    figures = energy.read_figures(path, others=["far_away"])
    narrow, unknown = figures.multipliers["mul8s_1KR3"], figures.multipliers["far_away"]
    assert (narrow.first_bits, narrow.second_bits) == (2, 8)
    assert (unknown.first_bits, unknown.second_bits) == (8, 8)
    empty = dataclasses.replace(figures, multipliers={luts.EXACT: figures.multipliers[luts.EXACT]})
    assert energy.read_figures(path, empty, others=["far_away"]).multipliers["mul8s_1KR3"] == narrow


def test_bits_beyond_a_port():
    known = energy.published_figures().multipliers[luts.EXACT]
    for change in ({"first_bits": 9}, {"second_bits": -1}):
        with pytest.raises(InputError, match="looks at 0 to 8 bits, not"):
            dataclasses.replace(known, **change)


def test_float_arithmetic_has_a_source():
    figures = energy.published_figures()
    assert (figures.float_product_pj, figures.float_accumulation_pj) == (3.7, 0.9)
    without = {k: v for k, v in figures.operations.items() if k != "float_mult_32b"}
    with pytest.raises(InputError, match="no energy for operation 'float_mult_32b'"):
        dataclasses.replace(figures, operations=without)


def test_own_memory(tmp_path):
    path = written(tmp_path, "operation,bits,energy_pj,source\nrram,8,1.0,my chip\n")
    figures = dataclasses.replace(energy.read_figures(path), weight_memory="rram")
    parts = energy.cost(load(1.0, 0.0), "mul8s_1KV8", figures, model="memory")
    assert parts.components_pj()["weight_traffic"] == pytest.approx(50 + 4 + 20)


def test_all_faults_together_by_line(tmp_path):
    text = (
        "multiplier,power,area_um2,delay_ns,colour,source\n"
        "mul8s_1KR3,0.1,-5,1.0,red,mine\n"
        "mul8s_1KR4,0.1,5,,red,mine\n"
        "mul8s_1L2H,0.1,5,nan,red,\n"
        "mul8s_1KR3,0.1,5,x,red,mine,more\n"
    )
    with pytest.raises(InputError) as caught:
        energy.read_figures(written(tmp_path, text))
    faults = str(caught.value).split(": ", 1)[1].split("; ")
    assert faults == [
        "line 1: column 'power' needs its unit in its name: power_mw",
        "line 1: unknown column 'colour', columns are multiplier, power_mw, area_um2, delay_ns, "
        "source",
        "line 2: area_um2 is a positive number, not -5",
        "line 3: unknown multiplier 'mul8s_1KR4', did you mean mul8s_1KRC or mul8s_1KR8 or "
        "mul8s_1KR6 or mul8s_1KR3 or mul8s_1KX2?",
        "line 3: delay_ns has no value",
        "line 4: delay_ns is a positive number, not nan",
        "line 4: no source: say where the figures come from",
        "line 5: more values than columns",
        "line 5: delay_ns is a positive number, not 'x'",
        "line 5: mul8s_1KR3 has figures already, further up",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'multiplier' or 'operation'"),
        ("name,power_mw\n", "'multiplier' or 'operation'"),
        (HEADER, "line 1: no figures"),
        ("operation,energy_pj,source\nx,1,me\n", "line 1: no column 'bits'"),
        ("operation,bits,energy_pj,source\nx,0,1,me\n", "line 2: bits is a positive number"),
        ("operation,bits,energy_pj,source\nx,8.5,1,me\n", "line 2: bits is a positive"),
        ("operation,bits,energy_nj,source\nx,8,1,me\n", "line 1: column 'energy_nj' needs its"),
        ("operation,bits,bits,energy_pj,source\nx,8,8,1,me\n", "line 1: column 'bits' occurs tw"),
    ],
)
def test_one_fault(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        energy.read_figures(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot read the figures"):
        energy.read_figures(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convention": "power"}, "did you mean power-delay"),
        ({"weight_memory": "drams"}, "did you mean dram"),
        ({"batch_size": 0}, "at least 1"),
        ({"exact": "mul8s_1KV9"}, "no power figures for multiplier 'mul8s_1KV9'"),
    ],
)
def test_figures_that_do_not_fit(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(energy.published_figures(), **change)
