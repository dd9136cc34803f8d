"""Payloads of what was just booked, so that the way to the sink need not verify and decompress them again."""

from __future__ import annotations

from collections import OrderedDict

LIMIT = 32 << 20  # bytes; what does not fit is read from the archive


class Recent:
    """Verified payloads by the digest of their signed body, the oldest giving way. Used by the database's thread."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def keep(self, digest: bytes, payload: bytes) -> None:
        """Remember the payload of a body with this SHA-256."""
        self._size += len(payload) - len(self._kept.pop(digest, b""))
        self._kept[digest] = payload
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest)

    def get(self, digest: bytes) -> bytes | None:
        """The payload, if it is still here. It stays for other sinks."""
        return self._kept.get(digest)
