"""Names for personal devices that say nothing: HMAC-SHA256 (RFC 2104, FIPS 180-4) of the name under a site key.

The key is 32 random bytes in a file of the state folder, made at first use, never in the site file and never sent.
Who erases it (`lamppost wipe`) cuts the link between everything sent so far and the household, for good.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

from lamppost.errors import TrustError
from lamppost.files import durable_write

KEY_BYTES = 32
_SHOWN = 16  # bytes of the HMAC in a name: 128 bits, so that no two of a city's meters meet


@dataclass(frozen=True, slots=True)
class SiteKey:
    """The key of this gateway's pseudonyms."""

    _secret: bytes = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> SiteKey:
        """Read the key, or make it where there is none (mode 0600, durable).

        Raises TrustError `trust.key-exposed`, `trust.key-damaged`, `trust.key-missing` (not readable).
        """
        if not path.exists():
            durable_write(path, os.urandom(KEY_BYTES), 0o600)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                secret = file.read(KEY_BYTES + 1)
        except OSError as error:
            raise TrustError(
                f"no key to read at {path}: {error.strerror}",
                code="trust.key-missing",
                hint=f"check that this user may read {path}",
            ) from error
        if mode & 0o077:
            raise TrustError(
                f"the key {path} is open to other users (mode {mode & 0o777:o})",
                code="trust.key-exposed",
                hint=f"chmod 600 {path}; if others had access, pseudonyms sent so far can be resolved",
            )
        if len(secret) != KEY_BYTES:
            raise TrustError(
                f"the key {path} does not have {KEY_BYTES} bytes",
                code="trust.key-damaged",
                hint=f"restore {path}, or move it away: personal devices then get new pseudonyms",
            )
        return cls(secret)

    def pseudonym(self, gateway: str, device: str) -> str:
        """What stands for a personal device outside: the same for the same key, gateway and device name."""
        message = f"lamppost.pseudonym/1\0{gateway}\0{device}".encode()
        return f"p-{hmac.new(self._secret, message, hashlib.sha256).digest()[:_SHOWN].hex()}"
