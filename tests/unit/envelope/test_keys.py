"""Key files, thumbprints, and that a private key never shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from lamppost.envelope.keys import (
    DecryptionKey,
    EncryptionKey,
    FileSigner,
    PublicKey,
    Signer,
    create_encryption_key,
    create_signing_key,
)
from lamppost.envelope.public import thumbprint
from unit.envelope.world import refused, trust


def test_thumbprint_of_rfc_9679() -> None:
    """RFC 9679 §6: Meriadoc Brandybuck's key."""
    x = bytes.fromhex("65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d")
    y = bytes.fromhex("1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c")
    expected = "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"
    assert thumbprint({1: 2, -1: 1, -2: x, -3: y}).hex() == expected
    key = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
    )
    assert PublicKey.of(key.public_key()).kid.hex() == expected


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_signing_keys_in_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sign.key"
    public = create_signing_key(path, kind)  # type: ignore[arg-type]
    signer: Signer = FileSigner.load(path)
    assert signer.public == public
    assert (signer.kid, public.kind) == (public.kid, kind)
    signature = signer.sign(b"words")
    assert len(signature) == 64
    assert public.verify(signature, b"words")
    assert not public.verify(signature, b"other words")
    for other in (
        signature[:-1],
        signature + b"\x00",
        b"\x00" + signature,
        signature[:32] + b"\x00" + signature[32:],
    ):
        assert not public.verify(other, b"words")
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["sign.key"]
    assert PublicKey.from_pem(public.pem()) == public


@pytest.mark.parametrize("kind", ["p256", "x25519"])
def test_encryption_keys_in_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "decrypt.key"
    public = create_encryption_key(path, kind)  # type: ignore[arg-type]
    assert DecryptionKey.load(path).public == public
    assert DecryptionKey.load(path).kid == public.kid
    assert public.kind == kind
    assert EncryptionKey.from_pem(public.pem()) == public


def test_a_private_key_never_shows(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "a")
    create_encryption_key(tmp_path / "b")
    for shown in (repr(FileSigner.load(tmp_path / "a")), repr(DecryptionKey.load(tmp_path / "b"))):
        assert "Private" not in shown
        assert "_key" not in shown


def test_no_key_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "sign.key"
    create_signing_key(path)
    before = path.read_bytes()
    with trust("trust.key-exists"):
        create_signing_key(path)
    with trust("trust.key-exists"):
        create_encryption_key(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["sign.key"]


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o644, 0o666])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """attacks.md, row 21."""
    path = tmp_path / "sign.key"
    create_signing_key(path)
    path.chmod(mode)
    with trust("trust.key-exposed"):
        FileSigner.load(path)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_the_modes_of_systemd_credentials_are_taken(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "sign.key"
    create_signing_key(path)
    path.chmod(mode)
    FileSigner.load(path)


def pem(key: object) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined, no-any-return]


DAMAGED = {
    "empty": b"",
    "half": pem(ec.generate_private_key(ec.SECP256R1()))[:100],
    "P-384": pem(ec.generate_private_key(ec.SECP384R1())),
    "RSA": pem(rsa.generate_private_key(65537, 2048)),
    "with a password": ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    ),
    "a public key": ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "zeros": bytes(300),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_key_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(content)
    path.chmod(0o600)
    for load in (FileSigner.load, DecryptionKey.load):
        with trust("trust.key-damaged"):
            load(path)


def test_keys_of_the_wrong_use(tmp_path: Path) -> None:
    create_encryption_key(tmp_path / "x", "x25519")
    create_signing_key(tmp_path / "e", "ed25519")
    with trust("trust.key-damaged"):
        FileSigner.load(tmp_path / "x")
    with trust("trust.key-damaged"):
        DecryptionKey.load(tmp_path / "e")
    with refused("envelope.key"):
        PublicKey.of(x25519.X25519PrivateKey.generate().public_key())
    with refused("envelope.key"):
        EncryptionKey.of(ed25519.Ed25519PrivateKey.generate().public_key())
    with refused("envelope.key"):
        PublicKey.of(ec.generate_private_key(ec.SECP384R1()).public_key())
    for text in ("", "-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n", "é", b"\xff"):
        with refused("envelope.key"):
            PublicKey.from_pem(text)
        with refused("envelope.key"):
            EncryptionKey.from_pem(text)


def test_a_missing_key(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with trust("trust.key-missing"):
            FileSigner.load(path)


def test_signatures_are_always_of_the_lower_s(tmp_path: Path) -> None:
    create_signing_key(tmp_path / "a")
    signer = FileSigner.load(tmp_path / "a")
    for i in range(40):
        data = b"%d" % i
        assert signer.public.verify(signer.sign(data), data)
