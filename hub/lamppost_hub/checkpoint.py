"""Checkpoints: what a gateway's log is at a moment, as a C2SP tlog-checkpoint (docs/formats/checkpoint.md).

A checkpoint is made only after the log was proved to begin with every earlier one (RFC 9162 consistency), and a
signed word that is out can never be taken back: a hub that lost batches cannot make its next checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lamppost.envelope.keys import PublicKey, Signer
from lamppost.envelope.merkle import HASH_SIZE, Frontier, extend, verify_consistency
from lamppost.envelope.seal import is_epoch, is_name
from lamppost.errors import TrustError
from lamppost_hub.database import Database
from lamppost_hub.files import durable_write, private_folder
from lamppost_hub.ledger import Ledger, Stream
from lamppost_hub.note import malformed, open_note, sign_note, split_note
from lamppost_hub.registry import Registry

DAY = 86_400 * 1_000_000_000
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `size` batches of (gateway, epoch) at this hub have this Merkle root."""

    hub: str
    gateway: str
    epoch: str
    size: int
    root: bytes

    @property
    def origin(self) -> str:
        """The log's name, and the key's name in the note."""
        return f"{self.hub}/lamppost/{self.gateway}/{self.epoch}"

    def text(self) -> str:
        """The three lines of tlog-checkpoint."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint, its note and file; `new` is False where it stood already."""

    checkpoint: Checkpoint
    note: bytes
    path: Path
    new: bool


def read_checkpoint(note: bytes, hub: str, keys: Iterable[PublicKey]) -> Checkpoint:
    """Verify a note of this hub. Raises TrustError `checkpoint.malformed`, `.unknown-key`, `.signature`."""
    text, _ = split_note(note)
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise malformed("not origin, size and root")
    origin, size, root = lines[0], lines[1], _root(lines[2])
    found, _, rest = origin.partition("/lamppost/")
    gateway, _, epoch = rest.partition("/")
    if found != hub or not is_name(gateway) or not is_epoch(epoch) or not _SIZE.fullmatch(size):
        raise malformed(f"{origin[:80]!r} is no log of {hub}, or its size no number")
    open_note(note, origin, keys)
    return Checkpoint(hub, gateway, epoch, int(size), root)


def _root(line: str) -> bytes:
    try:
        root = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed("the root is no base64") from error
    if len(root) != HASH_SIZE:
        raise malformed("the root has not 32 bytes")
    return root


