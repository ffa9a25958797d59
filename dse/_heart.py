"""Signs of life of running trials, which Optuna sends for ``optimize`` but not for ask and tell."""

import threading

from optuna.storages import RDBStorage


class Heart:
    """Beats for a set of trials from a thread of its own until stopped.

    Args:
        storage: with a heartbeat interval.
        interval: seconds between beats.
    """

    def __init__(self, storage: RDBStorage, interval: float) -> None:
        self._storage = storage
        self._interval = interval
        self._trials: set[int] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, trial_id: int) -> None:
        """Beat for a trial now and from now on."""
        self._storage.record_heartbeat(trial_id)
        with self._lock:
            self._trials.add(trial_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)
            self._thread.start()

    def remove(self, trial_id: int) -> None:
        """Beat for a trial no more."""
        with self._lock:
            self._trials.discard(trial_id)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._stopped.wait(self._interval):
            with self._lock:
                trials = sorted(self._trials)
            for trial_id in trials:
                try:
                    self._storage.record_heartbeat(trial_id)
                except Exception:
                    pass
            self._storage.remove_session()
