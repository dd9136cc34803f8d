"""Who this gateway is, as files: made at first boot, enrolled by the hub's bundle, loaded at every start.

    identity.json   the gateway's id                     envelope.key    the long-term identity (never leaves)
    enrolled.json   the hub's bundle, as it came         tls-next.key    the TLS key that was asked a certificate for
    server-ca.pem   who may be the hub's broker          tls.pem         the TLS key in use and its certificate chain
    est.json        where certificates are renewed       tuf-root.json   who may sign its configuration

Every request makes a TLS key of its own. Every file is replaced as a whole, `enrolled.json` last. A power cut in
between leaves a mix of an old and a new bundle, and each file is good on its own: key and certificate are one file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

from lamppost.envelope import keys
from lamppost.envelope import signer as signer_choice
from lamppost.envelope.enrolment import EnrolmentRequest, read_request, write_request
from lamppost.envelope.keys import Signer
from lamppost.envelope.public import EncryptionKey, PublicKey, SigningKind
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import is_name
from lamppost.envelope.token import TokenKey
from lamppost.envelope.token import create as create_in_token
from lamppost.errors import TrustError
from lamppost.files import durable_write

__all__ = [
    "EnrolmentRequest",
    "Identity",
    "create",
    "install",
    "load",
    "read_request",
    "request",
]

IDENTITY_SCHEMA = "lamppost.identity/1"
BUNDLE_SCHEMA = "lamppost.bundle/1"
MAX_BUNDLE = 1 << 18
ENVELOPE_KEY, TLS, TLS_NEXT = "envelope.key", "tls.pem", "tls-next.key"

_BUNDLE = {"schema", "gateway", "hub", "certificate", "server_ca", "hub_signing", "hub_encryption"}


@dataclass(frozen=True, slots=True)
class Identity:
    """An enrolled gateway: its id and keys, its hub's id and keys, and the files that TLS wants as paths."""

    gateway: str
    hub: str
    signer: Signer
    hub_encryption: EncryptionKey
    hub_signing: Mapping[bytes, PublicKey]
    tls_certificate: Path
    tls_key: Path
    server_ca: Path
    tls_not_before_ns: int
    tls_not_after_ns: int
    """When the TLS certificate begins to be valid and when it expires, UTC nanoseconds."""


@dataclass(frozen=True, slots=True)
class _Bundle:
    hub: str
    certificate: str
    server_ca: str
    hub_signing: dict[bytes, PublicKey]
    hub_encryption: EncryptionKey
    tuf_root: str


