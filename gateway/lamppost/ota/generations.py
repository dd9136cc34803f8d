"""Configurations on disk: a numbered file each, and two state files written in turn. Every step is durable or was not.

    ota/000007.toml              a whole site file, named by its number; its hash is in the state
    ota/state-0, ota/state-1     the state, checksummed; the one with the higher turn counts

A content file is written before the state that names it, and removed after the state that no longer does. So whatever
a power cut leaves, the newest whole state names only whole files, or says so by their hashes.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from lamppost.errors import LamppostError, StoreError
from lamppost.files import durable_write
from lamppost.model import Instant
from lamppost.ota import transitions
from lamppost.ota.refusal import ConfigUnfit, not_stored
from lamppost.ota.state import Baseline, Generation, State, from_bytes, said, to_bytes

log = logging.getLogger(__name__)

_STATES = ("state-0", "state-1")


class Generations:
    """The configurations of one gateway. One process at a time: whoever uses it holds the lock of the state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn, self._state = 0, State()
        for name in _STATES:
            try:
                found = from_bytes((folder / name).read_bytes())
            except OSError:
                continue
            if found is not None and found[1] > self._turn:
                self._state, self._turn = found

    @property
    def state(self) -> State:
        """As it is on disk."""
        return self._state

    def content(self, generation: Generation) -> bytes:
        """Its bytes, verified by their hash. Raises ConfigUnfit `ota.damaged`."""
        try:
            content = self._file(generation.number).read_bytes()
        except OSError as error:
            raise ConfigUnfit("ota.damaged", f"{error.filename}: {error.strerror}") from None
        if hashlib.sha256(content).hexdigest() != generation.sha256:
            raise ConfigUnfit("ota.damaged", f"generation {generation.number} is not as it was")
        return content

    def stage(
        self,
        content: bytes,
        baseline: Baseline,
        *,
        serial: int = 0,
        origin: str = "hub",
        rollout: str = "",
        until: int = 0,
    ) -> Generation:
        """Keep verified bytes as the next generation, on trial from the next start on.

        Raises ConfigUnfit `ota.in-trial`, StoreError `ota.not-stored`; then nothing was changed.
        """
        digest = hashlib.sha256(content).hexdigest()
        number = self._state.last + 1
        generation = Generation(number, digest, serial, origin, rollout, until)
        after = transitions.stage(self._state, generation, baseline)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            durable_write(self._file(number), content)
        except OSError as error:
            raise not_stored(error) from error
        self._save(after)
        return generation

    def start(self, now: Instant, utc: int) -> None:
        """The daemon starts: counts a trial's starts, ends one that used them up.

        Where the disk takes no writes a trial is not begun: it is only put aside in memory, and `good` runs.
        """
        after = transitions.start(self._state, now, utc)
        if after is self._state:
            return
        try:
            self._save(after)
        except StoreError as failed:
            log.error("%s: %s; the trial is put aside", failed.code, failed)
            self._state = transitions.revert(self._state, *said(failed), utc)

    def confirm(self, utc: int) -> None:
        """The trial went well. Raises StoreError `ota.not-stored`."""
        self._save(transitions.confirm(self._state, utc))

    def roll_back(self, utc: int) -> None:
        """One step back. Raises ConfigUnfit `ota.no-previous`, StoreError `ota.not-stored`."""
        self._save(transitions.roll_back(self._state, utc))

    def revert(self, why: LamppostError, utc: int) -> None:
        """The trial failed. On a disk that takes no writes at least in memory: a later start ends the trial too."""
        self._go_back(transitions.revert(self._state, *said(why), utc))

    def withdraw(self, utc: int) -> None:
        """Its roll-out was halted."""
        self._go_back(transitions.withdraw(self._state, utc))

    def lost(self, why: LamppostError, utc: int) -> None:
        """The good one cannot be used any more."""
        self._go_back(transitions.lost(self._state, said(why)[1], utc))

    def _go_back(self, after: State) -> None:
        try:
            self._save(after)
        except StoreError as failed:
            log.error("%s: %s; %s", failed.code, failed, failed.hint)
            self._state = after

    def _save(self, state: State) -> None:
        turn = self._turn + 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            durable_write(self._folder / _STATES[turn % 2], to_bytes(state, turn))
        except OSError as error:
            raise not_stored(error) from error
        self._state, self._turn = state, turn
        self._sweep()

    def _sweep(self) -> None:
        """Remove contents that nothing names any more; what cannot be removed now is removed another time."""
        for file in self._folder.glob("[0-9]*.toml*"):
            number = file.name.partition(".")[0]
            if number.isdigit() and int(number) not in self._state.kept:
                try:
                    file.unlink()
                except OSError:
                    log.warning("%s cannot be removed", file)

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06}.toml"
