"""The hub's certificate authorities: one line for gateways and receivers, one for the hub's servers.

They are separate so that no gateway's certificate can ever pass for a server's. The device root and the server CA are
kept offline; the device root signs an issuing CA for a year, and that one signs clients every day. Profiles follow RFC
5280; all keys are EC P-256. The only file of the hub that imports `cryptography`. It takes UTC as an argument and reads
no clock.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lamppost.errors import TrustError
from lamppost_hub.files import durable_write

GATEWAY_DAYS = 90
SERVER_DAYS = 397
ISSUING_DAYS = 366
_AUTHORITY_DAYS = 3650
_EARLY = dt.timedelta(hours=1)  # a gateway's clock may be a little behind the hub's

_GATEWAY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # as the site file has it
_RESERVED = re.compile(r"hub(?:-[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that an authority has just signed. `not_after` is UTC in nanoseconds, `pem` the certificate."""

    subject: str
    serial: str
    not_after: int
    pem: bytes


def check_gateway_id(gateway: str) -> None:
    """Refuse (`ca.gateway-id`) what may not become a certificate's name, an MQTT user and a topic level.

    The ACL writes the name into patterns, so `+`, `#`, `/` and `%` must not occur; `hub` and `hub-N` are receivers.
    """
    if not _GATEWAY.fullmatch(gateway) or _RESERVED.fullmatch(gateway):
        raise TrustError(
            f"{gateway!r} cannot be a gateway's id",
            code="ca.gateway-id",
            hint="lower-case letters, digits, dashes and underscores, at most 63; not hub or hub-N",
        )


def receiver_name(number: int) -> str:
    """The user name of the n-th receiver (from 1): hub, hub-2, hub-3, …"""
    return "hub" if number == 1 else f"hub-{number}"


def alert_receiver(number: int) -> int:
    """The number under which the n-th receiver has its second connection, for alerts alone."""
    return 100 + number


