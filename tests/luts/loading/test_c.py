"""Circuits as C source: spellings that work, and everything that can go wrong."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import luts
from luts.loading import _process
from luts.loading._layout import Request
from tests.luts.loading.files import FIGURES, HEADER, refused, write

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler on the PATH"
)


def gate_level_c(name: str, *, types: str, breaks: tuple[int, int, int]) -> str:
    """A broken array in the manner of EvoApproxLib's C files: bits in, bits out."""
    result, operand = types.split()
    a, b, diagonal = breaks
    lines = [f"{result} {name}({operand} A, {operand} B)", "{", " uint16_t O = 0;"]
    for i in range(8):
        for j in range(8):
            if i >= a and j >= b and i + j >= diagonal:
                sign = "-" if (i == 7) != (j == 7) else "+"
                lines.append(f" O {sign}= (((A >> {i})&1)&((B >> {j})&1)) << {i + j};")
    return "\n".join([*lines, " return O;", "}", ""])


@needs_compiler
@pytest.mark.parametrize("types", ["int16_t int8_t", "uint16_t uint8_t", "uint64_t uint64_t"])
def test_c_with_a_comment_block_as_it_is(tmp_path, types):
    text = HEADER + gate_level_c("mul8s_1KR6", types=types, breaks=(1, 0, 3))
    multiplier = luts.load(write(tmp_path, "mul8s_1KR6.c", text))
    known = luts.catalog["mul8s_1KR6"]
    np.testing.assert_array_equal(multiplier.truth_table, known.truth_table)
    assert multiplier == known
    assert multiplier.signed
    assert (multiplier.power_mw, multiplier.area_um2, multiplier.delay_ns) == (0.301, 558.9, 1.36)
    assert "EvoApproxLib" in multiplier.source and "mul8s_1KR6.c" in multiplier.source


@needs_compiler
def test_c_of_an_unsigned_circuit_takes_its_first_parameter_first(tmp_path):
    # EvoApproxLib's unsigned circuits declare B before A.
    text = (
        "#include <stdint.h>\n"
        "uint64_t mul8u_X(const uint64_t B,const uint64_t A)\n{ return B*(A&254); }"
    )
    path = write(tmp_path, "x.c", text)
    multiplier = luts.load(path, **FIGURES)
    assert not multiplier.signed
    assert multiplier.name == "x"
    assert multiplier.truth_table[200, 255] == 200 * 254
    swapped = luts.load(path, layout=luts.Layout(swap_operands=True), **FIGURES)
    np.testing.assert_array_equal(swapped.truth_table, multiplier.truth_table.T)


@needs_compiler
@pytest.mark.parametrize(
    "source",
    [
        "int mul8s_f(int a, int b) { return a * b; }",
        "static int helper(int a, int b) { return a * b; }\n"
        "long mul8s_f(signed char a, char b) { return helper(a, b); }",
        "typedef signed char operand;\n"
        "static __attribute__((noinline)) short mul8s_f(operand a, operand b) { return a * b; }",
        "#include <stdint.h>\n#define RESULT int16_t\n#if 0\nint other(int a, int b) { }\n#endif\n"
        "RESULT mul8s_f(const int8_t a,\n  const int8_t b)"
        " { const char *s = \"}{\"; return s ? a*b : '}'; }",
        "int div(int a, int b) { return a * b; }\nint main(void) { return 1; }",
        "#include <stdint.h>\nuint32_t mul8s_f(int8_t a, int8_t b) { return a * b; }",
        "#include <stdint.h>\nuint64_t mul8s_f(int8_t a, int8_t b) { return a * b; }",
    ],
)
def test_c_in_many_spellings(tmp_path, source):
    multiplier = luts.load(write(tmp_path, "mul8s_f.c", source), **FIGURES)
    np.testing.assert_array_equal(multiplier.truth_table, luts.families.exact())


@needs_compiler
def test_c_may_include_a_neighbour(tmp_path):
    write(tmp_path, "half.h", "#define LOW(a) ((a) & ~1)")
    source = '#include "half.h"\nint mul8s_f(int a, int b) { return LOW(a) * b; }'
    multiplier = luts.load(write(tmp_path, "mul8s_f.c", source), **FIGURES)
    assert luts.catalog.recognise(multiplier).known.name == "mul8s_1KR8"


@needs_compiler
def test_c_of_several_functions_asks_for_one(tmp_path):
    source = "int mul8s_f(int a, int b) { return a * b; }\nint g(int a, int b) { return a; }"
    path = write(tmp_path, "mul8s_two.c", source)
    refused(path, r"2 candidates.*mul8s_f, g.*Layout\(symbol=")
    multiplier = luts.load(path, layout=luts.Layout(symbol="mul8s_f"), **FIGURES)
    np.testing.assert_array_equal(multiplier.truth_table, luts.families.exact())
    refused(path, r"no function.*'h'; it has mul8s_f, g", layout=luts.Layout(symbol="h"))
    refused(path, "no function", layout=luts.Layout(symbol="f; rm -rf /"))


