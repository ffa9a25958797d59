"""Circuits as C source: EvoApproxLib's files, or any function of two integers."""

import collections
import dataclasses
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np

from luts.errors import InputError
from luts.loading import _process
from luts.loading._launcher import RESULTS_FD
from luts.loading._layout import Int64, RawTable, Request, words_before
from luts.loading._promise import TRUST

COMPILERS = ("cc", "gcc", "clang")

SIGNED_BYTES = {"int8_t", "signed char"}

_IMPURE = 113
_QUALIFIERS = {"static", "inline", "__inline", "__inline__", "extern", "const", "volatile"} | {
    "register",
    "__extension__",
    "_Noreturn",
}
_NO_INTEGERS = {"void", "float", "double", "struct", "union", "_Complex", "return", "else"}

_DEFINITION = re.compile(r"\b([A-Za-z_]\w*)\s*\(([^(){};]*)\)\s*\{\}")

_ATTRIBUTE = re.compile(r"__attribute__\s*\(\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)\)")
_QUOTED = r""""(?:\\.|[^"\\\n])*(?:"|\n|\Z)|'(?:\\.|[^'\\\n])*(?:'|\n|\Z)|[{}]"""

_DRIVER = """\
#include <stdint.h>
#include <unistd.h>
#define main luts_main_of_the_circuit
#include "circuit.c"
#undef main
typedef {result} luts_result;
typedef {first} luts_first;
typedef {second} luts_second;
_Static_assert((luts_result)0.5 == 0 && (luts_first)0.5 == 0 && (luts_second)0.5 == 0, "integers");
#define LUTS_UNSIGNED(type) ((type)-1 > (type)0)
#define LUTS_OPERAND(type, code) \\
    ((type)({signed} && !LUTS_UNSIGNED(type) && (code) > 127 ? (code) - 256 : (code)))
static luts_result luts_call(int pair)
{{
    return {symbol}(LUTS_OPERAND(luts_first, pair >> 8), LUTS_OPERAND(luts_second, pair & 255));
}}
static int64_t luts_products[65540] = {{8 * sizeof(luts_result), LUTS_UNSIGNED(luts_result),
    8 * sizeof(luts_first), 8 * sizeof(luts_second)}};
int main(void)
{{
    for (int pair = 0; pair < 65536; pair++) luts_products[pair + 4] = (int64_t)luts_call(pair);
    for (int pair = 65535; pair >= 0; pair--)
        if (luts_products[pair + 4] != (int64_t)luts_call(pair)) return {impure};
    for (int pair = 0; pair < 65536; pair++) {{
        int other = (pair * 40503 ^ pair >> 8) & 65535;
        if (luts_products[other + 4] != (int64_t)luts_call(other)) return {impure};
    }}
    const char *from = (const char *)luts_products;
    for (size_t left = sizeof luts_products; left;) {{
        ssize_t written = write({results}, from, left);
        if (written <= 0) return 1;
        from += written, left -= written;
    }}
    return 0;
}}
"""


@dataclasses.dataclass(frozen=True)
class Function:
    """A C function of two integers, its types as the source spells them.

    It is called where the body of another function, or its own, names it with a parenthesis.
    """

    name: str
    result: str
    first: str
    second: str
    is_static: bool
    is_called: bool = False


