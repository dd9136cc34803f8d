"""What a received message is: opened, judged by the registry, booked in the ledger, answered. No I/O but the database.

A group of messages shares one transaction, and so one flush of the disk; nothing is answered before its commit.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lamppost.envelope import codec
from lamppost.envelope.keys import DecryptionKey, Signer
from lamppost.envelope.receipt import issue_receipt, issue_statement
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import ALERT as ALERT_EPOCH
from lamppost.envelope.seal import Opened, is_name, open_message
from lamppost_hub.books import DUPLICATES, UNKNOWN, Books
from lamppost_hub.clock import Clock
from lamppost_hub.database import Database
from lamppost_hub.ledger import Duplicate, Ledger, Missing, New, Outcome
from lamppost_hub.recent import Recent
from lamppost_hub.registry import Registry
from lamppost_hub.states import STATE, States
from lamppost_hub.transport import Incoming

log = logging.getLogger("lamppost_hub.intake")

UP, ALERT = "up", "alert"
REVOKED = "registry.revoked"  # also of a key that was known when the message was opened
LOUD = frozenset(
    {"ledger.equivocation", "ledger.chain-broken", "ledger.reading-overlap", "registry.revoked"}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A signed message to a gateway."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Early:
    """A verified batch whose predecessor another receiver may have in hand; waited for until then (monotonic, s)."""

    message: Incoming
    batch: Opened
    until: float


@dataclass(slots=True)
class Taken:
    """What became of a group: answers to send, how many batches were new, and which are to be given again."""

    answers: list[Answer] = field(default_factory=list)
    new: int = 0
    early: list[Early] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A message that is not taken; `gateway` is "" where nobody may be answered, `said` what a statement adds."""

    code: str
    gateway: str
    said: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class HubKeys:
    """The hub's id and keys: one signs, all `decryption` keys (by kid) open."""

    hub: str
    signer: Signer
    decryption: Mapping[bytes, DecryptionKey]


