"""Decrypt telegrams and advertisements. The only file of the drivers that imports cryptography, and only when asked."""

from __future__ import annotations

from lamppost_drivers.contract import FrameError


def aes_ccm(
    key: bytes, nonce: bytes, sealed: bytes, tag_length: int, associated: bytes = b""
) -> bytes:
    """Open AES-CCM (RFC 3610); the tag stands at the end of `sealed`. Raises FrameError for a wrong key or tag."""
    from cryptography.exceptions import InvalidTag  # a gateway without keys never loads it
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

    if len(key) not in (16, 24, 32):
        raise FrameError("encrypted, and no key of 16, 24 or 32 bytes is set")
    try:
        return AESCCM(key, tag_length=tag_length).decrypt(nonce, sealed, associated)
    except (InvalidTag, ValueError):
        raise FrameError("encrypted with another key, or damaged") from None
