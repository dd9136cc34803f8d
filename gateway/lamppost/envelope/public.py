"""Public keys as COSE names them: verify keys, encryption keys, and their thumbprints (RFC 9679).

The kind of a key fixes its algorithm; no algorithm is ever taken from a message alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, TypeAlias, TypeGuard

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from lamppost.envelope import codec
from lamppost.envelope.refusal import EnvelopeError

SigningKind: TypeAlias = Literal["p256", "ed25519"]
EncryptionKind: TypeAlias = Literal["p256", "x25519"]

# COSE algorithms (IANA registry): what each kind of signing key emits, and what is taken from others.
ES256, EDDSA, ED25519 = -7, -8, -19
EMITTED: Mapping[str, int] = {"p256": ES256, "ed25519": EDDSA}
TAKEN: Mapping[str, tuple[int, ...]] = {"p256": (ES256,), "ed25519": (EDDSA, ED25519)}

SIGNATURE_SIZE = 64
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P25519 = 2**255 - 19

# COSE_Key labels and values (RFC 9052 §7.1, RFC 9053 §7.1)
_KTY, _CRV, _X, _Y = 1, -1, -2, -3
_OKP, _EC2 = 1, 2
_CRV_P256, _CRV_X25519, _CRV_ED25519 = 1, 4, 6


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies signatures. `kid` is its 32-byte SHA-256 thumbprint (RFC 9679)."""

    kind: SigningKind
    kid: bytes
    _key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, key: object) -> PublicKey:
        """Wrap a key of `cryptography`. Raises EnvelopeError `envelope.key` unless P-256 or Ed25519."""
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls("ed25519", thumbprint(cose_key(key)), key)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return cls("p256", thumbprint(cose_key(key)), key)
        raise EnvelopeError("envelope.key", "not a P-256 or Ed25519 key")

    @classmethod
    def from_pem(cls, pem: str | bytes) -> PublicKey:
        """Read a SubjectPublicKeyInfo. Raises EnvelopeError `envelope.key`."""
        return cls.of(_read_pem(pem))

    @classmethod
    def of_point(cls, point: bytes) -> PublicKey:
        """A P-256 key from its uncompressed point (SEC 1 §2.3.3). Raises ValueError."""
        return cls.of(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))

    def pem(self) -> str:
        """The SubjectPublicKeyInfo as PEM."""
        return _write_pem(self._key)

    def verify(self, signature: bytes, signed: bytes) -> bool:
        """Whether `signature` (64 bytes: r and s of ES256, or Ed25519's) is this key's over `signed`.

        Of the two s that ECDSA allows only the lower is taken: otherwise anybody could make a second valid message
        out of a first, and a gateway would look like a clone of itself.
        """
        if len(signature) != SIGNATURE_SIZE:
            return False
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, signed)
                return True
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            if s > P256_ORDER // 2:
                return False
            self._key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key to seal for. `kid` is its 32-byte SHA-256 thumbprint (RFC 9679)."""

    kind: EncryptionKind
    kid: bytes
    key: ec.EllipticCurvePublicKey | x25519.X25519PublicKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, key: object) -> EncryptionKey:
        """Wrap a key of `cryptography`. Raises EnvelopeError `envelope.key` unless P-256 or X25519."""
        if isinstance(key, x25519.X25519PublicKey):
            return cls("x25519", thumbprint(cose_key(key)), key)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return cls("p256", thumbprint(cose_key(key)), key)
        raise EnvelopeError("envelope.key", "not a P-256 or X25519 key")

    @classmethod
    def from_pem(cls, pem: str | bytes) -> EncryptionKey:
        """Read a SubjectPublicKeyInfo. Raises EnvelopeError `envelope.key`."""
        return cls.of(_read_pem(pem))

    def pem(self) -> str:
        """The SubjectPublicKeyInfo as PEM."""
        return _write_pem(self.key)


def thumbprint(key: Mapping[int, int | bytes]) -> bytes:
    """SHA-256 over the deterministic COSE_Key of required members only (RFC 9679 §3)."""
    return sha256(codec.encode(key)).digest()


def cose_key(
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey,
) -> dict[int, int | bytes]:
    """The COSE_Key of a public key, required members only (RFC 9053 §7.1, both coordinates written out)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers = key.public_numbers()
        x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
        return {_KTY: _EC2, _CRV: _CRV_P256, _X: x, _Y: y}
    curve = _CRV_ED25519 if isinstance(key, ed25519.Ed25519PublicKey) else _CRV_X25519
    return {_KTY: _OKP, _CRV: curve, _X: key.public_bytes_raw()}


def ephemeral_key(
    members: object, kind: EncryptionKind
) -> ec.EllipticCurvePublicKey | x25519.X25519PublicKey:
    """The sender's ephemeral key out of its COSE_Key, of the recipient's own kind.

    Raises EnvelopeError `envelope.ephemeral-key` unless it has exactly the members of `cose_key`, with 32-byte
    canonical coordinates of a point on the curve. A low-order X25519 point shows only at the exchange.
    """
    if type(members) is dict:
        x, y = members.get(_X), members.get(_Y)
        if kind == "x25519" and members == {_KTY: _OKP, _CRV: _CRV_X25519, _X: x}:
            if _is_coordinate(x) and int.from_bytes(x, "little") < _P25519:
                return x25519.X25519PublicKey.from_public_bytes(x)
        elif members == {_KTY: _EC2, _CRV: _CRV_P256, _X: x, _Y: y} and kind == "p256":
            return _p256_point(x, y)
    raise EnvelopeError("envelope.ephemeral-key", f"not an ephemeral {kind} key")


def _is_coordinate(value: object) -> TypeGuard[bytes]:
    return type(value) is bytes and len(value) == 32


def _p256_point(x: object, y: object) -> ec.EllipticCurvePublicKey:
    if not (_is_coordinate(x) and _is_coordinate(y)):
        raise EnvelopeError("envelope.ephemeral-key", "coordinates of P-256 have 32 bytes")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    except ValueError as error:  # off the curve, or a coordinate of p and more
        raise EnvelopeError("envelope.ephemeral-key", "not a point of P-256") from error


def _read_pem(pem: str | bytes) -> object:
    try:
        return load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EnvelopeError("envelope.key", "not the PEM of a public key") from error


def _write_pem(
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey,
) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
