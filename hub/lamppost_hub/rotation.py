"""The hub's encryption keys: another one is added, and an old one retired once nobody seals for it any more.

A retired key's file is moved to keys/retired, never deleted: batches that a gateway has sealed for it, and holds
because they got no receipt, can be read only with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamppost.envelope.keys import DecryptionKey, create_encryption_key
from lamppost.errors import TrustError
from lamppost_hub.database import Database
from lamppost_hub.files import move_durably, private_folder
from lamppost_hub.folder import HubFolder
from lamppost_hub.registry import Registry


@dataclass(frozen=True, slots=True)
class HubKey:
    """encryption-`number`.pem: its id, whether it is retired or the newest, and the gateways that seal for it."""

    number: int
    kid: bytes
    retired: bool
    newest: bool
    gateways: tuple[str, ...]

    @property
    def state(self) -> str:
        """One word for people."""
        return "retired" if self.retired else "newest" if self.newest else "accepted"


class Rotation:
    """Adds, retires and brings back. Receivers read the keys when they start."""

    def __init__(self, folder: HubFolder, database: Database) -> None:
        self._folder = folder
        self._registry = Registry(database)

    def keys(self) -> list[HubKey]:
        """All of them, oldest first."""
        inside = self._folder.encryption_keys()
        users = self._registry.sealing()
        found = [(path, False) for path in inside]
        found += [(path, True) for path in self._folder.retired_keys()]
        keys = [
            self._described(path, retired, path == inside[-1], users) for path, retired in found
        ]
        return sorted(keys, key=lambda key: key.number)

    @staticmethod
    def _described(
        path: Path, retired: bool, newest: bool, users: dict[str, bytes | None]
    ) -> HubKey:
        kid = DecryptionKey.load(path).kid
        # Of a gateway that was enrolled before this was noted, nobody knows: it may use any of them.
        using = tuple(name for name, used in users.items() if used in (kid, None))
        return HubKey(number_of(path), kid, retired, newest, using)

    def add(self) -> HubKey:
        """Make another key, for which every gateway seals from its next enrolment on."""
        number = max(key.number for key in self.keys()) + 1
        create_encryption_key(self._folder.keys / f"encryption-{number}.pem")
        return self._key(number)

    def retire(self, number: int, *, anyway: bool = False) -> HubKey:
        """Read nothing with this key any more.

        Raises TrustError `hub.key-in-use` for the newest one, and, unless `anyway`, while a gateway's newest
        enrolment names it; `hub.no-such-key`.
        """
        key = self._key(number)
        if key.newest or (key.gateways and not anyway):
            whom = ", ".join(key.gateways[:5]) or "whoever enrols next"
            raise TrustError(
                f"encryption-{number} is the key of {whom}",
                code="hub.key-in-use",
                hint="let them enrol again first: lamppost-hub key list DIR shows who is left",
            )
        if not key.retired:
            retired = private_folder(self._folder.keys / "retired")
            name = f"encryption-{number}.pem"
            move_durably(self._folder.keys / name, retired / name)
        return self._key(number)

    def restore(self, number: int) -> HubKey:
        """Read with a retired key again. Raises TrustError `hub.no-such-key`."""
        if self._key(number).retired:
            name = f"encryption-{number}.pem"
            move_durably(self._folder.keys / "retired" / name, self._folder.keys / name)
        return self._key(number)

    def _key(self, number: int) -> HubKey:
        for key in self.keys():
            if key.number == number:
                return key
        raise TrustError(
            f"there is no encryption-{number}.pem",
            code="hub.no-such-key",
            hint="lamppost-hub key list DIR shows those that there are",
        )


def number_of(path: Path) -> int:
    """N of encryption-N.pem."""
    return int(path.stem.rpartition("-")[2])
