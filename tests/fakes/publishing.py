"""A hub's repository with its key holders, for tests: root keys, two groups with two approvers each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.public import PublicKey
from lamppost_hub.publish import repository as published
from lamppost_hub.publish.repository import Repository, Terms
from lamppost_hub.publish.schedule import Steps

UTC = 1_767_225_600_000_000_000  # 2026-01-01, where the virtual clock begins
DAY = 86400 * 10**9


class World:
    """One repository; `utc` is the hub's clock, moved by hand."""

    def __init__(self, folder: Path, groups: tuple[str, ...] = ("harbour", "park")) -> None:
        self.folder = folder
        self.utc = UTC
        self.keys = folder / "keys"
        self.keys.mkdir(parents=True)
        self.roots = self._made("r1", "r2", "r3")
        online = self._made("online")["online"]
        self.repository = Repository(folder / "publish", [self.keys / "online.pem"])
        self.repository.create(self.roots, online, self.utc)
        self.sign("root", "r1", "r2")
        self.sign("targets", "r1", "r3")
        self.release()
        for group in groups:
            approvers = self._made(f"{group}-a", f"{group}-b")
            self.repository.group(group, approvers, self.utc)
        self.sign("targets", "r2", "r3")
        self.release()

    @property
    def served(self) -> Path:
        """The folder that gateways fetch from."""
        return self.repository.released

    @property
    def root(self) -> bytes:
        """What a gateway of this hub has pinned."""
        return (self.served / "metadata" / "1.root.json").read_bytes()

    def signer(self, name: str) -> FileSigner:
        return FileSigner.load(self.keys / f"{name}.pem")

    def sign(self, role: str, *names: str) -> None:
        for name in names:
            published.sign(self.repository.pending / role, self.signer(name))

    def release(self) -> list[str]:
        return self.repository.release(self.utc)

    def stage(
        self, group: str, sites: Mapping[str, bytes], steps: Steps | None = None, **terms: object
    ) -> list[str]:
        steps = steps or [[10_000, self.utc // 10**9]]
        return self.repository.stage(group, sites, Terms(steps, **terms), self.utc)  # type: ignore[arg-type]

    def publish(
        self, group: str, sites: Mapping[str, bytes], steps: Steps | None = None, **terms: object
    ) -> str:
        """Stage, sign by both approvers, release; returns the roll-out's name."""
        (gateway, *_) = self.stage(group, sites, steps, **terms)
        self.sign(group, f"{group}-a", f"{group}-b")
        self.release()
        return next(
            p.rollout
            for p in self.repository.published()
            if (p.group, p.gateway) == (group, gateway)
        )

    def _made(self, *names: str) -> dict[str, PublicKey]:
        return {n: create_signing_key(self.keys / f"{n}.pem", "ed25519") for n in names}
