"""Is the archive whole? Every signature, the chain, both numberings and every checkpoint, to the first break. Pure.

Nothing that the hub wrote is believed but what it signed: places, counts and derived columns only tell where to look.
The steps and what each break means: docs/formats/archive.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lamppost.envelope import codec, sign1
from lamppost.envelope.keys import PublicKey
from lamppost.envelope.merkle import Frontier
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import GENESIS, Header, is_alert
from lamppost.errors import TrustError
from lamppost_hub.archive import Archive, ArchivedStream
from lamppost_hub.audit_bodies import Checked, Workers
from lamppost_hub.checkpoint import read_checkpoint


@dataclass(frozen=True, slots=True)
class Witness:
    """A signed word of the hub: the first `size` batches of `epoch` have this root. `name` says where it was found."""

    epoch: str
    size: int
    root: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Break:
    """The first thing that is wrong; `seq` is the batch at which it shows, -1 for a whole epoch."""

    code: str
    epoch: str
    seq: int
    what: str


@dataclass(slots=True)
class StreamReport:
    """What was proved of one epoch; counts are of batches, but `readings`, `reduced` of them (to long windows after an
    outage) and `lost` (named in signed gaps)."""

    epoch: str
    batches: int = 0
    verified: int = 0
    readings: int = 0
    reduced: int = 0
    lost: int = 0
    witnesses: int = 0
    covered: int = 0
    root: str = ""


@dataclass(slots=True)
class Report:
    """All epochs up to the first break, if there is one."""

    streams: list[StreamReport] = field(default_factory=list)
    broken: Break | None = None


class _Broken(Exception):
    def __init__(self, code: str, seq: int, what: str) -> None:
        super().__init__(what)
        self.code, self.seq, self.what = code, seq, what


def audit(
    archive: Archive,
    workers: Workers,
    hub_keys: Sequence[PublicKey],
    witnesses: Iterable[Witness] = (),
) -> Report:
    """Go through the archive to the first break; `witnesses` are the hub's words from elsewhere, verified.

    Raises TrustError where the archive's keys or notes cannot be judged: `audit.unknown-key`, `checkpoint.…`,
    `archive.malformed`.
    """
    report, elsewhere = Report(), list(witnesses)
    heads: dict[bool, list[dict[str, object]]] = {False: [], True: []}  # of readings, of alerts
    for stream in archive.streams():
        found = StreamReport(stream.epoch)
        report.streams.append(found)
        before = heads[is_alert(stream.epoch)]
        try:
            _check_reset(stream, archive.head.gateway, hub_keys, before)
            words = _words(stream, archive, hub_keys, elsewhere)
            head = _Walk(stream, archive, words, found).run(workers)
        except _Broken as stop:
            report.broken = Break(stop.code, stream.epoch, stop.seq, stop.what)
            return report
        before.append({"epoch": stream.epoch, "size": found.batches, "head": head})
    known = {stream.epoch for stream in report.streams}
    for word in elsewhere:
        if word.epoch not in known and word.size:
            what = f"epoch {word.epoch} is not in the archive; {word.name} says {word.size} batches"
            report.broken = Break("audit.missing", word.epoch, 0, what)
            break
    return report


def _words(
    stream: ArchivedStream,
    archive: Archive,
    hub_keys: Sequence[PublicKey],
    elsewhere: Iterable[Witness],
) -> list[Witness]:
    """Every signed word on this epoch, smallest log first."""
    words = [word for word in elsewhere if word.epoch == stream.epoch]
    for note in stream.notes:
        point = read_checkpoint(note, archive.head.hub, hub_keys)
        if (point.gateway, point.epoch) != (archive.head.gateway, stream.epoch):
            raise _Broken("audit.root", point.size, f"a checkpoint of {point.origin} lies here")
        name = f"the checkpoint of {point.size} batches"
        words.append(Witness(point.epoch, point.size, point.root, name))
    distinct = {(word.size, word.root): word for word in reversed(words) if word.size}
    return [distinct[key] for key in sorted(distinct)]


def _check_reset(
    stream: ArchivedStream,
    gateway: str,
    hub_keys: Sequence[PublicKey],
    before: Sequence[dict[str, object]],
) -> None:
    """A later epoch begins with the operator's signed record, which names the head of every epoch before it."""
    if stream.approval is None:
        if before:
            raise _Broken("audit.reset", -1, "a later epoch without a signed reset record")
        return
    try:
        signed = sign1.read_sign1(stream.approval)
        key = {key.kid: key for key in hub_keys}.get(signed.kid)
        if key is None:
            raise _unknown_key("the reset record is", signed.kid)
        signed.verify(key)
        content = codec.decode(signed.payload or b"")
    except EnvelopeError as error:
        raise _Broken("audit.reset", -1, f"the reset record is refused: {error.code}") from error
    named = content.get("before") if type(content) is dict else None
    if signed.header.get(sign1.CWT_CLAIMS) != {sign1.SUB: gateway} or (
        content.get("epoch") != stream.epoch
    ):
        raise _Broken("audit.reset", -1, "the reset record is for another gateway or epoch")
    if not isinstance(named, list) or not _same_heads(named, before):
        what = f"the reset record names {_heads(named)} before it, the archive has {_heads(before)}"
        raise _Broken("audit.reset", -1, what)


