"""What strangers' circuits cannot do: outlive us, write files, reach the network, fill memory."""

import contextlib
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import luts
from luts.loading import _process
from tests.luts.loading.files import FIGURES, write

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on the PATH")
needs_iverilog = pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog on the PATH")


def running(mark: str) -> list[str]:
    """Processes whose command line holds ``mark``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in words and state != "Z" and folder.name != str(os.getpid()):
            found.append(words)
    return found


def python(folder: Path, script: str, **options) -> _process.ProgramExit:
    settings = {"folder": folder, "time_limit_s": 5, **options}
    return _process.run([sys.executable, "-I", "-S", "-c", script], **settings)


@pytest.mark.parametrize("with_namespaces", [True, False])
@pytest.mark.parametrize("ending", ["pass", "import time; time.sleep(600)"])
def test_no_descendant_is_left(tmp_path, monkeypatch, with_namespaces, ending):
    """Neither one in a session of its own, nor one whose parent has ended."""
    monkeypatch.setattr(_process, "WITH_NAMESPACES", with_namespaces)
    monkeypatch.setattr(_process, "WALL_FACTOR", 2)
    mark = f"orphan-{tmp_path}"
    script = f"""
import os, sys, time
for _ in range(2):
    if not os.fork():
        os.setsid()
        if not os.fork():
            sleep = 'import time; time.sleep(600)'
            os.execv(sys.executable, [sys.executable, '-c', sleep, {mark!r}])
        os._exit(0)
time.sleep(0.3)
{ending}
"""
    outcome = python(tmp_path, script, time_limit_s=1)
    assert outcome.status == (0 if ending == "pass" else None)
    assert running(mark) == []


def test_results_and_errors_are_bounded_and_whole(tmp_path):
    script = "import os; os.write(3, b'abc'); os.write(2, b'why'); raise SystemExit(7)"
    outcome = python(tmp_path, script)
    assert (outcome.status, outcome.results, outcome.errors) == (7, b"abc", "why")
    flood = "import os\nfor _ in range(1000): os.write(3, b'x' * 65536)"
    outcome = python(tmp_path, flood, time_limit_s=20)
    assert (outcome.status, len(outcome.results)) == (0, _process.MAX_RESULT_BYTES)


def test_there_is_no_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), timeout=1)"
        for is_stranger in (False, True):
            assert python(tmp_path, script, is_stranger=is_stranger).status == 1


def test_a_tool_writes_in_its_folder_alone(tmp_path):
    (tmp_path / "here").mkdir()
    script = f"open('mine', 'w').write('x'); open({str(tmp_path / 'theirs')!r}, 'w')"
    outcome = python(tmp_path / "here", script)
    assert outcome.status == 1 and "PermissionError" in outcome.errors
    assert (tmp_path / "here/mine").read_text() == "x"
    assert not (tmp_path / "theirs").exists()


NOSY = """
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
static int is_caught(void)
{
    char big[] = "MARK";
    if (fork() >= 0) return 1;
    if (socket(AF_INET, SOCK_STREAM, 0) >= 0) return 2;
    if (getenv("SECRET") || getenv("PATH")) return 3;
    if (open("FOLDER/stolen", O_CREAT | O_WRONLY, 0600) >= 0) return 4;
    if (open("FOLDER/kept", O_WRONLY) >= 0) return 5;
    if (open("here", O_CREAT | O_WRONLY, 0600) >= 0) return 6;
    if (mkfifo("products.bin", 0600) == 0) return 7;
    if (malloc((size_t)1 << 33)) return 8;
    if (unlink("FOLDER/kept") == 0) return 9;
    return strlen(big) ? 0 : 10;
}
int mul8s_f(int a, int b)
{
    static int caught = -1;
    if (caught < 0) caught = is_caught();
    if (caught) exit(100 + caught);
    return a * b;
}
"""


@needs_compiler
def test_a_circuit_in_c_can_do_nothing_but_compute(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    (tmp_path / "kept").write_text("kept")
    path = write(tmp_path, "mul8s_f.c", NOSY.replace("FOLDER", str(tmp_path)))
    table = luts.load(path, **FIGURES).truth_table
    np.testing.assert_array_equal(table, luts.families.exact())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["kept", "mul8s_f.c"]
    assert (tmp_path / "kept").read_text() == "kept"


@needs_iverilog
def test_a_circuit_in_verilog_writes_no_file(tmp_path):
    source = f"""
module mul8u_v(input [7:0] a, b, output [15:0] o);
  integer file;
  assign o = a * b;
  initial begin
    $dumpfile("{tmp_path}/dump.vcd");
    $dumpvars;
    file = $fopen("{tmp_path}/stolen");
    $fwrite(file, "x");
  end
endmodule
"""
    path = write(tmp_path, "mul8u_v.v", source)
    with contextlib.suppress(luts.InputError):  # some versions stop where they cannot dump
        luts.load(path, **FIGURES)
    assert [file.name for file in tmp_path.iterdir()] == ["mul8u_v.v"]


STATEFUL = {
    "random": "assign o = a * b + ($random & 1);",
    "latch": "reg [15:0] r = 0; always @* if (a != 3) r = a * b; assign o = r;",
    "counter": "reg [15:0] n = 0; always @(a) n = n + 1; assign o = a * b + n;",
    "toggle": "reg t = 0; always @(a or b) t = ~t; assign o = a * b | t;",
}


@needs_iverilog
@pytest.mark.parametrize("body", STATEFUL.values(), ids=STATEFUL)
def test_verilog_that_remembers_is_refused(tmp_path, body):
    source = f"module mul8u_v(input [7:0] a, b, output [15:0] o); {body} endmodule"
    path = write(tmp_path, "mul8u_v.v", source)
    with pytest.raises(luts.InputError, match="depends on its operands alone"):
        luts.load(path, **FIGURES)


@needs_compiler
def test_c_that_remembers_the_operand_before_is_refused(tmp_path):
    """Right in ascending and in descending order of the pairs."""
    source = (
        "int mul8u_f(int a, int b) { static int last; int d = abs(a * 256 + b - last);"
        " last = a * 256 + b; return a * b + (d > 1 && d < 65535); }"
    )
    path = write(tmp_path, "mul8u_f.c", f"#include <stdlib.h>\n{source}")
    with pytest.raises(luts.InputError, match="depends on its operands alone"):
        luts.load(path, **FIGURES)


def test_an_asleep_circuit_ends_by_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr(_process, "WALL_FACTOR", 1)
    started = time.monotonic()
    assert python(tmp_path, "import time; time.sleep(600)", time_limit_s=1).status is None
    assert time.monotonic() - started < 30


def test_a_launcher_that_dies_is_no_timeout(tmp_path, monkeypatch):
    launcher = tmp_path / "launcher.py"
    launcher.write_text("import os; os.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(_process, "LAUNCHER", launcher)
    assert python(tmp_path, "pass").ended == "crashed (SIGKILL)"
