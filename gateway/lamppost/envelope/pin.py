"""The one certificate that a pin names, out of what an EST server sends before anybody trusts it."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from lamppost.errors import TrustError


def pinned(certificates: bytes, pin: str) -> str:
    """The certificate (PEM) whose DER has the SHA-256 `pin` (hexadecimal), from a PKCS#7 certs-only message (DER).

    Raises TrustError `trust.pin` where none of them has it, or nothing can be read.
    """
    try:
        found = pkcs7.load_der_pkcs7_certificates(certificates)
    except ValueError:
        found = []
    for certificate in found:
        if certificate.fingerprint(hashes.SHA256()).hex() == pin.lower().replace(":", ""):
            return certificate.public_bytes(Encoding.PEM).decode("ascii")
    shown = ", ".join(_named(c) for c in found) or "none"
    raise TrustError(
        f"no certificate of that hub has the pin {pin}; it shows {shown}",
        code="trust.pin",
        hint="compare URL and pin with the operator's: somebody else may answer at this address",
    )


def _named(certificate: x509.Certificate) -> str:
    return f"{certificate.subject.rfc4514_string()} ({certificate.fingerprint(hashes.SHA256()).hex()[:16]}…)"