class Intake:
    """The receiver's judgement. `take` blocks (disk, cryptography): call it in the database's thread."""

    def __init__(
        self, database: Database, keys: HubKeys, clock: Clock, *, patience: float = 0.0
    ) -> None:
        self._database = database
        self._patience = patience
        self.recent = Recent()
        self._registry = Registry(database)
        self._ledger = Ledger(database)
        self._books = Books(database)
        self._states = States(database, self._registry, keys.hub, keys.decryption)
        self._keys = keys
        self._clock = clock
        self._noticed: dict[tuple[str, str], int] = {}

    def take(self, group: Sequence[Incoming], early: Sequence[Early] = ()) -> Taken:
        """Judge and book a group; what it returns may be sent, everything in it is durable.

        Where receivers share the messages, a batch that comes before its predecessor is not asked about at once:
        for `patience` seconds it comes back in `Taken.early`, to be given again.
        Raises StoreError and books nothing at all when the disk refuses; the same group may be given again.
        """
        utc, until = self._clock.utc(), self._clock.monotonic() + self._patience
        opened: list[tuple[Incoming, Opened]] = [(one.message, one.batch) for one in early]
        patience = {id(one.batch): one.until for one in early}
        refused: list[tuple[Incoming, _Refusal]] = []
        beats: list[tuple[Incoming, str]] = []
        for message in group:
            gateway = _gateway_of(message.topic, (STATE,))
            if gateway is not None and self._registry.knows(gateway):
                beats.append((message, gateway))
                continue
            judged = self._open(message)
            if isinstance(judged, Opened):
                opened.append((message, judged))
            else:
                refused.append((message, judged))
        # Within a group the order of arrival says nothing: several may be in flight, and some were sent again.
        opened.sort(
            key=lambda pair: (pair[1].header.gateway, pair[1].header.epoch, pair[1].header.seq)
        )
        booked: list[tuple[Opened, Outcome]] = []
        waiting: list[Early] = []
        with self._database.transaction():
            for message, batch, outcome in self._booked(opened, utc):
                end = patience.get(id(batch), until)
                if isinstance(outcome, _Refusal):
                    refused.append((message, outcome))
                elif isinstance(outcome, Missing) and end > self._clock.monotonic():
                    waiting.append(Early(message, batch, end))
                else:
                    booked.append((batch, outcome))
            tally = _tally(booked, refused)
            for message, gateway in sorted(beats, key=lambda beat: beat[1]):
                code = self._states.take(message, gateway, utc)
                if code:  # nobody waits for an answer to a heartbeat
                    self._books.keep(gateway, message.topic, code, message.payload, utc)
                    tally[gateway, code] += 1
            for message, refusal in refused:
                label = refusal.gateway or UNKNOWN
                self._books.keep(label, message.topic, refusal.code, message.payload, utc)
            self._books.count(tally)
        for batch, outcome in booked:
            if isinstance(outcome, New):
                self.recent.keep(batch.digest, batch.payload)
        taken = self._answers(booked, refused)
        taken.early = waiting
        return taken

    def _open(self, message: Incoming) -> Opened | _Refusal:
        gateway = _gateway_of(message.topic)
        if gateway is None:
            return _Refusal("receiver.topic", "", {})
        # The broker lets only the holder of its certificate write to a gateway's topic, so that one is answered.
        answered = gateway if self._registry.knows(gateway) else ""
        # No batch can be named, but its stream can.
        said = {"epoch": ALERT_EPOCH} if message.topic.endswith(f"/{ALERT}") else {}
        if len(message.payload) > codec.MAX:
            return _Refusal("receiver.too-big", answered, said)
        try:
            return open_message(
                message.payload,
                message.topic,
                aud=self._keys.hub,
                hub_keys=self._keys.decryption,
                signer_of=self._registry.signer_of,
            )
        except EnvelopeError as error:
            return _Refusal(error.code, answered, said)
        except (RecursionError, MemoryError, ValueError, TypeError, LookupError, OverflowError):
            # None of these may leave the envelope; one that does must not stop every other gateway's data.
            log.exception(
                "a message on %s broke the envelope's reader; please report it", message.topic
            )
            return _Refusal("receiver.internal", answered, said)

    def _booked(
        self, opened: Sequence[tuple[Incoming, Opened]], utc: int
    ) -> list[tuple[Incoming, Opened, Outcome | _Refusal]]:
        """What ledger and registry say to each; their gateways are held from here to the end of the transaction."""
        if not opened:
            return []
        gateways = sorted({batch.header.gateway for _, batch in opened})
        self._registry.hold(gateways)
        codes = self._registry.refusals_of(gateways)
        with self._ledger.group([batch for _, batch in opened], utc):
            return [
                (message, batch, self._book(message, batch, codes.get(batch.kid, REVOKED), utc))
                for message, batch in opened
            ]

    def _book(
        self, message: Incoming, batch: Opened, code: str | None, utc: int
    ) -> Outcome | _Refusal:
        header = batch.header
        said: dict[str, str | int] = {"epoch": header.epoch, "seq": header.seq}
        if code is not None:
            return _Refusal(code, header.gateway, said)
        outcome = self._ledger.accept(batch, utc, len(message.payload))
        if isinstance(outcome, New | Missing | Duplicate):
            return outcome
        return _Refusal(outcome.code, header.gateway, said)

    def _answers(
        self, booked: Sequence[tuple[Opened, Outcome]], refused: Sequence[tuple[Incoming, _Refusal]]
    ) -> Taken:
        taken = Taken()
        asked: set[tuple[str, str, int]] = set()
        for batch, outcome in booked:
            header = batch.header
            if isinstance(outcome, New | Duplicate):
                taken.new += isinstance(outcome, New)
                taken.answers.append(self._receipt(batch, outcome))
            elif isinstance(outcome, Missing):
                question = (header.gateway, header.epoch, outcome.next)
                if question not in asked:  # one lost batch makes all behind it ask for the same
                    asked.add(question)
                    said: dict[str, str | int] = {"epoch": header.epoch, "seq": header.seq}
                    said["next"] = outcome.next
                    taken.answers.append(
                        self._statement("resend", outcome.code, header.gateway, said)
                    )
        for message, refusal in refused:
            self._notice(message, refusal)
            if refusal.gateway:
                taken.answers.append(
                    self._statement("refused", refusal.code, refusal.gateway, refusal.said)
                )
        return taken

    def _receipt(self, batch: Opened, outcome: New | Duplicate) -> Answer:
        header, proof = batch.header, outcome.proof
        receipt = issue_receipt(
            self._keys.signer,
            gateway=header.gateway,
            epoch=header.epoch,
            seq=header.seq,
            log_size=proof.log_size,
            root=proof.root,
            path=proof.path,
        )
        return Answer(_down(header.gateway), receipt)

    def _statement(
        self, kind: str, code: str, gateway: str, said: Mapping[str, str | int]
    ) -> Answer:
        fields = {"kind": kind, "code": code, **said}
        return Answer(_down(gateway), issue_statement(self._keys.signer, gateway, fields))

    def _notice(self, message: Incoming, refusal: _Refusal) -> None:
        """One line for the 1st, 2nd, 4th, 8th … of a kind: a flood must not fill the journal."""
        key = (refusal.gateway, refusal.code)
        count = self._noticed[key] = self._noticed.get(key, 0) + 1
        if count & (count - 1) == 0:
            level = logging.ERROR if refusal.code in LOUD else logging.WARNING
            log.log(
                level,
                "refused %s on %s (%d times so far)",
                refusal.code,
                message.topic[:100],
                count,
            )


def _tally(
    booked: Sequence[tuple[Opened, Outcome]], refused: Sequence[tuple[Incoming, _Refusal]]
) -> Counter[tuple[str, str]]:
    """What the counters of (gateway, code) get from a group."""
    tally = Counter((refusal.gateway or UNKNOWN, refusal.code) for _, refusal in refused)
    for batch, outcome in booked:
        if isinstance(outcome, Duplicate):
            tally[batch.header.gateway, DUPLICATES] += 1
        elif isinstance(outcome, Missing):
            tally[batch.header.gateway, outcome.code] += 1
    return tally


def _gateway_of(topic: str, kinds: tuple[str, ...] = (UP, ALERT)) -> str | None:
    parts = topic.split("/")
    if len(parts) == 3 and parts[0] == "lamppost" and is_name(parts[1]) and parts[2] in kinds:
        return parts[1]
    return None


def _down(gateway: str) -> str:
    return f"lamppost/{gateway}/down"
