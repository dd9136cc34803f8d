"""The ring: is it written, does it hold, does it fill?"""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.facts import Facts
from lamppost.findings import Finding, found

_FULL_SHARE = 80
_NOT_WRITTEN = ("disk-full", "read-only", "io-error")
_FINE = ("ok", "salvaged")


def check(facts: Facts) -> Iterator[Finding]:
    """By the daemon's report, or by the ring's own files."""
    ring = (facts.status or {}).get("ring") or facts.buffer
    if not ring:
        return
    state = ring.get("state", "ok")
    if state in _NOT_WRITTEN:
        yield found("buffer.not-written", state=state, pending=ring.get("pending", 0))
    elif state not in _FINE:
        yield found("buffer.spare", state=state)
    if ring.get("overflowed"):
        yield found("buffer.overflow", overflowed=ring["overflowed"])
    waiting, evicted = ring.get("waiting", 0), ring.get("evicted", 0)
    share = round(100 * ring.get("bytes_used", 0) / max(1, ring.get("bytes_limit", 1)))
    if evicted and waiting > 0.5 * _capacity(ring):
        yield found("buffer.dropping", evicted=evicted, waiting=waiting)
    elif waiting > 1000 and share >= _FULL_SHARE and waiting >= 0.8 * _capacity(ring):
        yield found("buffer.filling", waiting=waiting, percent=share)
    if state == "salvaged":
        yield found("buffer.salvaged")


def _capacity(ring: dict[str, int]) -> float:
    """How many readings the ring holds now: all that were stored but for what it gave up."""
    return max(1, ring.get("appended", 0) - ring.get("evicted", 0))