class Authority:
    """One CA: its key and certificate. The device CA signs clients, the server CA signs servers."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(
        cls, folder: Path, name: str, utc: int, *, keys: Path | None = None, below: int = 0
    ) -> Authority:
        """Make a root: `name`.key in `keys` (or `folder`), then `name`.pem in `folder`. `utc` in nanoseconds.

        `below` is how many authorities may stand between it and a certificate.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        start = _moment(utc) - _EARLY
        end = start + dt.timedelta(days=_AUTHORITY_DAYS)
        subject = _name(f"Lamppost {name}")
        builder = _authority_builder(key.public_key(), subject, subject, start, end, below)
        certificate = builder.sign(key, hashes.SHA256())
        return cls._written(folder, name, keys or folder, key, certificate)

    def issue_authority(self, folder: Path, name: str, utc: int) -> Authority:
        """Make an issuing CA below this root, valid a year: `name`.key and `name`.pem in `folder`."""
        key = ec.generate_private_key(ec.SECP256R1())
        start = _moment(utc) - _EARLY
        end = min(start + dt.timedelta(days=ISSUING_DAYS), self._certificate.not_valid_after_utc)
        issuer = self._certificate.subject
        subject = _name(f"Lamppost {name} {start:%Y-%m-%d}")
        builder = _authority_builder(key.public_key(), subject, issuer, start, end, 0)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
            critical=False,
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return self._written(folder, name, folder, key, certificate)

    @classmethod
    def _written(
        cls,
        folder: Path,
        name: str,
        keys: Path,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
    ) -> Authority:
        durable_write(keys / f"{name}.key", _private(key))
        durable_write(folder / f"{name}.pem", _pem(certificate), mode=0o644)
        return cls(key, certificate)

    @classmethod
    def load(cls, folder: Path, name: str, *, keys: Path | None = None) -> Authority:
        """Read the authority back; its key is in `keys` (or `folder`). Raises TrustError `ca.unreadable`."""
        path = (keys or folder) / f"{name}.key"
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        except (OSError, ValueError, TypeError) as error:
            raise _unreadable(path, str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _unreadable(path, "no EC key")
        if key.public_key() != certificate.public_key():
            raise _unreadable(path, f"not the key of {folder / name}.pem")
        return cls(key, certificate)

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return _pem(self._certificate)

    def issue_server(self, folder: Path, hosts: Sequence[str], utc: int) -> Issued:
        """Make server.key and server.pem for localhost, 127.0.0.1 and `hosts`, valid 397 days."""
        names = list(dict.fromkeys(["localhost", "127.0.0.1", *hosts]))
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([_general_name(host) for host in names])
        server = ExtendedKeyUsageOID.SERVER_AUTH
        issued = self._sign(key.public_key(), names[-1], server, utc, SERVER_DAYS, alternative)
        durable_write(folder / "server.key", _private(key))
        durable_write(folder / "server.pem", issued.pem, mode=0o644)
        return issued

    def issue_receiver(self, folder: Path, number: int, utc: int) -> Issued:
        """Make key and client certificate of the n-th receiver, valid 397 days; CN `hub`, `hub-2`, …"""
        name = receiver_name(number)
        key = ec.generate_private_key(ec.SECP256R1())
        issued = self._sign(
            key.public_key(), name, ExtendedKeyUsageOID.CLIENT_AUTH, utc, SERVER_DAYS
        )
        durable_write(folder / f"{name}.key", _private(key))
        durable_write(folder / f"{name}.pem", issued.pem + self.pem, mode=0o644)
        return issued

    def issue_gateway(self, gateway: str, csr_pem: bytes, utc: int) -> Issued:
        """Sign a client certificate for the public key in `csr_pem`, and for nothing else that stands in it.

        The name is `gateway`, the lifetime 90 days. Raises TrustError `ca.gateway-id` or `ca.request`.
        """
        check_gateway_id(gateway)
        return self._sign(
            _requested_key(csr_pem), gateway, ExtendedKeyUsageOID.CLIENT_AUTH, utc, GATEWAY_DAYS
        )

    def _sign(
        self,
        public: ec.EllipticCurvePublicKey,
        name: str,
        purpose: x509.ObjectIdentifier,
        utc: int,
        days: int,
        alternative: x509.SubjectAlternativeName | None = None,
    ) -> Issued:
        now = _moment(utc)
        serial = x509.random_serial_number()
        end = min(now + dt.timedelta(days=days), self._certificate.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._certificate.subject)
            .public_key(public)
            .serial_number(serial)
            .not_valid_before(now - _EARLY)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(name, f"{serial:x}", int(end.timestamp()) * 1_000_000_000, _pem(certificate))


@dataclass(frozen=True, slots=True)
class Life:
    """Of a certificate: whose, and when it begins and ends (UTC, nanoseconds)."""

    subject: str
    begins: int
    ends: int

    def left(self, utc: int) -> float:
        """The fraction of its life that is left at `utc`; negative after its end."""
        return (self.ends - utc) / (self.ends - self.begins)


def life_of(path: Path) -> Life:
    """The life of the first certificate in a PEM file. Raises TrustError `ca.unreadable`."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Life(
        str(names[0].value) if names else "",
        int(certificate.not_valid_before_utc.timestamp()) * 1_000_000_000,
        int(certificate.not_valid_after_utc.timestamp()) * 1_000_000_000,
    )


def fingerprint(path: Path) -> str:
    """SHA-256 of the first certificate in a PEM file (of its DER), hexadecimal. Raises TrustError `ca.unreadable`."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    return certificate.fingerprint(hashes.SHA256()).hex()


def serial_of(der: bytes) -> str:
    """The serial number (hexadecimal) of a certificate that TLS has verified already."""
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def certificates_only(*pems: bytes) -> bytes:
    """A PKCS#7 certs-only message (RFC 7030 §4.1.3), DER, of the certificates in these PEM texts."""
    found = [c for pem in pems for c in x509.load_pem_x509_certificates(pem)]
    return pkcs7.serialize_certificates(found, serialization.Encoding.DER)


def request_pem(der: bytes) -> bytes:
    """A PKCS#10 request (DER) as PEM. Raises TrustError `ca.request`."""
    try:
        request = x509.load_der_x509_csr(der)
        return request.public_bytes(serialization.Encoding.PEM)
    except (ValueError, TypeError) as error:
        raise _bad_request(str(error)) from error


def requested_name(csr_pem: bytes) -> str:
    """The one common name that a request asks for, "" where it is another form. Raises TrustError `ca.request`."""
    try:
        subject = list(x509.load_pem_x509_csr(csr_pem).subject)
    except (ValueError, TypeError) as error:
        raise _bad_request(str(error)) from error
    if len(subject) == 1 and subject[0].oid == NameOID.COMMON_NAME:
        return str(subject[0].value)
    return ""


def _authority_builder(
    public: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    start: dt.datetime,
    end: dt.datetime,
    below: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _requested_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        proved = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError) as error:
        raise _bad_request(str(error)) from error
    if not proved:
        raise _bad_request("its signature does not prove the private key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_request("its key is not EC P-256")
    return key


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _moment(utc: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(utc // 1_000_000_000, dt.UTC)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _unreadable(path: Path, why: str) -> TrustError:
    return TrustError(
        f"{path}: {why}",
        code="ca.unreadable",
        hint="lamppost-hub init made it; an offline key lies where the key ceremony put it: --offline FOLDER",
    )


def _bad_request(why: str) -> TrustError:
    return TrustError(
        f"the certificate request is refused: {why}",
        code="ca.request",
        hint="make it again: lamppost enrol",
    )
