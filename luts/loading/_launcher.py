"""Run one program apart from its caller, and end all that it started. A script, not a module.

``_launcher.py SETTINGS PROGRAM ARGUMENT…``; the settings are those of `_process.run` as JSON. Where
the system offers them, namespaces of users, processes and the network, Landlock and seccomp confine
the program; resource limits and the end of its descendants hold everywhere.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time
from typing import Any

RESULTS_FD = 3
"""Where the program finds the pipe for its results."""

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000

# linux/landlock.h: what writes, by the version that can be told to forbid it.
_WRITES = {1: 0b1_1111_1111_0010, 2: 1 << 13, 3: 1 << 14}
_WRITE_FILE = 1 << 1
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446

# Audit architecture; numbers of the calls that start processes, and of `socket`.
_CALLS = {
    "x86_64": (0xC000003E, (56, 57, 58, 435, 41, 53)),
    "aarch64": (0xC00000B7, (220, 435, 198, 199)),
}

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Launch, wait, end what is left, and say how it went."""
    settings, command = json.loads(sys.argv[1]), sys.argv[2:]
    status_fd = settings["status_fd"]
    os.set_inheritable(status_fd, False)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    if settings["with_namespaces"] and _can_isolate():
        _isolate()
    first = os.fork()
    if first == 0:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _supervise(settings, command)
    said = _wait(first, settings["wall_s"])
    _sweep()
    os.write(status_fd, said)


def _can_isolate() -> bool:
    """Tried by a child, for there is no way back."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(not _isolate())
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _isolate() -> bool:
    """No network, and processes of its own, whose end is that of all of them."""
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_NEW_USER | _NEW_PID | _NEW_NET | _NEW_IPC) != 0:
        return False
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)
    return True


def _supervise(settings: dict[str, Any], command: list[str]) -> None:
    """Be the first process of the namespace: start the program, and leave when it ends."""
    program = os.fork()
    if program == 0:
        try:
            _become(settings, command)
        finally:
            os._exit(127)
    while True:
        ended, status, used = os.wait4(-1, 0)
        if ended == program:
            cpu_s = used.ru_utime + used.ru_stime
            said = {"status": os.waitstatus_to_exitcode(status), "cpu_s": cpu_s}
            os.write(SAID[1], json.dumps(said).encode())
            os._exit(0)


def _become(settings: dict[str, Any], command: list[str]) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.chdir(settings["folder"])
    os.dup2(settings["results_fd"], RESULTS_FD)
    os.closerange(RESULTS_FD + 1, 1024)
    for limit, most in (
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, settings["memory_bytes"]),
        (resource.RLIMIT_FSIZE, settings["file_bytes"]),
        (resource.RLIMIT_CPU, settings["cpu_s"]),
    ):
        hard = resource.getrlimit(limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # A second more, in which the signal tells that time was out.
        more = most + (limit == resource.RLIMIT_CPU)
        resource.setrlimit(
            limit, (most, more if hard == resource.RLIM_INFINITY else min(more, hard))
        )
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _forbid_writing(None if settings["is_stranger"] else settings["folder"])
    if settings["is_stranger"]:
        _forbid_processes()
    os.execve(command[0], command, settings["environment"])


def _forbid_writing(elsewhere_than: str | None) -> None:
    """Landlock: no file is written but beneath one folder, no TCP port is bound or reached."""
    version = _libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    writes = sum(rights for since, rights in _WRITES.items() if since <= version)
    fields = [writes, 0b11, 0b11][: 1 if version < 4 else 2 if version < 6 else 3]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    allowed = [("/dev/null", _WRITE_FILE | writes & (1 << 14))]
    if elsewhere_than is not None:
        allowed.append((elsewhere_than, writes))
    for path, rights in allowed:
        opened = os.open(path, os.O_PATH)
        _libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, opened), 0)
        os.close(opened)
    _libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _forbid_processes() -> None:
    """Seccomp: calls that start a process or open a socket fail; limits do not bind root."""
    if os.uname().machine not in _CALLS:
        return
    architecture, calls = _CALLS[os.uname().machine]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    refused, allowed = 0x00050000 | 1, 0x7FFF0000
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, refused), (load, 0, 0, 0)]
    steps += [(at_least, len(calls) + 1, 0, 0x40000000)]  # another numbering of the same calls
    steps += [(equal, len(calls) - i, 0, call) for i, call in enumerate(calls)]
    steps += [(give, 0, 0, allowed), (give, 0, 0, refused)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(steps), ctypes.addressof(held))
    _libc.prctl(_PR_SET_SECCOMP, 2, program, 0, 0)


def _wait(first: int, wall_s: float) -> bytes:
    """What the supervisor says once it has ended; nothing where it did not in time."""
    until = time.monotonic() + wall_s
    while (left := until - time.monotonic()) > 0:
        got = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, left)
        if got is None or got.si_signo == signal.SIGTERM:
            break
        if os.waitpid(first, os.WNOHANG)[0]:
            return _said()
    os.kill(first, signal.SIGKILL)
    return b"{}"


def _said() -> bytes:
    os.set_blocking(SAID[0], False)
    try:
        return os.read(SAID[0], 1000) or b"{}"
    except BlockingIOError:
        return b"{}"


def _sweep() -> None:
    """End every descendant; orphans have become this process's children."""
    while True:
        me = os.getpid()
        for name in os.listdir("/proc"):
            if name.isdigit() and _parent_of(name) == me:
                os.kill(int(name), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
        except ChildProcessError:
            return


def _parent_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


SAID = os.pipe()

if __name__ == "__main__":
    main()
