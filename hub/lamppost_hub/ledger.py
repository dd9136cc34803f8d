"""What every gateway has sent: one gap-free, hash-chained, Merkle-logged stream an epoch, archived as signed.

`accept` decides what a verified batch is, and books it, inside the caller's transaction; nothing is remembered
between calls but the database, so a kill at any point leaves the state of the last commit. States and transitions
are written down in docs/formats/ledger.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from lamppost.envelope.merkle import HASH_SIZE, Frontier, root_from_inclusion
from lamppost.envelope.seal import GENESIS, Header, Opened, is_alert
from lamppost.errors import TrustError
from lamppost_hub.database import Database, Row, Value

MAX_PENDING = 8  # unapproved epochs remembered for a gateway
MAX_EVIDENCE = 16  # contradicting batches kept for a stream


@dataclass(frozen=True, slots=True)
class Proof:
    """What a receipt needs: the log that ends with the batch. Batch `seq` is leaf `seq` of `log_size` = seq + 1."""

    log_size: int
    root: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class New:
    """Booked; durable, and queued for the sinks, when the transaction commits."""

    proof: Proof


@dataclass(frozen=True, slots=True)
class Duplicate:
    """These very bytes are booked already; the proof is the one of the first time."""

    proof: Proof


@dataclass(frozen=True, slots=True)
class Missing:
    """Batches before this one are not here: resend from `next`."""

    next: int
    code: str = "ledger.missing"


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two different batches with one number: a clone or a rolled-back card. The stream is quarantined."""

    code: str = "ledger.equivocation"


@dataclass(frozen=True, slots=True)
class ChainBroken:
    """The right number, but another predecessor, or reading numbers that were there already."""

    code: str


@dataclass(frozen=True, slots=True)
class UnknownEpoch:
    """Nothing of this epoch is taken: pending until the operator approves, closed or quarantined for ever."""

    code: str


Outcome: TypeAlias = New | Duplicate | Missing | Equivocation | ChainBroken | UnknownEpoch

_NOT_TAKEN = {
    "epoch-pending": "ledger.epoch-pending",
    "quarantined": "ledger.quarantined",
    "closed": "ledger.epoch-closed",
}


@dataclass(frozen=True, slots=True)
class Stream:
    """The books of one (gateway, epoch). `size` batches are held, `head` is the digest of the newest body.

    `readings` is the sum of the spans, `missing` how many reading numbers lie between them,
    `bytes` what the booked messages measured on the wire; UTC in nanoseconds.
    """

    number: int
    gateway: str
    epoch: str
    state: str
    began: int
    frontier: Frontier
    head: bytes
    next_reading: int
    readings: int
    missing: int
    bytes: int
    received: int

    @property
    def size(self) -> int:
        """How many batches are booked, which is the next expected number too."""
        return self.frontier.size


_STREAM = (
    "SELECT s.number, g.id, s.epoch, s.state, s.began, s.frontier, s.head, s.next_reading, s.readings, s.missing,"
    " s.bytes, s.received FROM streams s JOIN gateways g ON g.number = s.gateway"
)

