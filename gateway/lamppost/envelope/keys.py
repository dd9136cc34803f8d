"""The one file that reads private keys: makes them, signs and exchanges with them, and never gives them out.

A key file is PKCS#8 PEM without a password, mode 0600; systemd's LoadCredential= gives the same bytes under another
path. Where a token holds the key, another `Signer` takes FileSigner's place and nothing else changes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lamppost.envelope.public import (
    P256_ORDER,
    EncryptionKey,
    EncryptionKind,
    PublicKey,
    SigningKind,
    ephemeral_key,
)
from lamppost.envelope.refusal import EnvelopeError
from lamppost.errors import TrustError

__all__ = [
    "DecryptionKey",
    "EncryptionKey",
    "FileSigner",
    "PublicKey",
    "Signer",
    "certificate_request",
    "create_encryption_key",
    "create_signing_key",
    "holds_key_of",
    "with_chain",
]

_Private: TypeAlias = (
    ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey
)


class Signer(Protocol):
    """Whatever holds a private signing key: a file, a token, a TPM."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies what `sign` makes."""
        ...

    @property
    def kid(self) -> bytes:
        """The thumbprint of `public`."""
        ...

    def sign(self, data: bytes) -> bytes:
        """64 bytes: r and s of ES256 (either s, `sign1` takes the lower), or Ed25519's signature."""
        ...


@dataclass(frozen=True, slots=True)
class FileSigner:
    """Signs with a P-256 or Ed25519 key from a PEM file."""

    public: PublicKey
    _key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: Path) -> FileSigner:
        """Read the key. Raises TrustError `trust.key-missing`, `trust.key-damaged`, `trust.key-exposed`."""
        key = _load(path)
        if isinstance(key, x25519.X25519PrivateKey):
            raise _damaged(path, "holds an X25519 key, which cannot sign")
        return cls(PublicKey.of(key.public_key()), key)

    @property
    def kid(self) -> bytes:
        """The thumbprint of the public key."""
        return self.public.kid

    def sign(self, data: bytes) -> bytes:
        """The 64-byte signature over `data` (hashed here with SHA-256 for P-256)."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class DecryptionKey:
    """The hub's half of an encryption key: takes part in the exchange with a sender's ephemeral key."""

    public: EncryptionKey
    _key: ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: Path) -> DecryptionKey:
        """Read the key. Raises TrustError `trust.key-missing`, `trust.key-damaged`, `trust.key-exposed`."""
        key = _load(path)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            raise _damaged(path, "holds an Ed25519 key, which cannot decrypt")
        return cls(EncryptionKey.of(key.public_key()), key)

    @property
    def kid(self) -> bytes:
        """The thumbprint of the public key."""
        return self.public.kid

    def exchange(self, members: object) -> bytes:
        """The 32-byte shared secret with an ephemeral COSE_Key; EnvelopeError `envelope.ephemeral-key`."""
        peer = ephemeral_key(members, self.public.kind)
        try:
            if isinstance(self._key, x25519.X25519PrivateKey):
                assert isinstance(peer, x25519.X25519PublicKey)
                return self._key.exchange(peer)
            assert isinstance(peer, ec.EllipticCurvePublicKey)
            return self._key.exchange(ec.ECDH(), peer)
        except ValueError as error:  # X25519 with a low-order point: the secret would be zero
            raise EnvelopeError("envelope.ephemeral-key", "a point of low order") from error


def create_signing_key(path: Path, kind: SigningKind = "p256") -> PublicKey:
    """Make a key in a new file, durably. Raises TrustError `trust.key-exists`: no key is ever overwritten."""
    if kind == "ed25519":
        edwards = ed25519.Ed25519PrivateKey.generate()
        _create(path, edwards)
        return PublicKey.of(edwards.public_key())
    key = ec.generate_private_key(ec.SECP256R1())
    _create(path, key)
    return PublicKey.of(key.public_key())


def create_encryption_key(path: Path, kind: EncryptionKind = "p256") -> EncryptionKey:
    """Make a key in a new file, durably. Raises TrustError `trust.key-exists`: no key is ever overwritten."""
    if kind == "x25519":
        montgomery = x25519.X25519PrivateKey.generate()
        _create(path, montgomery)
        return EncryptionKey.of(montgomery.public_key())
    key = ec.generate_private_key(ec.SECP256R1())
    _create(path, key)
    return EncryptionKey.of(key.public_key())


def certificate_request(path: Path, common_name: str) -> str:
    """A PKCS#10 request (PEM) for the key in `path`; its subject is the common name and nothing else."""
    key = _load(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _damaged(path, "a TLS key is P-256 here")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


def holds_key_of(path: Path, certificate: x509.Certificate) -> bool:
    """Whether the private key in `path` is the certificate's. Raises as FileSigner.load."""
    key = _load(path)
    return bool(key.public_key() == certificate.public_key())


def with_chain(path: Path, chain: str) -> bytes:
    """The private key in `path` and a certificate chain as one PEM: a pair that no power cut can mix up."""
    pem = _load(path).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + chain.encode("ascii")


def _create(path: Path, key: _Private) -> None:
    # link(2) gives the name only to a whole file and never replaces one: a power cut leaves no half key behind,
    # and two processes cannot both believe that theirs is the gateway's identity.
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    spare = path.with_name(f"{path.name}.{os.getpid()}.new")
    spare.unlink(missing_ok=True)
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(spare, path)
    except FileExistsError:
        raise TrustError(
            f"{path} exists already",
            code="trust.key-exists",
            hint="keep it: it is this machine's identity; move the file away only to become another one",
        ) from None
    finally:
        spare.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load(path: Path) -> _Private:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read(65536)
    except OSError as error:
        raise TrustError(
            f"no key to read at {path}: {error.strerror}",
            code="trust.key-missing",
            hint=f"check that {path} exists and that this user may read it",
        ) from error
    # Group reading is allowed: systemd shows the ACL of a credential as the group's bits.
    if mode & 0o027:
        raise TrustError(
            f"the key {path} is open to other users (mode {mode & 0o777:o})",
            code="trust.key-exposed",
            hint=f"chmod 600 {path}; if others had access, make a new key and enrol again",
        )
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _damaged(path, "is not an unencrypted PKCS#8 key") from error
    if isinstance(key, (ed25519.Ed25519PrivateKey, x25519.X25519PrivateKey)):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _damaged(path, "is neither P-256 nor Ed25519 nor X25519")


def _damaged(path: Path, why: str) -> TrustError:
    return TrustError(
        f"the key {path} {why}",
        code="trust.key-damaged",
        hint=f"restore {path} from where it was made, or move it away, make a new one and enrol again",
    )