class Checkpoints:
    """Makes them and keeps them twice: in hub.sqlite, and as files that a backup or a neighbour may take away.

    `known` are the hub's public signing keys, old ones too.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        hub: str,
        signer: Signer,
        known: Iterable[PublicKey] = (),
    ) -> None:
        self._database = database
        self._folder = folder
        self._hub = hub
        self._signer = signer
        self._known = (signer.public, *known)

    def due(self, utc: int) -> list[Stream]:
        """Streams that have grown since their newest checkpoint, which is of an earlier UTC day."""
        return [stream for stream in self._grown() if self._last(stream)[1] // DAY < utc // DAY]

    def _grown(self) -> list[Stream]:
        streams = Ledger(self._database).streams()
        return [stream for stream in streams if stream.size > self._last(stream)[0]]

    def make(self, gateway: str, epoch: str, utc: int) -> Made:
        """The checkpoint of all that is booked; durable, and the file written, when it returns.

        Raises TrustError `checkpoint.behind` or `checkpoint.inconsistent` where the log does not go on from an
        earlier checkpoint, StoreError, OSError.
        """
        with self._database.transaction():
            Registry(self._database).hold([gateway])
            (stream,) = [s for s in Ledger(self._database).streams(gateway) if s.epoch == epoch]
            size, _, frontier, note = self._last(stream)
            root = stream.frontier.root()
            checkpoint = Checkpoint(self._hub, gateway, epoch, stream.size, root)
            self._prove(stream, size, frontier, note)
            self._compare_files(stream)
            new = stream.size > size
            if new:
                note = sign_note(checkpoint.text(), checkpoint.origin, self._signer)
                self._database.run(
                    "INSERT INTO checkpoints (stream, size, at, frontier, note) VALUES (?, ?, ?, ?, ?)",
                    stream.number,
                    stream.size,
                    utc,
                    stream.frontier.to_bytes(),
                    note,
                )
        return Made(checkpoint, note, self._write(checkpoint, note), new)

    def _last(self, stream: Stream) -> tuple[int, int, Frontier, bytes]:
        row = self._database.row(
            "SELECT size, at, frontier, note FROM checkpoints WHERE stream = ? ORDER BY size DESC LIMIT 1",
            stream.number,
        )
        return (
            (0, -DAY, Frontier(), b"")
            if row is None
            else (*row[:2], Frontier.from_bytes(row[2]), row[3])
        )

    def _prove(self, stream: Stream, size: int, frontier: Frontier, note: bytes) -> None:
        """The log begins with the checkpoint before, and its leaves lead to the root that receipts speak of."""
        if stream.size < size:
            raise _behind(stream, size)
        old = frontier.root()
        if note and read_checkpoint(note, self._hub, self._known) != Checkpoint(
            self._hub, stream.gateway, stream.epoch, size, old
        ):
            raise _inconsistent(stream, size)
        new, path = extend(frontier, self._leaves(stream, size))
        root = stream.frontier.root()
        if new.size != stream.size or new.root() != root:
            raise _inconsistent(stream, stream.size)
        if size and not verify_consistency(size, stream.size, old, root, path):
            raise _inconsistent(stream, size)

    def _leaves(self, stream: Stream, start: int) -> Iterable[bytes]:
        rows = self._database.rows(
            "SELECT leaf FROM entries WHERE stream = ? AND seq >= ? ORDER BY seq",
            stream.number,
            start,
        )
        return (row[0] for row in rows)

    def _compare_files(self, stream: Stream) -> None:
        """Notes that only the folder still has: they are out, so a restored database must not contradict them."""
        rows = self._database.rows("SELECT size FROM checkpoints WHERE stream = ?", stream.number)
        booked = {row[0] for row in rows}
        for path in sorted((self._folder / stream.gateway).glob(f"{stream.epoch}-*.note")):
            number = path.stem.removeprefix(f"{stream.epoch}-")
            if number.isdigit() and int(number) in booked:
                continue
            seen = read_checkpoint(path.read_bytes(), self._hub, self._known)
            if seen.size > stream.size:
                raise _behind(stream, seen.size)
            log, _ = extend(Frontier(), list(self._leaves(stream, 0))[: seen.size])
            if log.root() != seen.root:
                raise _inconsistent(stream, seen.size)

    def _write(self, checkpoint: Checkpoint, note: bytes) -> Path:
        folder = private_folder(self._folder / checkpoint.gateway)
        path = folder / f"{checkpoint.epoch}-{checkpoint.size:012}.note"
        try:
            if not path.exists():
                durable_write(path, note, mode=0o644)
        except FileNotFoundError:
            if not path.exists():  # else another receiver has just written the same note
                raise
        return path


def _behind(stream: Stream, size: int) -> TrustError:
    return TrustError(
        f"{stream.gateway}, epoch {stream.epoch}: the log has {stream.size} batches, a checkpoint was given for {size}",
        code="checkpoint.behind",
        hint="the hub was restored from an older copy: docs/explanation/restored-hub.md",
    )


def _inconsistent(stream: Stream, size: int) -> TrustError:
    return TrustError(
        f"{stream.gateway}, epoch {stream.epoch}: the log does not lead to what was signed for {size} batches",
        code="checkpoint.inconsistent",
        hint=f"the ledger was changed: lamppost-hub audit DIR --gateway {stream.gateway} names the batch",
    )
