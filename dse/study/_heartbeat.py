"""Signs of life, which Optuna sends for ``optimize`` but not for ask and tell."""

import functools
import threading
from collections.abc import Callable

from optuna.storages import RDBStorage


class Heartbeat:
    """Sends signs of life for trials, and for what else `keep` is given, from its own thread.

    Args:
        storage: with a heartbeat interval.
        interval: seconds between beats.
    """

    def __init__(self, storage: RDBStorage, interval: float) -> None:
        self._storage = storage
        self._interval = interval
        self._beats: dict[int | str, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, trial_id: int) -> None:
        """Beat for a trial now and from now on."""
        beat = functools.partial(self._storage.record_heartbeat, trial_id)
        beat()
        self.keep(trial_id, beat)

    def keep(self, key: int | str, beat: Callable[[], None]) -> None:
        """Call ``beat`` from now on, from another thread; ``key`` names it for `remove`."""
        with self._lock:
            self._beats[key] = beat
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def remove(self, key: int | str) -> None:
        """Stop beating for ``key``, the id of a trial or what `keep` was given."""
        with self._lock:
            self._beats.pop(key, None)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(self._interval):
            with self._lock:
                beats = list(self._beats.values())
            for beat in beats:
                try:
                    beat()
                except Exception:
                    pass
            self._storage.remove_session()
