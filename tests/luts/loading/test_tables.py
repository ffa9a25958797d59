"""Tables in every format: order of indices, signedness, figures, and how each can be wrong."""

import numpy as np
import pytest
import torch

import luts
from tests.luts.loading.files import FIGURES, FORMATS, HEADER, refused, save_header, write


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("order", ["codes", "values"])
def test_tables_by_code_and_by_value_are_told_apart(tmp_path, asymmetric_table, extension, order):
    path = tmp_path / f"mul8s_mine.{extension}"
    stored = asymmetric_table if order == "codes" else np.roll(asymmetric_table, 128, axis=(0, 1))
    FORMATS[extension](path, stored)
    multiplier = luts.load(path, **FIGURES)
    np.testing.assert_array_equal(multiplier.truth_table, asymmetric_table)
    assert multiplier.name == "mul8s_mine"
    assert multiplier.source == f"file mul8s_mine.{extension}"
    swapped = luts.load(path, layout=luts.Layout(swap_operands=True), **FIGURES)
    np.testing.assert_array_equal(swapped.truth_table, asymmetric_table.T)


@pytest.mark.parametrize("extension", FORMATS)
def test_unsigned_tables_keep_products_beyond_15_bits(tmp_path, extension):
    table = luts.families.exact(signed=False)
    table[255, 3] += 1
    path = tmp_path / f"mul8u_mine.{extension}"
    FORMATS[extension](path, table)
    multiplier = luts.load(path, **FIGURES)
    assert not multiplier.signed
    np.testing.assert_array_equal(multiplier.truth_table, table)


def test_a_circuit_whose_products_pass_16_bits_with_sign_is_exact_in_a_layer(tmp_path):
    table = luts.families.exact(signed=False).astype(np.int64)
    table[120:129, 120:129] *= 2
    path = tmp_path / "mul8u_17C8.csv"
    FORMATS["csv"](path, table)
    multiplier = luts.load(path, **FIGURES)
    assert multiplier.max_products == (2**31 - 1) // 32_768
    x = torch.full((1, 1000), -128, dtype=torch.int8)
    assert luts.matmul(x, x.t(), multiplier).item() == 1000 * 32_768


def test_the_thirteen_survive_every_extension_and_order(tmp_path):
    for name in luts.catalog.names("mul8s"):
        table = luts.catalog[name].truth_table
        for stored in (table, np.roll(table, 128, axis=(0, 1))):
            path = tmp_path / f"{name}.npy"
            np.save(path, stored.astype(np.uint16))
            assert luts.load(path, **FIGURES) == luts.catalog[name]


def test_an_undecidable_index_order_is_asked_for(tmp_path, rng):
    path = tmp_path / "mul8s_noise.npy"
    table = rng.integers(-100, 100, (256, 256))
    np.save(path, table)
    refused(path, r"Layout\(index_order='codes'\)")
    for order, expected in (("codes", table), ("values", np.roll(table, 128, axis=(0, 1)))):
        loaded = luts.load(path, layout=luts.Layout(index_order=order, trust=True), **FIGURES)
        np.testing.assert_array_equal(loaded.truth_table, expected)


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("order", ["codes", "values"])
def test_shifted_products_are_named_and_taken_on_request(tmp_path, extension, order):
    table = luts.catalog["mul8s_1KX2"].truth_table.astype(np.int64)
    stored = (table if order == "codes" else np.roll(table, 128, axis=(0, 1))) + 32_768
    path = tmp_path / f"mul8s_mine.{extension}"
    FORMATS[extension](path, stored)
    refused(path, "shifted by 32,768.*--product-offset 32768")
    layout = luts.Layout(product_offset=32_768)
    np.testing.assert_array_equal(luts.load(path, layout=layout, **FIGURES).truth_table, table)


def test_layouts_are_checked():
    with pytest.raises(luts.InputError, match="16 bits, not 65536"):
        luts.Layout(product_offset=65_536)
    with pytest.raises(luts.InputError, match="index_order is 'codes' or 'values', not 'rows'"):
        luts.Layout(index_order="rows")
    with pytest.raises(luts.InputError, match="time_limit_s"):
        luts.Layout(time_limit_s=0)