def read(request: Request) -> RawTable:
    """Compile the file's function and call it with every pair of operands, in three orders.

    Operands are handed over as values to parameters of a signed type, and as codes to those of an
    unsigned type (EvoApproxLib declares some signed circuits unsigned). Products come back as
    numbers, but for results of 16 bits, and results of an unsigned type of a signed circuit: those
    are two's complement patterns.

    Args:
        request: the file; the function is `Layout.symbol`, or the only one there is.

    Raises:
        InputError: there is no compiler, the source does not compile, has no or several such
            functions, or the function loops, crashes or remembers earlier calls.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise InputError(
            f"{request.shown} needs a C compiler, none of {', '.join(COMPILERS)} is on the PATH; "
            "install one, or give the table as .npy"
        )
    with tempfile.TemporaryDirectory(prefix="luts-") as name:
        folder = Path(name)
        (folder / "circuit.c").write_bytes(request.path.read_bytes())
        # Only this one argument comes from outside, and no shell reads it.
        include = ["-iquote", str(request.path.resolve().parent)]
        compile_ = [compiler, "-w", "-std=gnu11", "-fwrapv", *include]
        _step(request, folder, [*compile_, "-E", "circuit.c", "-o", "circuit.i"], "compile")
        preprocessed = (folder / "circuit.i").read_text(encoding="utf-8", errors="replace")
        candidates = functions(preprocessed)
        function = _choose(request, candidates)
        declared = {function.first, function.second} <= SIGNED_BYTES
        try:
            signed = request.is_signed(function.name, declared=declared)
        except InputError as error:
            blocks = ", ".join(each.name for each in candidates if each.is_called)
            raise InputError(f"{error}; its blocks are {blocks}" if blocks else error) from None
        driver = _DRIVER.format(
            result=function.result,
            first=function.first,
            second=function.second,
            symbol=function.name,
            signed=int(signed),
            impure=_IMPURE,
            results=RESULTS_FD,
        )
        (folder / "driver.c").write_text(driver, encoding="utf-8")
        _step(request, folder, [*compile_, "-O1", "driver.c", "-o", "circuit", "-lm"], "compile")
        results = _step(request, folder, [str(folder / "circuit")], "run")
        return _products(request, results, signed=signed)


def _step(request: Request, folder: Path, command: list[str], verb: str) -> bytes:
    limit_s = request.layout.time_limit_s
    is_run = verb == "run"
    outcome = _process.run(command, folder=folder, time_limit_s=limit_s, is_stranger=is_run)
    if outcome.status == 0:
        return outcome.results
    if outcome.status is None:
        raise InputError(
            f"{request.shown} does not {verb} within {limit_s:g} s of processor time; "
            "mend it or give layout=luts.Layout(time_limit_s=…)"
        )
    if verb == "compile":
        raise InputError(
            f"{request.shown} does not compile: {_process.first_error(outcome.errors)}"
        )
    if outcome.status == _IMPURE:
        raise InputError(
            f"{request.shown}: a multiplier's product depends on its operands alone; this function "
            "gave another when it was called again"
        )
    raise InputError(f"{request.shown}: its function {outcome.ended}")


def functions(preprocessed: str) -> list[Function]:
    """Functions of two integers that a preprocessed source defines outside system headers."""
    own, is_own = [], True
    for line in preprocessed.splitlines():
        marker = re.match(r'# \d+ "(?:\\.|[^"\\])*"(.*)', line)
        if marker:
            is_own = "3" not in marker.group(1).split()
        elif is_own:
            own.append(line)
    whole = "\n".join(own)
    top = re.sub(
        r"__attribute__\s*\(\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)\)", " ", _top_level(whole)
    )
    calls = collections.Counter(re.findall(r"\b([A-Za-z_]\w*)\s*\(", whole))
    calls.subtract(re.findall(r"\b([A-Za-z_]\w*)\s*\(", top))
    matched = (_function(match) for match in _DEFINITION.finditer(top))
    found = [function for function in matched if function is not None]
    return [dataclasses.replace(each, is_called=calls[each.name] > 0) for each in found]


def _top_level(text: str) -> str:
    """``text`` with every outermost braced block emptied."""
    kept, depth, start = [], 0, 0
    for match in re.finditer(_QUOTED, text):
        if match.group() == "{":
            if depth == 0:
                kept.append(text[start : match.end()])
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0:
                start = match.start()
    return "".join([*kept, text[start:]])


def _function(match: re.Match[str]) -> Function | None:
    result, name = words_before(match.string, match.start()), match.group(1)
    parameters = [_declared(text) for text in match.group(2).split(",")]
    types = [" ".join(word for word in result if word not in _QUALIFIERS)]
    types += [text for text in parameters if text is not None]
    words = {word for text in types for word in text.split()} | {name}
    if len(parameters) != 2 or len(types) != 3 or not types[0]:
        return None
    if words & _NO_INTEGERS or name == "main":
        return None
    return Function(name, types[0], types[1], types[2], is_static="static" in result)


def _declared(parameter: str) -> str | None:
    """The type of ``const uint8_t A``, or None where it is not a plain named parameter."""
    words = [word for word in parameter.split() if word not in _QUALIFIERS]
    plain = len(words) > 1 and all(re.fullmatch(r"[A-Za-z_]\w*", word) for word in words)
    return " ".join(words[:-1]) if plain else None


def _choose(request: Request, candidates: list[Function]) -> Function:
    # Static functions are a circuit's own helpers, unless there is nothing else.
    public = [function for function in candidates if not function.is_static] or candidates
    # What others call is a block of theirs.
    top = [function for function in public if not function.is_called] or public
    offered = candidates if request.layout.symbol else top
    hint = "a multiplier looks like `uint16_t mul8u_mine(uint8_t a, uint8_t b) {…}`"
    names = [function.name for function in offered]
    name = request.choose("function of two integers", names, hint)
    return next(function for function in offered if function.name == name)


def _products(request: Request, results: bytes, *, signed: bool) -> RawTable:
    data = np.frombuffer(results[: len(results) & -8], dtype=np.int64)
    if len(data) != 65_540:
        raise InputError(f"{request.shown}: its function ended the program before its last product")
    bits, is_unsigned, widths = int(data[0]), bool(data[1]), data[2:4].tolist()
    # Wider types than a byte are usual in C; 16 bits are said on purpose.
    if 16 in widths and not request.layout.trust:
        raise InputError(
            f"{request.shown}: its operands are declared with {widths[0]} and {widths[1]} bits; "
            f"give a multiplier of 8×8 bits, {TRUST}"
        )
    products: Int64 = data[4:].reshape(256, 256)
    if bits == 16:
        return RawTable(products, by_code=True, bits=16)
    if signed and is_unsigned:
        fits_16 = 0 <= products.min() and products.max() < 2**16
        return RawTable(products, by_code=True, bits=16 if fits_16 else bits)
    return RawTable(products, by_code=True)
