"""A ring, a broker and a hub for the uplink's tests: real signatures, virtual time, misbehaviour by dice.

The hub keeps the rules of the wire format (next number only, same bytes same answer, receipt after storage); the
broker keeps none. What the hub has stored and when it signed is recorded, so that a test can judge the sender.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from lamppost.envelope.keys import FileSigner, create_signing_key
from lamppost.envelope.merkle import MerkleLog, leaf_hash
from lamppost.envelope.public import PublicKey
from lamppost.envelope.receipt import issue_receipt, issue_statement
from lamppost.errors import LamppostError, StoreError
from lamppost.model import Batch, Span
from lamppost.uplink.faults import fault
from lamppost.uplink.transport import Ack, Incoming

GATEWAY = "gw-0001"
EPOCH = "0123456789abcdef"


def batch(seq: int, text: str = "batch") -> Batch:
    """A held batch; a real one's message hides a signed message, here the leaf is of the message itself."""
    message = f"{text} {seq}".encode()
    digest = sha256(message).digest()
    return Batch(EPOCH, seq, Span(seq * 10, seq * 10 + 9), digest, leaf_hash(message), message)


def signer(folder: Path, name: str = "hub") -> FileSigner:
    path = folder / f"{name}.pem"
    create_signing_key(path)
    return FileSigner.load(path)


@dataclass
class Identity:
    """What the uplink reads of `envelope.identity.Identity`."""

    gateway: str
    hub_signing: dict[bytes, PublicKey]
    tls_certificate: Path = Path("unused")
    tls_key: Path = Path("unused")
    server_ca: Path = Path("unused")


@dataclass
class Settings:
    """As the site's [uplink]."""

    host: str = "broker.example"
    port: int = 8883
    in_flight: int = 8
    receipt_timeout: float = 30.0


@dataclass
class Ring:
    """`sender.Outbox` over a list; `settled` is the order in which receipts were reported."""

    batches: list[Batch] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)
    broken: bool = False
    proved: Callable[[int], bool] = lambda seq: True

    def hold(self, count: int) -> None:
        first = self.batches[-1].seq + 1 if self.batches else len(self.settled)
        self.batches += [batch(seq) for seq in range(first, first + count)]

    def held(self) -> list[Batch]:
        return list(self.batches)

    def settle(self, epoch: str, seq: int) -> bool:
        if self.broken:
            raise StoreError("read-only", code="store.read-only", hint="replace the card")
        assert epoch == EPOCH
        assert self.batches[0].seq == seq, "settled out of order"
        assert self.proved(seq), "settled without a receipt"
        self.settled.append(self.batches.pop(0).seq)
        return True


class Hub:
    """Accepts the next number only, answers with receipts and statements. `refuse` names a code to refuse with."""

    def __init__(self, key: FileSigner) -> None:
        self.key = key
        self.log = MerkleLog()
        self.stored: list[bytes] = []
        self.receipted: set[int] = set()
        self.received: list[int] = []
        self.refuse: str | None = None
        self.silent = False

    def receive(self, message: bytes) -> list[bytes]:
        """The answers to one message."""
        seq = int(message.split()[-1])
        self.received.append(seq)
        if self.silent:
            return []
        if self.refuse is not None:
            return [self.statement(kind="refused", code=self.refuse, epoch=EPOCH, seq=seq)]
        if seq > len(self.stored):
            return [self.resend(seq, len(self.stored))]
        if seq == len(self.stored):
            self.stored.append(message)
            self.log.append(leaf_hash(message))
        elif self.stored[seq] != message:
            return [self.statement(kind="refused", code="hub.equivocation", epoch=EPOCH, seq=seq)]
        return [self.receipt(seq)]

    def receipt(self, seq: int, gateway: str = GATEWAY) -> bytes:
        self.receipted.add(seq)
        return issue_receipt(
            self.key,
            gateway=gateway,
            epoch=EPOCH,
            seq=seq,
            log_size=self.log.size,
            root=self.log.root(),
            path=self.log.inclusion(seq),
        )

    def resend(self, seq: int, wanted: int) -> bytes:
        return self.statement(kind="resend", epoch=EPOCH, seq=seq, next=wanted)

    def statement(self, **fields: str | int) -> bytes:
        return issue_statement(self.key, GATEWAY, fields)