_BOOK = (
    "INSERT INTO entries (gateway, stream, seq, first, count, received, digest, leaf, path, body)"
    " SELECT gateway, number, ?, ?, ?, ?, ?, ?, ?, ? FROM streams WHERE number = ?"
)
_GROW = (
    "UPDATE streams SET frontier = ?, head = ?, next_reading = ?, readings = ?, missing = ?, bytes = ?, received = ?"
    " WHERE number = ?"
)
_HEARD = (
    "UPDATE gateways SET seen = ?, head = coalesce("
    "(SELECT max(position) FROM entries e WHERE e.gateway = gateways.number), 0) WHERE id = ?"
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A batch that is booked when its group ends: what is written, and what a repeat of it is answered from."""

    gateway: str
    epoch: str
    row: tuple[Value, ...]
    proof: tuple[bytes, bytes, bytes]


@dataclass(slots=True)
class _Group:
    """What batches that share a transaction have read and are going to write."""

    streams: dict[tuple[str, str], Stream]
    entries: dict[tuple[int, int], _Entry] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)


def _growth(stream: Stream) -> tuple[Value, ...]:
    return (
        stream.frontier.to_bytes(),
        stream.head,
        stream.next_reading,
        stream.readings,
        stream.missing,
        stream.bytes,
        stream.received,
        stream.number,
    )


class Ledger:
    """The ledger's tables in hub.sqlite, used by one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._group: _Group | None = None

    @contextmanager
    def group(self, batches: Sequence[Opened], utc: int) -> Iterator[None]:
        """Inside, what `accept` needs for these batches is read at once, and what it books is written at the end.

        Their gateways are noted as heard at `utc`. Call it inside `Database.transaction()`.
        """
        wanted = sorted({(one.header.gateway, one.header.epoch) for one in batches})
        places = ", ".join(["(?, ?)"] * len(wanted))
        rows = self._database.rows(
            f"{_STREAM} WHERE (g.id, s.epoch) IN (VALUES {places})",
            *(part for pair in wanted for part in pair),
        )
        streams = (_read_stream(row) for row in rows)
        self._group = _Group({(stream.gateway, stream.epoch): stream for stream in streams})
        try:
            yield
            self._write(self._group, utc)
        finally:
            self._group = None

    def _write(self, group: _Group, utc: int) -> None:
        self._database.many(_BOOK, [entry.row for entry in group.entries.values()])
        grown = {(entry.gateway, entry.epoch) for entry in group.entries.values()}
        self._database.many(_GROW, [_growth(group.streams[key]) for key in sorted(grown)])
        self._database.many(_HEARD, [(utc, gateway) for gateway in sorted(group.heard)])

    def accept(self, opened: Opened, utc: int, size: int = 0) -> Outcome:
        """Book a verified batch of an enrolled gateway that arrived at `utc` (nanoseconds), `size` bytes as sent.

        Call it inside `Database.transaction()` and answer only after the commit.
        """
        if self._group is None:
            with self._database.transaction(), self.group([opened], utc):
                return self.accept(opened, utc, size)
        header = opened.header
        self._group.heard.add(header.gateway)
        stream = self._stream(header.gateway, header.epoch)
        if stream is None:
            return self._first_of_epoch(opened, utc, size)
        if header.seq < stream.size:
            return self._again(stream, opened, utc)
        if stream.state != "open":
            return UnknownEpoch(_NOT_TAKEN[stream.state])
        return self._next(stream, opened, utc, size)

    def _first_of_epoch(self, opened: Opened, utc: int, size: int) -> Outcome:
        header = opened.header
        streams = self._alike(header.gateway, header.epoch)
        if streams:
            self._create(header, "epoch-pending", utc)
            self._forget_old_pending(header.gateway, header.epoch)
            return UnknownEpoch(_NOT_TAKEN["epoch-pending"])
        if header.seq > 0:
            return Missing(0)
        if (
            header.prev != GENESIS
        ):  # nothing is known of this gateway, so nothing is kept of it either
            return ChainBroken("ledger.chain-broken")
        return self._next(self._create(header, "open", utc), opened, utc, size)

    def _create(self, header: Header, state: str, utc: int) -> Stream:
        self._database.run(
            "INSERT INTO streams (gateway, epoch, state, began, frontier, head)"
            " SELECT number, ?, ?, ?, ?, ? FROM gateways WHERE id = ?",
            header.epoch,
            state,
            utc,
            Frontier().to_bytes(),
            GENESIS,
            header.gateway,
        )
        stream = self._stream(header.gateway, header.epoch)
        if stream is None:
            raise TrustError(
                f"no gateway {header.gateway!r} is enrolled",
                code="registry.unknown-gateway",
                hint="lamppost-hub enrol list DIR shows the enrolled ones",
            )
        return stream

    def _forget_old_pending(self, gateway: str, epoch: str) -> None:
        pending = [s for s in self._alike(gateway, epoch) if s.state == "epoch-pending"]
        for stream in pending[:-MAX_PENDING]:
            self._database.run("DELETE FROM streams WHERE number = ?", stream.number)

    def _alike(self, gateway: str, epoch: str) -> list[Stream]:
        """The gateway's epochs of the same kind: readings and alerts are streams of their own."""
        return [s for s in self.streams(gateway) if is_alert(s.epoch) == is_alert(epoch)]

    def _again(self, stream: Stream, opened: Opened, utc: int) -> Outcome:
        booked = self._booked(stream, opened.header.seq)
        if booked is not None and booked[0] == opened.digest:
            return Duplicate(proof_of(opened.header.seq, booked[1], booked[2]))
        self._keep_evidence(stream, opened, "ledger.equivocation", utc)
        self._database.run(
            "UPDATE streams SET state = 'quarantined' WHERE number = ?", stream.number
        )
        self._database.run(
            "UPDATE gateways SET state = 'quarantined' WHERE id = ? AND state = 'active'",
            stream.gateway,
        )
        self._remember(replace(stream, state="quarantined"))
        return Equivocation()

    def _booked(self, stream: Stream, seq: int) -> Row | None:
        """Digest, leaf and joined path of a batch that is booked, or about to be."""
        entry = self._group.entries.get((stream.number, seq)) if self._group else None
        if entry is not None:
            return entry.proof
        return self._database.row(
            "SELECT digest, leaf, path FROM entries WHERE stream = ? AND seq = ?",
            stream.number,
            seq,
        )

    def _next(self, stream: Stream, opened: Opened, utc: int, size: int) -> Outcome:
        header = opened.header
        if header.seq > stream.size:
            return Missing(stream.size)
        if header.prev != stream.head:
            self._keep_evidence(stream, opened, "ledger.chain-broken", utc)
            return ChainBroken("ledger.chain-broken")
        if header.first < stream.next_reading:
            self._keep_evidence(stream, opened, "ledger.reading-overlap", utc)
            return ChainBroken("ledger.reading-overlap")
        return New(self._append(stream, opened, utc, size))

    def _append(self, stream: Stream, opened: Opened, utc: int, size: int) -> Proof:
        header, frontier = opened.header, stream.frontier
        assert self._group is not None
        path = frontier.append_with_path(opened.leaf)
        proof = opened.digest, opened.leaf, b"".join(path)
        row = header.seq, header.first, header.count, utc, *proof, opened.body, stream.number
        entry = _Entry(header.gateway, header.epoch, row, proof)
        self._group.entries[stream.number, header.seq] = entry
        self._remember(
            replace(
                stream,
                head=opened.digest,
                next_reading=header.first + header.count,
                readings=stream.readings + header.count,
                missing=stream.missing + header.first - stream.next_reading,
                bytes=stream.bytes + size,
                received=utc,
            )
        )
        return Proof(frontier.size, frontier.root(), tuple(path))

    def _keep_evidence(self, stream: Stream, opened: Opened, code: str, utc: int) -> None:
        self._database.run(
            "INSERT INTO evidence (stream, seq, code, at, body) SELECT ?, ?, ?, ?, ?"
            " WHERE (SELECT count(*) FROM evidence WHERE stream = ?) < ?",
            stream.number,
            opened.header.seq,
            code,
            utc,
            opened.body,
            stream.number,
            MAX_EVIDENCE,
        )

    def _stream(self, gateway: str, epoch: str) -> Stream | None:
        known = self._group.streams.get((gateway, epoch)) if self._group else None
        if known is not None:
            return known
        row = self._database.row(_STREAM + " WHERE g.id = ? AND s.epoch = ?", gateway, epoch)
        return None if row is None else self._remember(_read_stream(row))

    def _remember(self, stream: Stream) -> Stream:
        if self._group is not None:
            self._group.streams[stream.gateway, stream.epoch] = stream
        return stream

    def streams(self, gateway: str | None = None) -> list[Stream]:
        """All streams, or one gateway's, oldest first."""
        if gateway is None:
            rows = self._database.rows(_STREAM + " ORDER BY g.id, s.number")
        else:
            rows = self._database.rows(_STREAM + " WHERE g.id = ? ORDER BY s.number", gateway)
        return [_read_stream(row) for row in rows]

    def approve_epoch(self, gateway: str, epoch: str, record: bytes) -> None:
        """Open a pending epoch, close the gateway's others of its kind; `record` is the signed reset.

        The gateway's quarantine ends when none of its epochs is quarantined any more.

        Raises TrustError `ledger.no-such-epoch`.
        """
        with self._database.transaction():
            stream = self._stream(gateway, epoch)
            if stream is None or stream.state != "epoch-pending":
                raise TrustError(
                    f"{gateway} has no epoch {epoch} that waits for approval",
                    code="ledger.no-such-epoch",
                    hint="lamppost-hub fleet show DIR lists the epochs that wait",
                )
            for other in self._alike(gateway, epoch):
                if other.state in ("open", "quarantined"):
                    self._database.run(
                        "UPDATE streams SET state = 'closed' WHERE number = ?", other.number
                    )
            self._database.run(
                "UPDATE streams SET state = 'open', approval = ? WHERE number = ?",
                record,
                stream.number,
            )
            if all(s.state != "quarantined" for s in self.streams(gateway)):
                self._database.run(
                    "UPDATE gateways SET state = 'active' WHERE id = ? AND state = 'quarantined'",
                    gateway,
                )


def _read_stream(row: tuple[object, ...]) -> Stream:
    number, gateway, epoch, state, began, frontier, *rest = row
    assert isinstance(frontier, bytes)
    return Stream(number, gateway, epoch, state, began, Frontier.from_bytes(frontier), *rest)  # type: ignore[arg-type]


def proof_of(seq: int, leaf: bytes, joined: bytes) -> Proof:
    """The proof of batch `seq` in the log that ends with it, from the stored path."""
    path = tuple(joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE))
    return Proof(seq + 1, root_from_inclusion(leaf, seq, seq + 1, path), path)
