"""What an auditor reads: a gateway's streams, batches as signed, checkpoints, keys; from the database or from a file.

The file (docs/formats/archive.md) is a CBOR sequence of byte strings, each with one record; it needs no key to read
and claims nothing that the auditor does not check. Its writer may be the one who is audited, so every size is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from lamppost.envelope import codec, sign1
from lamppost.envelope.keys import PublicKey
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import is_epoch, is_name, is_number
from lamppost.errors import TrustError
from lamppost_hub.database import Database

SCHEMA_NAME = "lamppost.archive/1"
MAX_RECORD = codec.MAX + 4096
PAGE = 200  # batches read from the database at a time


@dataclass(frozen=True, slots=True)
class Head:
    """Whose archive it is, and the public keys that it says are the gateway's and the hub's."""

    hub: str
    gateway: str
    gateway_keys: tuple[PublicKey, ...]
    hub_keys: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A batch: the number it is kept under, when the hub took it (UTC, ns), the signed message."""

    seq: int
    received: int
    body: bytes


@dataclass(frozen=True, slots=True)
class ArchivedStream:
    """One epoch: how many batches and which newest digest the hub claims, its reset record, its notes.

    `entries` can be gone through once, before the next stream is asked for.
    """

    epoch: str
    size: int
    head: bytes
    approval: bytes | None
    notes: tuple[bytes, ...]
    entries: Iterator[Entry]


class Archive(Protocol):
    """Where an audit reads from."""

    @property
    def head(self) -> Head:
        """Whose it is."""
        ...

    def streams(self) -> Iterator[ArchivedStream]:
        """The streams, in the order in which they were opened."""
        ...


@dataclass(frozen=True, slots=True)
class DatabaseArchive:
    """Straight from hub.sqlite; read it inside `Database.snapshot()`."""

    database: Database
    head: Head

    def streams(self) -> Iterator[ArchivedStream]:
        """All but those that wait for approval: they have no batches."""
        rows = self.database.rows(
            "SELECT s.number, s.epoch, s.frontier, s.head, s.approval FROM streams s"
            " JOIN gateways g ON g.number = s.gateway WHERE g.id = ? AND s.state != 'epoch-pending'"
            " ORDER BY s.number",  # of creation
            self.head.gateway,
        )
        for number, epoch, frontier, head, approval in sorted(rows, key=_opened_after):
            size = int.from_bytes(frontier[:8], "big")
            notes = self.database.rows(
                "SELECT note FROM checkpoints WHERE stream = ? ORDER BY size", number
            )
            yield ArchivedStream(
                epoch, size, head, approval, tuple(row[0] for row in notes), self._entries(number)
            )

    def _entries(self, stream: int) -> Iterator[Entry]:
        after = -1
        while True:
            rows = self.database.rows(
                "SELECT seq, received, body FROM entries WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
                stream,
                after,
                PAGE,
            )
            for row in rows:
                yield Entry(*row)
            if len(rows) < PAGE:
                return
            after = rows[-1][0]


def _opened_after(row: tuple[Any, ...]) -> int:
    """How many streams were opened before, as its reset record says, which the audit then checks."""
    try:
        signed = sign1.read_sign1(row[4] or b"")
        return len(codec.decode(signed.payload or b"")["before"])
    except (EnvelopeError, TypeError, KeyError):
        return 0


def write_archive(archive: Archive, file: BinaryIO, utc: int) -> int:
    """Write the records; returns how many batches there are."""
    head, batches = archive.head, 0
    _write(
        file,
        {
            "kind": SCHEMA_NAME,
            "hub": head.hub,
            "gateway": head.gateway,
            "made": utc,
            "gateway_keys": [key.pem() for key in head.gateway_keys],
            "hub_keys": [key.pem() for key in head.hub_keys],
        },
    )
    for stream in archive.streams():
        fields = {"epoch": stream.epoch, "size": stream.size, "head": stream.head}
        _write(file, {"kind": "stream", "approval": stream.approval, **fields})
        for note in stream.notes:
            _write(file, {"kind": "checkpoint", "note": note})
        for entry in stream.entries:
            batches += 1
            fields = {"seq": entry.seq, "received": entry.received, "body": entry.body}
            _write(file, {"kind": "batch", **fields})
    _write(file, {"kind": "end", "batches": batches})
    return batches


