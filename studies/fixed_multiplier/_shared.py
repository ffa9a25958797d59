"""Machines that share the cells of a matrix through a database."""

import dataclasses
import json
import platform
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import optuna

from dse.study import BEAT_SECONDS, Heartbeat, Lease, open_storage
from luts.errors import InputError
from studies._matrix import Record
from studies.fixed_multiplier._plan import FixedCell, MatrixPreset
from studies.fixed_multiplier._results import Results

PATIENCE_SECONDS = 6.0 * BEAT_SECONDS
"""A process that does not renew its lease for so long counts as dead."""

POLL_SECONDS = 0.5


class SharedResults(Results):
    """A folder of results, and the attributes of an Optuna study that machines share.

    A process has the lease of the cell that it measures, and leaves its record with the study. The
    cell of a process that died is taken by one that finds nothing else.

    Args:
        url: of the database server.
        path: the folder; the records of all machines are copied there by `collect`.
        preset: what the cells belong to.

    Raises:
        InputError: as `Results`; or the database cannot be reached, or the study in it has other
            settings.
    """

    def __init__(self, url: str, path: Path, preset: MatrixPreset) -> None:
        super().__init__(path, preset)
        self._cells = preset.cells()
        self._storage = open_storage(url)
        self._heartbeat = Heartbeat(self._storage, BEAT_SECONDS)
        self._leases: dict[FixedCell, Lease] = {}
        self._taken: set[FixedCell] = set()
        self._last: Hashable = None
        self._machine = platform.node()
        try:
            self._join(f"fixed_multiplier-{preset.name}")
        except BaseException:
            self.close()
            raise

    def _join(self, name: str) -> None:
        """Make the study, or check that the one in the database has the same settings."""
        optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)
        self._study_id = self._storage.get_study_id_from_name(name)
        mine = json.loads(json.dumps(dataclasses.asdict(self.preset)))
        door = Lease(self._storage, self._study_id, "door")
        while not door.take(PATIENCE_SECONDS):
            time.sleep(POLL_SECONDS)
        try:
            if self._attributes.get("settings", mine) != mine:
                raise InputError(
                    f"study {name} in this database was made with other settings than preset "
                    f"{self.preset.name} has now; name another database, or use the same "
                    f"configuration"
                )
            self._storage.set_study_user_attr(self._study_id, "settings", mine)
        finally:
            door.leave()

    @property
    def _attributes(self) -> dict[str, Any]:
        return self._storage.get_study_user_attrs(self._study_id)

    @property
    def elsewhere(self) -> set[FixedCell]:
        """Cells that other processes are at, dead ones that nobody has noticed included."""
        return self._elsewhere(self._attributes)

    def _elsewhere(self, attributes: dict[str, Any]) -> set[FixedCell]:
        leased = {cell for cell in self._cells if _lease_of(cell) in attributes} - self._taken
        return {cell for cell in leased if _record_of(cell) not in attributes}

    def take(self, cells: Sequence[FixedCell]) -> FixedCell | None:
        """A cell that nobody has; of a float network that no other process trains, if there is one.

        The network that this process had last goes first, then those that nobody is at and of
        which no other machine has measured a cell, then the rest; within them, the usual order.
        Where others are at all that is left, this waits until it is clear that they live.
        """
        until = time.monotonic() + PATIENCE_SECONDS + 2 * POLL_SECONDS
        while True:
            free, leased = self._candidates(cells)
            if free:
                if self._is_taken(free[0]):
                    return free[0]
                continue  # another was faster, which may change what is best
            heir_of = next((cell for cell in leased if self._is_taken(cell)), None)
            if heir_of is not None or not leased or time.monotonic() > until:
                return heir_of
            time.sleep(POLL_SECONDS)

    def _candidates(self, cells: Sequence[FixedCell]) -> tuple[list[FixedCell], list[FixedCell]]:
        """Cells without a record, the best first: those that nobody is at, and the others."""
        attributes = self._attributes
        leased = self._elsewhere(attributes)
        networks = {cell.network for cell in leased}
        for cell in self._cells:
            kept = attributes.get(_record_of(cell))
            if kept is not None and kept["machine"] != self._machine:
                networks.add(cell.network)
        lacking = [c for c in cells if _record_of(c) not in attributes and c not in self._taken]
        lacking.sort(key=lambda c: (c.network != self._last, c.network in networks))
        return [c for c in lacking if c not in leased], [c for c in lacking if c in leased]

    def _is_taken(self, cell: FixedCell) -> bool:
        """Take a cell, unless another process has it or was just done with it."""
        if cell not in self._leases:
            self._leases[cell] = Lease(self._storage, self._study_id, _lease_of(cell))
        lease = self._leases[cell]
        if not lease.take(PATIENCE_SECONDS):
            return False
        if _record_of(cell) in self._attributes:
            lease.leave()
            return False
        self._heartbeat.keep(cell.name, lease.renew)
        self._taken.add(cell)
        self._last = cell.network
        return True

    def keep(self, cell: FixedCell, record: Record) -> None:
        """Keep what was measured for a cell that `take` gave, for all machines.

        Raises:
            InputError: another cell of its float network started from other weights.
        """
        super().keep(cell, record)
        if _record_of(cell) not in self._attributes:
            kept = {"machine": self._machine, "record": record}
            self._storage.set_study_user_attr(self._study_id, _record_of(cell), kept)
        self.give_back(cell)

    def give_back(self, cell: FixedCell) -> None:
        """Let others take a cell."""
        self._heartbeat.remove(cell.name)
        self._leases[cell].leave()
        self._taken.discard(cell)

    def check_weights(self, network: Hashable, sha256: str) -> None:
        """As `Results.check_weights`, against what all machines have measured so far."""
        self.collect()
        super().check_weights(network, sha256)

    def collect(self) -> None:
        """Copy the records of all machines into the folder.

        Raises:
            InputError: cells of one float network started from different weights.
        """
        attributes = self._attributes
        for cell in self._cells:
            if _record_of(cell) in attributes:
                super().keep(cell, attributes[_record_of(cell)]["record"])

    def close(self) -> None:
        """No more signs of life; let go of the server."""
        self._heartbeat.stop()
        self._storage.close()


def _record_of(cell: FixedCell) -> str:
    return f"record {cell.name}"


def _lease_of(cell: FixedCell) -> str:
    return f"lease {cell.name}"
