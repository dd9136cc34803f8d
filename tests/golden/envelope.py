"""Golden bytes of envelope and receipt, from fixed keys and a fixed time: `python tests/golden/envelope.py --write`.

THE KEYS ARE FOR TESTS ONLY: their secrets are the small integers below. The test runs this generator and compares;
a difference means that the format has changed, and gateways in the field would no longer be understood.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from lamppost.envelope.encrypt import EphemeralKey, encrypt_with
from lamppost.envelope.keys import DecryptionKey, EncryptionKey, PublicKey
from lamppost.envelope.merkle import MerkleLog, leaf_hash
from lamppost.envelope.receipt import issue_receipt, issue_statement
from lamppost.envelope.seal import GENESIS, Header, sign_body

FILE = Path(__file__).with_name("envelope.json")
TOPIC = "lamppost/gw-golden/up"
HUB = "hub.golden"
EPOCH = "00112233445566778899aabbccddeeff"
PAYLOAD = b'[{"id":"urn:ngsi-ld:Device:gw-golden:meter","type":"Device"}]'
# Compressed once (zstd level 3), so that another release of zstd does not look like another format.
FRAME = bytes.fromhex(
    "28b52ffd203de901005b7b226964223a2275726e3a6e6773692d6c643a4465766963653a67772d676f6c64656e3a6d657465"
    "72222c2274797065223a22446576696365227d5d"
)
GATEWAY_SECRET, HUB_SECRET, EPHEMERAL_SECRET, HUB_SIGNING_SECRET = 1001, 1002, 1003, 1004
NONCE = bytes(range(12))
KINDS = [("p256", "p256"), ("p256", "x25519"), ("ed25519", "p256"), ("ed25519", "x25519")]


@dataclass(frozen=True)
class FixedSigner:
    """A signer of tests: ES256 with RFC 6979 nonces, which needs OpenSSL 3.2 or newer under `cryptography`."""

    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey.of(self.key.public_key())

    @property
    def kid(self) -> bytes:
        return self.public.kid

    def sign(self, data: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        fixed = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        r, s = decode_dss_signature(self.key.sign(data, fixed))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def signer(kind: str, secret: int) -> FixedSigner:
    """The signing key with that small integer as its secret."""
    if kind == "p256":
        return FixedSigner(ec.derive_private_key(secret, ec.SECP256R1()))
    return FixedSigner(ed25519.Ed25519PrivateKey.from_private_bytes(secret.to_bytes(32, "big")))


def exchange_key(kind: str, secret: int) -> EphemeralKey:
    """The key-agreement key with that small integer as its secret."""
    if kind == "p256":
        return ec.derive_private_key(secret, ec.SECP256R1())
    return x25519.X25519PrivateKey.from_private_bytes(secret.to_bytes(32, "big"))


def decryption_key(kind: str) -> DecryptionKey:
    """The hub's."""
    key = exchange_key(kind, HUB_SECRET)
    return DecryptionKey(EncryptionKey.of(key.public_key()), key)


def headers() -> list[Header]:
    """Of the first batch and of one with large numbers."""
    return [
        Header("gw-golden", HUB, EPOCH, 0, GENESIS, 0, 60),
        Header("gw-golden", HUB, EPOCH, 1 << 40, sha256(b"before").digest(), 1 << 50, 4000),
    ]


def build() -> dict[str, Any]:
    """Everything, as hex."""
    found: dict[str, Any] = {"warning": "TEST KEYS ONLY: the secrets are small integers"}
    for signing, encryption in KINDS:
        for header in headers():
            body = sign_body(FRAME, header, signer(signing, GATEWAY_SECRET))
            hub, ephemeral = decryption_key(encryption), exchange_key(encryption, EPHEMERAL_SECRET)
            message = encrypt_with(body, hub.public, TOPIC, ephemeral, NONCE)
            found[f"batch {signing} {encryption} seq {header.seq}"] = {
                "signer": signer(signing, GATEWAY_SECRET).kid.hex(),
                "recipient": hub.kid.hex(),
                "body": body.hex(),
                "digest": sha256(body).hexdigest(),
                "leaf": leaf_hash(body).hex(),
                "message": message.hex(),
            }
    for kind in ("p256", "ed25519"):
        hub_signer = signer(kind, HUB_SIGNING_SECRET)
        log = MerkleLog(leaf_hash(b"%d" % i) for i in range(7))
        found[f"receipt {kind}"] = issue_receipt(
            hub_signer,
            gateway="gw-golden",
            epoch=EPOCH,
            seq=4,
            log_size=7,
            root=log.root(),
            path=log.inclusion(4),
        ).hex()
        fields: dict[str, str | int] = {"kind": "resend", "epoch": EPOCH, "seq": 9, "next": 7}
        found[f"statement {kind}"] = issue_statement(hub_signer, "gw-golden", fields).hex()
        found["frontier of 7"] = log.frontier().to_bytes().hex()
    return found


def text() -> str:
    """The file's content."""
    return json.dumps(build(), indent=1) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        FILE.write_text(text(), encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != text():
        sys.exit(f"{FILE.name} differs; if the format was meant to change, run again with --write")
    assert zstandard.decompress(FRAME) == PAYLOAD