def test_signedness_is_asked_for_when_nothing_says_it(tmp_path, asymmetric_table):
    path = tmp_path / "table.npy"
    np.save(path, asymmetric_table)
    refused(path, r"--signed or --unsigned \(signed=True or False\)", signed=None)
    for options in ({"signed": True}, {"name": "mul8s_t", "signed": None}):
        assert luts.load(path, **options, **FIGURES).signed
    path = tmp_path / "table.npz"
    np.savez(path, mul8s_table=asymmetric_table)
    assert luts.load(path, **FIGURES).signed
    refused(path, "products of an unsigned circuit are not negative.*signed=True", signed=False)


def test_what_is_given_goes_before_what_the_name_says(tmp_path):
    path = tmp_path / "mul8u_mine.npy"
    np.save(path, luts.families.exact())
    assert luts.load(path, signed=True, **FIGURES).signed
    assert luts.load(path, name="mul8s_mine", source="me", **FIGURES).source == "me"


@pytest.mark.parametrize("missing", FIGURES)
def test_a_missing_figure_is_asked_for_by_its_keyword(tmp_path, asymmetric_table, missing):
    path = tmp_path / "mul8s_mine.npy"
    np.save(path, asymmetric_table)
    refused(path, f"does not give {missing}; give {missing}=…", **{missing: None})
    np.save(path, luts.families.exact())
    published = getattr(luts.catalog[luts.EXACT], missing)
    refused(path, rf"table is that of mul8s_1KV8.*{missing}={published}", **{missing: None})


def test_figures_given_go_before_those_of_the_file(tmp_path, asymmetric_table):
    path = tmp_path / "mul8s_mine.h"
    save_header(path, asymmetric_table)
    path.write_text(HEADER + path.read_text())
    assert luts.load(path).power_mw == 0.301
    assert luts.load(path, power_mw=0.2).power_mw == 0.2
    refused(path, "power_mw must be a positive number, not -1", power_mw=-1)


def test_reference_tables_load_by_name(reference_data):
    path = reference_data / "evoapprox/truth_tables.npz"
    multiplier = luts.load(
        path, name="mul8s_1L2H", layout=luts.Layout(symbol="mul8s_1L2H"), **FIGURES
    )
    assert multiplier == luts.catalog["mul8s_1L2H"]
    unsigned = luts.load(path, name="mine", layout=luts.Layout(symbol="mul8u_185Q"), **FIGURES)
    assert not unsigned.signed
    refused(path, r"16 candidates for its array")


@pytest.mark.parametrize("size", [0, 1, 131_070, 131_074, 262_140, 65_536, 524_288])
def test_a_raw_file_of_another_size_is_refused(tmp_path, size):
    path = tmp_path / "mul8s_mine.bin"
    path.write_bytes(bytes(size))
    refused(path, rf"131,072 bytes.*this file has {size:,}")


def test_bad_headers_are_one_clear_error(tmp_path, asymmetric_table):
    path = tmp_path / "mul8s_mine.h"
    save_header(path, asymmetric_table)
    text = path.read_text()

    def check(changed: str, message: str, **options) -> None:
        refused(write(tmp_path, "mul8s_mine.h", changed), message, **options)

    check(text[: len(text) // 2], "truncated")
    check(text.replace(", 15, ", ", ", 1), r"row 1 has 255 numbers instead of 256")
    check(text.replace(" 15,", " fifteen,", 1), r"row 1 holds 'fifteen'")
    check(text.replace(" 15,", " 017,", 1), r"row 1 holds '017'")
    check(text.replace(" 15,", " 1e1,", 1), r"row 1 holds '1e1'")
    check(text.replace("},", "},{1},", 1), "256 rows, this one has 257")
    check(text.replace("{0,", "{{0,", 1), "row|truncated|rows")
    check("int f(int a, int b) { return a; }", "has no array; a table looks like")
    check(text + text.replace("lut ", "other "), "2 candidates.*lut, other")
    other = luts.Layout(symbol="other")
    write(tmp_path, "mul8s_mine.h", text + text.replace("lut ", "other "))
    assert luts.load(path, layout=other, **FIGURES).signed
    check("const int lut[2] = {1, 2};", "2 numbers instead of 65536")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((256, 255), np.int16), r"shape \(256, 256\), this array has \(256, 255\)"),
        (np.zeros(65_535, np.int16), r"\(65535,\)"),
        (np.zeros((2, 256, 256), np.int16), r"\(2, 256, 256\)"),
        (np.zeros((256, 256)), "integers, this array holds float64"),
        (np.zeros((256, 256), complex), "complex128"),
        (np.full((256, 256), 2**40), "near|32 bits"),
        (np.full((256, 256), 2**64 - 1, np.uint64), "18446744073709551615"),
    ],
)
@pytest.mark.parametrize("extension", ["npy", "npz"])
def test_bad_arrays_are_one_clear_error(tmp_path, array, message, extension):
    path = tmp_path / f"mul8s_mine.{extension}"
    np.save(path, array) if extension == "npy" else np.savez(path, lut=array)
    refused(path, message)


