"""A hub in a folder and gateways that seal for it, for all tests of the hub. Times are UTC nanoseconds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from lamppost.envelope import identity
from lamppost.envelope.enrolment import read_request
from lamppost.envelope.identity import Identity
from lamppost.envelope.receipt import ReceiptClaim, Statement, read_down, verify_receipt
from lamppost.envelope.seal import ALERT, GENESIS, Header, Sealed, seal, topic_of
from lamppost.model import Receipt
from lamppost_hub import founding
from lamppost_hub.database import Database
from lamppost_hub.folder import HubFolder, Settings
from lamppost_hub.intake import Answer, Intake
from lamppost_hub.transport import Incoming

HUB = "hub.test"
START = 1_790_000_000_000_000_000
EPOCH = "0" * 32
LATER_EPOCH = "1" * 32
ALERT_EPOCH = ALERT + "a" * 32


class FrozenClock:
    """Stands still until told otherwise; sleeping moves it."""

    def __init__(self, utc: int = START) -> None:
        self.ns = utc

    def utc(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return self.ns / 1e9

    async def sleep(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


def payload(number: int) -> bytes:
    """One NGSI-LD entity, as small as it can be."""
    entity = {
        "id": f"urn:ngsi-ld:Device:gw-1:{number}",
        "type": "https://example.org/Device",
        "value": {"type": "Property", "value": number},
    }
    return json.dumps([entity]).encode()


@dataclass
class SealingGateway:
    """An enrolled gateway that seals one chained batch after the other; `batches` are kept as sent."""

    identity: Identity
    epoch: str = EPOCH
    topic: str = ""
    batches: list[Sealed] = field(default_factory=list)
    readings: int = 0

    @property
    def name(self) -> str:
        return self.identity.gateway

    def header(self, count: int = 10, *, skip: int = 0, aud: str = "") -> Header:
        prev = self.batches[-1].digest if self.batches else GENESIS
        first = self.readings + skip
        aud = aud or self.identity.hub
        return Header(self.name, aud, self.epoch, len(self.batches), prev, first, count)

    def forge(self, header: Header, content: bytes | None = None) -> Sealed:
        """Seal any header, without making it part of the chain."""
        return seal(
            payload(header.seq) if content is None else content,
            header,
            self.identity.signer,
            self.identity.hub_encryption,
            self.topic or topic_of(self.name, self.epoch),
        )

    def next(self, count: int = 10, *, skip: int = 0, content: bytes | None = None) -> Incoming:
        """Seal the next batch of `count` readings; `skip` numbers before them are missing."""
        header = self.header(count, skip=skip)
        sealed = self.forge(header, content)
        self.batches.append(sealed)
        self.readings = header.first + count
        return self.sent(sealed)

    def sent(self, sealed: Sealed) -> Incoming:
        return Incoming(self.topic or topic_of(self.name, self.epoch), sealed.message)

    def again(self, seq: int) -> Incoming:
        return self.sent(self.batches[seq])

    def clone(self) -> SealingGateway:
        """The card was copied: the same key, epoch and batches up to here."""
        return SealingGateway(
            self.identity, self.epoch, self.topic, list(self.batches), self.readings
        )

    def read(self, answer: Answer) -> Receipt | Statement:
        """What the gateway would make of an answer: a receipt proved by its own bytes, or a statement."""
        assert answer.topic == f"lamppost/{self.name}/down"
        said = read_down(answer.payload, self.name, self.identity.hub_signing)
        if isinstance(said, ReceiptClaim):
            return verify_receipt(said, self.batches[said.seq].leaf)
        return said


@dataclass
class HubWorld:
    """A founded hub, its open database and its intake."""

    path: Path
    clock: FrozenClock
    folder: HubFolder
    database: Database
    intake: Intake

    @classmethod
    def make(cls, path: Path, address: str = "") -> HubWorld:
        """A new hub; `address` is that of an empty PostgreSQL database, "" for SQLite."""
        clock = FrozenClock()
        folder = HubFolder(path / "hub")
        founding.found(folder, Settings(HUB, "localhost", 8883, address), clock)
        database = founding.open_database(folder)
        return cls(
            path, clock, folder, database, Intake(database, founding.load_keys(folder), clock)
        )

    def reopen(self) -> None:
        """As after a kill: everything that is not on the disk is forgotten."""
        self.database.close()
        self.database = founding.open_database(self.folder)
        self.intake = Intake(self.database, founding.load_keys(self.folder), self.clock)

    def enrol(
        self, name: str = "gw-1", *, replace: bool = False, folder: str = ""
    ) -> SealingGateway:
        home = self.path / (folder or name)
        identity.create(home, name)
        request = read_request(identity.request(home))
        _, bundle = founding.approve(
            self.folder, self.database, request, self.clock, replace=replace
        )
        identity.install(home, bundle)
        return SealingGateway(identity.load(home))
