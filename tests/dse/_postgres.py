"""A PostgreSQL server that a test starts, stops and starts again."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest


class Server:
    """A server on loopback, with a folder of its own; started by `start`.

    Skips the test where PostgreSQL or its driver is not installed.
    """

    def __init__(self):
        initdb, self._postgres = _program("initdb"), _program("postgres")
        if initdb is None or self._postgres is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
        self._who = _as_somebody()
        # Not below pytest's folders, which other users cannot enter.
        self._home = Path(tempfile.mkdtemp(prefix="postgres-test-", dir="/tmp"))
        if self._who:
            os.chown(self._home, self._who["user"], self._who["group"])
        self._data = self._home / "data"
        settings = {"cwd": self._home, "check": True, "capture_output": True, **self._who}
        subprocess.run([initdb, "-D", self._data, "-U", "tester", "-A", "trust", "-N"], **settings)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"postgresql://tester@127.0.0.1:{self._port}/postgres"

    def start(self):
        options = ["-p", str(self._port), "-h", "127.0.0.1", "-k", str(self._home), "-F"]
        self._running = subprocess.Popen(
            [self._postgres, "-D", self._data, *options],
            cwd=self._home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._who,
        )
        self._wait_until_it_answers()

    def stop(self):
        """Break its connections and end."""
        self._running.send_signal(signal.SIGINT)
        self._running.wait(timeout=20)

    def remove(self):
        if self._running.poll() is None:
            self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def _wait_until_it_answers(self):
        import psycopg

        for _ in range(100):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            time.sleep(0.2)
        raise TimeoutError(self.url)


def _program(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _as_somebody():
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}