def _write(file: BinaryIO, record: dict[str, Any]) -> None:
    file.write(codec.encode(codec.encode(record)))


class FileArchive:
    """An exported file. Raises TrustError `archive.malformed` from wherever a record is not what it should be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._next: dict[str, Any] | None = None
        self._batches = 0
        found = self._record()
        if found.get("kind") != SCHEMA_NAME:
            raise _malformed("does not begin as an archive")
        _check(found, {"hub": _is_text, "gateway": is_name, "made": is_number})
        keys = [found.get("gateway_keys"), found.get("hub_keys")]
        if len(found) != 6 or not all(isinstance(k, list) and all(map(_is_text, k)) for k in keys):
            raise _malformed("does not begin with ids and keys")
        try:
            gateway, hub = (tuple(PublicKey.from_pem(pem) for pem in pems or ()) for pems in keys)
        except EnvelopeError as error:
            raise _malformed(str(error)) from error
        self._head = Head(found["hub"], found["gateway"], gateway, hub)

    @property
    def head(self) -> Head:
        """What the first record says."""
        return self._head

    def streams(self) -> Iterator[ArchivedStream]:
        """In the order of the file."""
        record = self._record()
        while record.get("kind") == "stream":
            _check(
                record,
                {"epoch": is_epoch, "size": is_number, "head": _is_bytes, "approval": _is_optional},
            )
            notes: list[bytes] = []
            found = self._record()
            while found.get("kind") == "checkpoint":
                _check(found, {"note": _is_bytes})
                notes.append(found["note"])
                found = self._record()
            self._next = found
            entries = self._entries()
            yield ArchivedStream(
                record["epoch"],
                record["size"],
                record["head"],
                record["approval"],
                tuple(notes),
                entries,
            )
            for _ in entries:  # what the caller left
                pass
            record = self._next
        if record != {"kind": "end", "batches": self._batches} or self._file.read(1):
            raise _malformed("does not end as an archive of that many batches")

    def _entries(self) -> Iterator[Entry]:
        while self._next is not None and self._next.get("kind") == "batch":
            record = self._next
            _check(record, {"seq": is_number, "received": is_number, "body": _is_bytes})
            self._batches += 1
            self._next = self._record()
            yield Entry(record["seq"], record["received"], record["body"])

    def _record(self) -> dict[str, Any]:
        first = self._file.read(1)
        width = {0x58: 1, 0x59: 2, 0x5A: 4}.get(first[0], 0) if first else 0
        if not first or first[0] >> 5 != 2 or not (width or first[0] < 0x58):
            raise _malformed("ends early, or a record is no byte string")
        size = int.from_bytes(self._file.read(width), "big") if width else first[0] & 31
        content = self._file.read(size) if size <= MAX_RECORD else b""
        if len(content) != size:
            raise _malformed("ends inside a record, or has one that is too long")
        try:
            record = codec.decode(content, MAX_RECORD)
        except EnvelopeError as error:
            raise _malformed(str(error)) from error
        if type(record) is not dict:
            raise _malformed("a record is no map")
        return record


def _check(record: dict[str, Any], members: dict[str, Callable[[object], bool]]) -> None:
    for name, fits in members.items():
        if name not in record or not fits(record[name]):
            raise _malformed(f"a record's {name} is missing or of the wrong form")


def _is_text(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 1024


def _is_bytes(value: object) -> bool:
    return type(value) is bytes


def _is_optional(value: object) -> bool:
    return value is None or type(value) is bytes


def _malformed(why: str) -> TrustError:
    return TrustError(
        f"the archive {why}",
        code="archive.malformed",
        hint="export it again: lamppost-hub export-archive DIR --gateway G --out FILE",
    )