@dataclass
class Dice:
    """Chances of the broker's sins, per message; latencies in seconds, each way (the most with `reorder`)."""

    lose: float = 0.0
    repeat: float = 0.0
    cut: float = 0.0  # the connection dies after this message
    garble: float = 0.0
    latency: float = 0.05
    reorder: bool = False
    refuse_connect: float = 0.0


class Broker:
    """`transport.Transport` to `hub`, in virtual time. `down` set: no connection is to be had."""

    def __init__(
        self, hub: Hub, dice: Dice | None = None, chance: random.Random | None = None
    ) -> None:
        self.hub = hub
        self.dice = dice or Dice()
        self.chance = chance or random.Random(1)
        self.down: str | None = None
        self.deny: str | None = None
        self.nobody = False
        self.mute = False  # takes everything, answers nothing
        self.published: list[bytes] = []
        self.old_answers: list[bytes] = []
        self.connections = 0
        self._newest = 0.0
        self._alive = False
        self._lost: LamppostError | None = None
        self._inbox: list[bytes] = []
        self._news = asyncio.Event()
        self._pending: list[asyncio.Future[Ack]] = []

    async def connect(self) -> None:
        await asyncio.sleep(self.dice.latency)
        if self.down or self.chance.random() < self.dice.refuse_connect:
            raise fault(self.down or "uplink.unreachable", "the fake broker is down")
        self.connections += 1
        self._alive, self._lost = True, None
        self._inbox.clear()

    def publish(self, topic: str, payload: bytes, *, urgent: bool = False) -> asyncio.Future[Ack]:
        assert topic == f"lamppost/{GATEWAY}/up"
        done: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        if self._lost is not None:
            done.set_exception(self._lost)
            return done
        self.published.append(payload)
        self._pending.append(done)
        if self.mute:
            return done
        self._later(self._answer, done)
        if self.chance.random() >= self.dice.lose:
            for _ in range(1 + (self.chance.random() < self.dice.repeat)):
                self._later(self._arrive, payload)
        if self.chance.random() < self.dice.cut:
            self._later(self.cut)
        return done

    async def messages(self) -> AsyncIterator[Incoming]:
        while True:
            while self._inbox:
                yield Incoming(f"lamppost/{GATEWAY}/down", self._inbox.pop(0))
            if self._lost is not None:
                raise self._lost
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        """The connection dies."""
        self._alive = False
        self._lost = self._lost or fault("uplink.lost", "cut")
        for done in self._pending:
            if not done.done():
                done.set_exception(self._lost)
                done.exception()
        self._pending.clear()
        self._news.set()

    def say(self, message: bytes) -> None:
        """Put a message into the gateway's hands."""
        self._inbox.append(message)
        self._news.set()

    def _later(self, what: Callable[..., None], *args: object) -> None:
        loop = asyncio.get_running_loop()
        if self.dice.reorder:
            when = loop.time() + self.chance.uniform(0, self.dice.latency)
        else:  # equal timers fire in any order
            when = self._newest = max(loop.time() + self.dice.latency, self._newest + 1e-6)
        loop.call_at(when, what, *args)

    def _answer(self, done: asyncio.Future[Ack]) -> None:
        if done.done():
            return
        if self.deny is not None:
            done.set_exception(fault(self.deny, "denied"))
        else:
            done.set_result(Ack.NOBODY if self.nobody else Ack.TAKEN)

    def _arrive(self, message: bytes) -> None:
        for answer in self.hub.receive(message):
            self.old_answers.append(answer)
            if self.chance.random() < self.dice.lose:
                continue
            said = answer
            if self.chance.random() < self.dice.garble:
                position = self.chance.randrange(len(said))
                said = said[:position] + bytes([said[position] ^ 1]) + said[position + 1 :]
            for _ in range(1 + (self.chance.random() < self.dice.repeat)):
                self._later(self._deliver, said)
            if self.chance.random() < self.dice.repeat:
                self._later(self._deliver, self.chance.choice(self.old_answers))

    def _deliver(self, message: bytes) -> None:
        if self._alive:
            self.say(message)