def _same_heads(named: list[object], before: Sequence[dict[str, object]]) -> bool:
    return len(named) == len(before) and all(one in named for one in before)


def _heads(before: object) -> str:
    shown: list[str] = []
    for one in before if isinstance(before, list) else []:
        head = one.get("head") if isinstance(one, dict) else None
        if isinstance(head, bytes):
            shown.append(f"{one.get('epoch')} of {one.get('size')} batches, head {head.hex()[:16]}")
    return "; ".join(shown) or "nothing"


class _Walk:
    """One stream, batch by batch."""

    def __init__(
        self, stream: ArchivedStream, archive: Archive, words: list[Witness], report: StreamReport
    ) -> None:
        self._stream = stream
        self._gateway = archive.head.gateway
        self._words = words
        self._report = report
        self._log = Frontier()
        self._head = GENESIS
        self._next: int | None = 0  # reading number; None after batches that were only hashed

    def run(self, workers: Workers) -> bytes:
        """The digest of the newest body; raises _Broken."""
        words = iter(self._words)
        word = next(words, None)
        checked = workers.check(self._stream.entries)
        for entry in checked:
            self._batch(entry, checked)
            while word is not None and word.size <= self._log.size:
                self._compare(word)
                word = next(words, None)
        self._end(word)
        self._report.root = self._log.root().hex()
        return self._head

    def _batch(self, entry: Checked, rest: Iterator[Checked]) -> None:
        place = self._log.size
        if entry.refusal is not None:
            code, why = entry.refusal
            if code == "envelope.unknown-signer":
                raise TrustError(
                    f"batch {place} of epoch {self._stream.epoch}: {why}",
                    code="audit.unknown-key",
                    hint="give every public key that the gateway ever had with --key",
                )
            raise _Broken("audit.altered", place, f"batch {place} is refused: {code}, {why}")
        header = entry.header
        stands = entry.seq if header is None else header.seq
        if stands != place or entry.seq != place:
            raise self._misplaced(place, entry, stands, rest)
        if header is not None:
            self._header(header, place)
            self._readings(header, entry, place)
        else:
            self._next = None
        self._log.append(entry.leaf)
        self._head = entry.digest
        self._report.batches += 1

    def _misplaced(
        self, place: int, entry: Checked, stands: int, rest: Iterator[Checked]
    ) -> _Broken:
        """Tell removed, added and moved batches apart by what comes later."""
        if stands == place:
            what = f"batch {place} is kept under number {entry.seq}: what stood between is missing"
            return _Broken("audit.missing" if entry.seq > place else "audit.order", place, what)
        if stands < place:
            return _Broken(
                "audit.added", place, f"after batch {place - 1} stands batch {stands} again"
            )
        for further, later in enumerate(rest, place + 1):
            number = later.seq if later.header is None else later.header.seq
            if number == place:
                what = f"batch {stands} stands in place {place}, batch {place} in place {further}"
                return _Broken("audit.order", place, what)
        gone = (
            f"batch {place} is" if stands == place + 1 else f"batches {place} to {stands - 1} are"
        )
        after = f"after batch {place - 1}" if place else "at the start"
        return _Broken("audit.missing", place, f"{gone} missing: {after} stands batch {stands}")

    def _header(self, header: Header, place: int) -> None:
        if header.epoch != self._stream.epoch:
            what = f"batch {place} belongs to epoch {header.epoch}"
            raise _Broken("audit.added", place, what)
        if header.prev != self._head:
            what = (
                f"batch {place} follows a batch with digest {header.prev.hex()},"
                f" but batch {place - 1} has {self._head.hex()}"
            )
            raise _Broken("audit.chain", place, what)

    def _readings(self, header: Header, entry: Checked, place: int) -> None:
        first, end = header.first, header.first + header.count
        expected = first if self._next is None else self._next
        if first < expected:
            what = f"batch {place} begins with reading {first}, which batch {place - 1} has already"
            raise _Broken("audit.readings", place, what)
        hole = _uncovered(expected, first, entry.gaps)
        if hole is not None:
            what = f"readings {hole[0]} to {hole[1]} before batch {place} are in no batch and no signed gap"
            raise _Broken("audit.readings", place, what)
        named = sum(min(last + 1, end) - max(low, expected) for low, last in _merged(entry.gaps)
                    if min(last + 1, end) > max(low, expected))  # fmt: skip
        self._report.verified += 1
        self._report.readings += end - expected - named
        self._report.reduced += entry.reduced
        self._report.lost += named
        self._next = end

    def _compare(self, word: Witness) -> None:
        if word.root != self._log.root():
            what = (
                f"the first {word.size} batches have root {self._log.root().hex()},"
                f" {word.name} says {word.root.hex()}"
            )
            raise _Broken("audit.root", word.size - 1, what)
        self._report.witnesses += 1
        self._report.covered = word.size

    def _end(self, word: Witness | None) -> None:
        size, stream = self._log.size, self._stream
        if word is not None:
            last = max(self._words, key=lambda word: word.size)
            what = f"batches {size} to {last.size - 1} are missing: {last.name} proves {last.size}, {size} are here"
            raise _Broken("audit.missing", size, what)
        if stream.size > size:
            what = (
                f"the archive ends after batch {size - 1}, the ledger claims {stream.size} batches"
            )
            raise _Broken("audit.missing", size, what)
        if stream.size < size:
            what = f"batch {stream.size} is added: the ledger claims {stream.size} batches, {size} are here"
            raise _Broken("audit.added", stream.size, what)
        if stream.head != self._head:
            what = f"batch {size - 1} has digest {self._head.hex()}, the ledger claims {stream.head.hex()}"
            raise _Broken("audit.chain", size - 1, what)


def _merged(gaps: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in gaps:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _uncovered(start: int, end: int, gaps: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """The first run of numbers from `start` up to, not including, `end` that no gap names."""
    for first, last in gaps:
        if first > start:
            break
        start = max(start, last + 1)
    if start >= end:
        return None
    following = [first for first, _ in gaps if first > start]
    return start, min([end, *following]) - 1


def _unknown_key(what: str, kid: bytes) -> TrustError:
    return TrustError(
        f"{what} signed by the key {kid.hex()}, which is not known",
        code="audit.unknown-key",
        hint="give every public key that hub and gateway ever had with --hub-key and --key",
    )
