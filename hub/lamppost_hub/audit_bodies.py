"""Signed bodies, verified in bulk: in this process, or in several while the caller goes through the chain in order."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, TypeAlias

import orjson

from lamppost.envelope.keys import PublicKey
from lamppost.envelope.merkle import leaf_hash
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import Header, SignerRecord, open_body
from lamppost_hub.archive import Entry
from lamppost_hub.delivery import GAP, REDUCED

CHUNK = 200  # bodies that go to another process at once
GAP_TYPE = b"urn:lamppost:Gap"
REDUCED_TYPE = b"urn:lamppost:Reduced"
Gaps: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """An entry after verification. `header` is None where it was refused (why: `refusal`) or only hashed.

    `gaps` are the reading numbers, first and last, that the batch itself says are lost; `reduced` counts the readings
    of which it has long windows only.
    """

    seq: int
    digest: bytes
    leaf: bytes
    header: Header | None = None
    gaps: Gaps = ()
    reduced: int = 0
    refusal: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies bodies for one hub by one gateway's keys. Entries outside `since` to `until` (ns) are only hashed."""

    hub: str
    gateway: str
    keys: tuple[PublicKey, ...]
    since: int = 0
    until: int = 1 << 63

    def check(self, entries: Sequence[Entry]) -> list[Checked]:
        """Every entry's outcome, in order."""
        signers = {key.kid: SignerRecord(self.gateway, key) for key in self.keys}
        return [self._one(entry, signers) for entry in entries]

    def _one(self, entry: Entry, signers: dict[bytes, SignerRecord]) -> Checked:
        if not self.since <= entry.received < self.until:
            return Checked(entry.seq, sha256(entry.body).digest(), leaf_hash(entry.body))
        try:
            opened = open_body(entry.body, aud=self.hub, signer_of=signers.get)
        except EnvelopeError as error:
            digest, leaf = sha256(entry.body).digest(), leaf_hash(entry.body)
            return Checked(entry.seq, digest, leaf, refusal=(error.code, str(error)))
        gaps = _gaps(opened.payload) if GAP_TYPE in opened.payload else ()
        reduced = _reduced(opened.payload) if REDUCED_TYPE in opened.payload else 0
        return Checked(entry.seq, opened.digest, opened.leaf, opened.header, gaps, reduced)


def _gaps(payload: bytes) -> Gaps:
    """The gap records of a payload; what is malformed names nothing."""
    found: list[tuple[int, int]] = []
    try:
        for entity in orjson.loads(payload):
            if isinstance(entity, dict) and isinstance(entity.get(GAP), dict):
                value = entity[GAP].get("value")
                first, last = value["first"], value["last"]
                if type(first) is int and type(last) is int and 0 <= first <= last:
                    found.append((first, last))
    except (ValueError, TypeError, KeyError):
        return ()
    return tuple(sorted(found))


def _reduced(payload: bytes) -> int:
    """How many readings a payload says it has long windows of; what is malformed counts nothing."""
    try:
        ranges = [e[REDUCED]["value"]["readings"] for e in orjson.loads(payload) if REDUCED in e]
        return sum(number for number in ranges if type(number) is int and number > 0)
    except (ValueError, TypeError, KeyError):
        return 0


class Workers:
    """Runs a Verifier over entries, keeping their order; with `count` processes beside this one, or none for 0."""

    def __init__(self, verifier: Verifier, count: int) -> None:
        self._verifier = verifier
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        if count:
            pems = [key.pem() for key in verifier.keys]
            settings = (verifier.hub, verifier.gateway, pems, verifier.since, verifier.until)
            self._pool = ProcessPoolExecutor(
                count, multiprocessing.get_context("spawn"), _start, settings
            )

    def check(self, entries: Iterable[Entry]) -> Iterator[Checked]:
        """The outcomes, in order; at most a few chunks are under way."""
        source = iter(entries)
        if self._pool is None:
            while chunk := list(islice(source, CHUNK)):
                yield from self._verifier.check(chunk)
            return
        under_way: deque[Future[list[Checked]]] = deque()
        while True:
            while len(under_way) < 2 * self._count + 1 and (chunk := list(islice(source, CHUNK))):
                under_way.append(self._pool.submit(_check, chunk))
            if not under_way:
                return
            yield from under_way.popleft().result()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


_verifier: Verifier | None = None  # in a worker process


def _start(hub: str, gateway: str, pems: Sequence[str], *times: Any) -> None:
    global _verifier
    _verifier = Verifier(hub, gateway, tuple(PublicKey.from_pem(pem) for pem in pems), *times)


def _check(entries: Sequence[Entry]) -> list[Checked]:
    assert _verifier is not None
    return _verifier.check(entries)
