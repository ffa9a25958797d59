"""No source takes longer to search than its length warrants."""

import time

import pytest

from luts.loading import _c, _modules
from luts.loading._layout import without_comments
from tests.luts.loading.files import refused, write

SIZE = 40_000
PIECES = {
    *("/*", r"\"", '"', "'", "a ", "a[", "a[1]", "int a(", "[", "{", "}", "()", "a(b)", "a,", "(("),
    *("__attribute__((", "module m(", "module m #(", "endmodule ", "input a,", "(*", "a b", "a\t"),
    *("#", "[8:0] ", "function ", "parameter a=", "0x", "1e", ";", "a[1][", "const a ", "\\", "\n"),
}


@pytest.mark.parametrize("piece", sorted(PIECES), ids=repr)
def test_repeated_pieces_take_linear_time(tmp_path, piece):
    text = piece * (SIZE // len(piece))
    started = time.process_time()
    _c.functions(text)
    without_comments(text)
    _modules.modules(text)
    _modules.modules(f"module m({text}); {text} endmodule")
    refused(write(tmp_path, "mul8s_f.h", text), "array|row", signed=True)
    refused(write(tmp_path, "mul8s_f.csv", text), "mul8s_f", signed=True)
    assert time.process_time() - started < 4, piece