@pytest.mark.parametrize("extension", ["npy", "npz"])
def test_products_beyond_16_bits_are_refused(tmp_path, asymmetric_table, extension):
    asymmetric_table[0, 0] = 70_000
    FORMATS[extension](tmp_path / "mul8s_mine.npz", asymmetric_table)
    path = tmp_path / "mul8s_mine.npz"
    np.savez(path, lut=asymmetric_table.astype(np.int32))
    refused(path, "16 bits hold; this table has 70,000")


@pytest.mark.parametrize("extension", ["npy", "npz"])
def test_broken_and_pickled_arrays_are_refused(tmp_path, asymmetric_table, extension):
    path = tmp_path / f"mul8s_mine.{extension}"
    for content in (b"", b"not an array", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        refused(path, "is not a whole")
    FORMATS[extension](path, asymmetric_table)
    path.write_bytes(path.read_bytes()[:-1_000])
    refused(path, "is not a whole")
    objects = np.empty((256, 256), object)
    np.save(path, objects) if extension == "npy" else np.savez(path, lut=objects)
    refused(path, "no whole|pickle|object")


def test_an_npy_header_that_promises_too_much_allocates_nothing(tmp_path):
    path = tmp_path / "mul8s_mine.npy"
    with path.open("wb") as file:
        header = {"descr": "<i8", "fortran_order": False, "shape": (2**20, 2**20)}
        np.lib.format.write_array_header_1_0(file, header)
    refused(path, "is not a whole")


def test_files_that_are_none_are_refused(tmp_path):
    refused(tmp_path / "nothing.npy", "there is no file")
    refused(write(tmp_path, "table.xlsx", ""), r"extension '.xlsx'.*\.npy")
    refused(write(tmp_path, "table", ""), r"extension ''")
    (tmp_path / "folder.npy").mkdir()
    refused(tmp_path / "folder.npy", "is not a regular file")
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(2**27)
    refused(tmp_path / "huge.bin", "is not an 8×8 multiplier")


@pytest.mark.parametrize("fmt", ["%.18e", "0x%x", "%d"])
@pytest.mark.parametrize("delimiter", [" ", ",", ";"])
def test_tables_as_people_write_them(tmp_path, fmt, delimiter):
    table = luts.families.exact(signed=False).copy()
    table[200, 3] += 1
    rows = "\n".join(delimiter.join(fmt % cell for cell in row) for row in table)
    path = write(tmp_path, "mul8u_mine.dat", f"simulation of mul8u\ndone in 3 s\n{rows}\n")
    np.testing.assert_array_equal(luts.load(path, **FIGURES).truth_table, table)


@pytest.mark.parametrize("cell", ["1.5e0", "1e99", "0xfffffffff", "1e-1", "nan", "0x"])
def test_what_is_no_integer_is_named(tmp_path, cell):
    rows = [["0"] * 256 for _ in range(256)]
    rows[7][9] = cell
    path = write(tmp_path, "mul8u_mine.csv", "\n".join(map(",".join, rows)))
    refused(path, f"line 8 holds '{cell}', which is not an integer", signed=None)


def test_an_npy_that_goes_on_is_refused(tmp_path, asymmetric_table):
    path = tmp_path / "mul8s_mine.npy"
    np.save(path, asymmetric_table)
    path.write_bytes(path.read_bytes() + b"x")
    refused(path, "goes on after its array")