def create(
    folder: Path,
    gateway: str,
    kind: SigningKind = "p256",
    *,
    token: TokenKey | None = None,
    pin: str = "",
) -> PublicKey:
    """Make the envelope key for `gateway` where there is none, and return it; with `token` the key is made there, and
    `pin` names the credential that opens it.

    Doing it twice changes nothing. Raises TrustError `trust.gateway-name` for an id that is none,
    `trust.identity-exists` where the folder is another gateway's or has another kind of key, `trust.key-missing` where
    the key of an identity is gone, `trust.token`.
    """
    if not is_name(gateway):
        raise TrustError(
            f"{gateway!r} is no gateway id",
            code="trust.gateway-name",
            hint="an id has lower-case letters, digits, _ and -, begins with a letter or digit, 63 at most",
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    marker = folder / "identity.json"
    if marker.exists() and (other := owner(folder)) != gateway:
        raise TrustError(
            f"{folder} is the identity of {other}",
            code="trust.identity-exists",
            hint=f"use another state folder for {gateway}, or move {folder} away to give {other} up",
        )
    if token is not None:
        _create_in_token(folder, token, pin)
    elif not signer_choice.is_there(folder):
        if marker.exists():
            raise TrustError(
                f"the identity in {folder} has lost its key {ENVELOPE_KEY}",
                code="trust.key-missing",
                hint=f"bring the key back, or move {folder} away to become another gateway",
            )
        keys.create_signing_key(folder / ENVELOPE_KEY, kind)
    if not marker.exists():
        content = {"schema": IDENTITY_SCHEMA, "gateway": gateway}
        durable_write(marker, (json.dumps(content, indent=1) + "\n").encode(), 0o640)
    return signer_choice.load(folder).public


def _create_in_token(folder: Path, token: TokenKey, pin: str) -> None:
    said = signer_choice.choice(folder)
    wanted = {"kind": "pkcs11", "module": token.module, "token": token.token, "key": token.label}
    if (folder / ENVELOPE_KEY).exists() or (said and not wanted.items() <= said.items()):
        raise TrustError(
            f"{folder} has a key elsewhere already",
            code="trust.identity-exists",
            hint=f"it is this gateway's identity; move {folder} away to begin with a key in a token",
        )
    create_in_token(token, lambda: signer_choice.pin_of(pin, folder))
    signer_choice.choose(folder, **wanted, pin=pin)


def request(folder: Path, signer: Signer | None = None, board: str = "") -> bytes:
    """The enrolment request for a new TLS key, to be approved at the hub; `signer` stands in for `envelope.key`,
    `board` is the serial number of this machine.

    A request that was never answered is made again for the same key. Raises TrustError `trust.not-enrolled` where
    `create` never ran, or as signer.load.
    """
    gateway = owner(folder)
    if not (folder / TLS_NEXT).exists():
        keys.create_signing_key(folder / TLS_NEXT)
    csr = keys.certificate_request(folder / TLS_NEXT, gateway)
    return write_request(gateway, csr, signer or signer_choice.load(folder), board)


def install(folder: Path, bundle: bytes) -> None:
    """Take the hub's answer. Raises TrustError `trust.bundle-refused` and changes nothing unless all of it fits."""
    gateway = owner(folder)
    try:
        found = _read_bundle(bundle, gateway)
        leaf = _leaf(found.certificate)
        names = [
            name.value for name in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        ]
        if names != [gateway]:
            raise ValueError(f"the certificate is for {names}")
        key = _key_of(folder, leaf)
    except (ValueError, EnvelopeError) as error:
        raise TrustError(
            f"the bundle does not fit {gateway}: {error}",
            code="trust.bundle-refused",
            hint="make a new request here (lamppost enrol … --request FILE), approve that one, install its bundle",
        ) from error
    durable_write(folder / "server-ca.pem", found.server_ca.encode(), 0o640)
    durable_write(folder / TLS, keys.with_chain(key, found.certificate), 0o600)
    if found.tuf_root:
        durable_write(folder / "tuf-root.json", found.tuf_root.encode(), 0o640)
    durable_write(folder / "enrolled.json", bundle, 0o640)
    if key.name == TLS_NEXT:
        key.unlink()


def _key_of(folder: Path, leaf: x509.Certificate) -> Path:
    """The file with the certificate's key: the one asked for, or the one in use when its bundle comes again."""
    for path in (folder / TLS_NEXT, folder / TLS):
        if path.exists() and keys.holds_key_of(path, leaf):
            return path
    raise ValueError("the certificate is for another TLS key")


def remember_hub(folder: Path, url: str) -> None:
    """Keep the address of the enrolment server, where certificates are renewed."""
    durable_write(folder / "est.json", (json.dumps({"url": url}) + "\n").encode(), 0o640)


def hub_url(folder: Path) -> str:
    """The address of the enrolment server; "" where this gateway was enrolled without one."""
    try:
        url = json.loads((folder / "est.json").read_bytes())["url"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return url if isinstance(url, str) else ""


def load(folder: Path, signer: Signer | None = None) -> Identity:
    """The enrolled identity; `signer` stands in for `envelope.key` (a systemd credential, a token).

    Raises TrustError `trust.not-enrolled`, `trust.identity-damaged` (files that do not fit one another or cannot be
    read), or as signer.load.
    """
    gateway = owner(folder)
    if not (folder / "enrolled.json").exists():
        raise _not_enrolled(
            folder,
            "the hub's answer is not installed",
            "lamppost enrol GATEWAY --hub URL --pin SHA256, or --install BUNDLE",
        )
    tls = folder / TLS
    signer = signer or signer_choice.load(folder)
    try:
        bundle = _read_bundle((folder / "enrolled.json").read_bytes(), gateway)
        leaf = _leaf(tls.read_text("ascii"))
        x509.load_pem_x509_certificates((folder / "server-ca.pem").read_bytes())
        if not keys.holds_key_of(tls, leaf):
            raise ValueError("key and certificate in tls.pem do not belong together")
    except (ValueError, OSError, EnvelopeError) as error:
        raise _damaged(folder, str(error)) from error
    return Identity(
        gateway=gateway,
        hub=bundle.hub,
        signer=signer,
        hub_encryption=bundle.hub_encryption,
        hub_signing=bundle.hub_signing,
        tls_certificate=tls,
        tls_key=tls,
        server_ca=folder / "server-ca.pem",
        tls_not_before_ns=int(leaf.not_valid_before_utc.timestamp()) * 1_000_000_000,
        tls_not_after_ns=int(leaf.not_valid_after_utc.timestamp()) * 1_000_000_000,
    )


def owner(folder: Path) -> str:
    """The gateway whose identity this is. Raises TrustError `trust.not-enrolled`, `trust.identity-damaged`."""
    path = folder / "identity.json"
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _not_enrolled(
            folder, "there is no identity", "lamppost enrol GATEWAY --hub URL --pin SHA256"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, f"{path.name}: {error}") from error
    if (
        not isinstance(found, dict)
        or found.get("schema") != IDENTITY_SCHEMA
        or not is_name(found.get("gateway"))
    ):
        raise _damaged(folder, f"{path.name} is not of this version")
    return str(found["gateway"])


def _read_bundle(data: bytes, gateway: str) -> _Bundle:
    """Raises ValueError or EnvelopeError unless every member is there and can be read."""
    if len(data) > MAX_BUNDLE:
        raise ValueError(f"larger than {MAX_BUNDLE} bytes")
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if (
        not isinstance(found, dict)
        or not found.keys() >= _BUNDLE
        or found["schema"] != BUNDLE_SCHEMA
    ):
        raise ValueError(f"not a bundle of schema {BUNDLE_SCHEMA}")
    if found["gateway"] != gateway:
        raise ValueError(f"it is for {found['gateway']!r}")
    hub = found["hub"]
    if not isinstance(hub, str) or not 0 < len(hub) <= 255:
        raise ValueError("hub is no id")
    certificate, server_ca = found["certificate"], found["server_ca"]
    if not isinstance(certificate, str) or not isinstance(server_ca, str):
        raise ValueError("certificate and server_ca are PEM texts")
    for text in (certificate, server_ca):
        x509.load_pem_x509_certificates(text.encode())
    signing = [PublicKey.from_pem(pem) for pem in _pems(found, "hub_signing")]
    encryption = [EncryptionKey.from_pem(pem) for pem in _pems(found, "hub_encryption")]
    root = found.get("tuf_root", "")
    if not isinstance(root, str):
        raise ValueError("tuf_root is the JSON text of a TUF root")
    return _Bundle(
        hub, certificate, server_ca, {key.kid: key for key in signing}, encryption[0], root
    )


def _pems(found: Mapping[str, Any], member: str) -> list[str]:
    pems = found[member]
    if not isinstance(pems, list) or not pems or not all(isinstance(pem, str) for pem in pems):
        raise ValueError(f"{member} is not a list of one or more PEM texts")
    return pems


def _leaf(chain: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain.encode())[0]


def _not_enrolled(folder: Path, why: str, command: str) -> TrustError:
    return TrustError(
        f"this gateway is not enrolled: {why} in {folder}", code="trust.not-enrolled", hint=command
    )


def _damaged(folder: Path, why: str) -> TrustError:
    return TrustError(
        f"the identity in {folder} is damaged: {why}",
        code="trust.identity-damaged",
        hint="install the last bundle again (lamppost enrol GATEWAY --install BUNDLE), or enrol again",
    )