@needs_compiler
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int mul8s_f(int a, int b) { return a * ; }", "does not compile: .*error"),
        ("", "has no function of two integers; a multiplier looks like"),
        ("int mul8s_f(int a, int b);", "has no function of two integers"),
        ("int mul8s_f(int a) { return a; }", "has no function of two integers"),
        ("int mul8s_f(int a, int b, int c) { return a; }", "has no function of two integers"),
        ("float mul8s_f(float a, float b) { return a; }", "has no function of two integers"),
        ("int mul8s_f(int *a, int *b) { return *a; }", "has no function of two integers"),
        ("typedef float r;\nr mul8s_f(int a, int b) { return a; }", "does not compile"),
        ("int undefined(int);\nint mul8s_f(int a, int b) { return undefined(a); }", "compile"),
        ('#include "not_there.h"\nint mul8s_f(int a, int b) { return a; }', "does not compile"),
        ("int mul8s_f(int a, int b) { return *(volatile int *)0; }", "crashed"),
        ("int mul8s_f(int a, int b) { return a / b; }", r"crashed \(SIGFPE\)"),
        ("int mul8s_f(int a, int b) { __builtin_trap(); }", "crashed"),
        ("int mul8s_f(int a, int b) { return mul8s_f(a, b) + 1; }", "crashed|time|within"),
        ("#include <stdlib.h>\nint mul8s_f(int a, int b) { exit(0); }", "before its last product"),
        ("#include <stdlib.h>\nint mul8s_f(int a, int b) { exit(7); }", "ended with status 7"),
        ("int n;\nint mul8s_f(int a, int b) { return a * b + n++; }", "operands alone"),
        ("int mul8s_f(int a, int b) { return a * b * 1000; }", "no multiplier: .* 99900 % away"),
    ],
)
def test_bad_c_is_one_clear_error(tmp_path, source, message):
    layout = luts.Layout(time_limit_s=5)
    refused(write(tmp_path, "mul8s_f.c", source), message, layout=layout)


@needs_compiler
def test_c_that_loops_forever_is_ended(tmp_path):
    source = "int mul8s_f(int a, int b) { for (;;) { volatile int x = a; (void)x; } }"
    path = write(tmp_path, "mul8s_f.c", source)
    refused(path, r"does not run within 3 s.*time_limit_s", layout=luts.Layout(time_limit_s=3))


@needs_compiler
def test_c_that_compiles_forever_is_ended(tmp_path):
    source = '#include "/dev/zero"\nint mul8s_f(int a, int b) { return a; }'
    path = write(tmp_path, "mul8s_f.c", source)
    refused(path, "does not compile", layout=luts.Layout(time_limit_s=1))


@needs_compiler
def test_names_never_reach_a_shell(tmp_path):
    folder = tmp_path / "$(touch hacked); `touch hacked` 'x\" & -o"
    folder.mkdir()
    path = write(folder, "-mul8s_$(touch hacked);x .c", "int f(int a, int b) { return a * b; }")
    multiplier = luts.load(path, signed=True, **FIGURES)
    assert multiplier.name == "-mul8s_$(touch hacked);x"
    assert not list(Path.cwd().glob("*hacked*")) and not list(tmp_path.rglob("hacked"))


def test_without_a_compiler_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(write(tmp_path, "mul8s_f.c", "int f(int a, int b) { return 0; }"), "C compiler.*npy")


@needs_compiler
def test_a_circuit_leaves_no_process_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    source = (
        "#include <unistd.h>\nint mul8s_f(int a, int b) {"
        " static int n; if (!n++) if (!fork()) for (;;) ; return a * b; }"
    )
    monkeypatch.setattr("tempfile.tempdir", None)
    luts.load(write(tmp_path, "mul8s_f.c", source), **FIGURES)
    assert list((tmp_path / "t").iterdir()) == []


def test_processes_are_bounded_in_output(tmp_path):
    flood = "import sys\nwhile True: sys.stderr.write('y' * 65536)"
    command = [sys.executable, "-I", "-S", "-c", flood]
    outcome = _process.run(command, folder=tmp_path, time_limit_s=1)
    assert outcome.status is None
    assert len(outcome.errors) <= 20_000


def test_a_request_reads_undecodable_text(tmp_path):
    (tmp_path / "x.c").write_bytes(b"\xff\xfe int")
    assert "int" in Request(tmp_path / "x.c", luts.Layout(), bool).text()


@needs_compiler
def test_signed_types_say_that_a_circuit_is_signed_and_others_nothing(tmp_path):
    body = "{ return a * b; }"
    path = write(tmp_path, "mine.c", f"#include <stdint.h>\nint f(int8_t a, int8_t b) {body}")
    multiplier = luts.load(path, **FIGURES)
    assert multiplier.signed
    np.testing.assert_array_equal(multiplier.truth_table, luts.families.exact())
    for types in ("uint8_t a, uint8_t b", "int a, int b", "int8_t a, uint8_t b"):
        path = write(tmp_path, "open.c", f"#include <stdint.h>\nint f({types}) {body}")
        refused(path, "does not say whether its operands are signed", signed=None)
