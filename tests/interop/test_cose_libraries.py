"""Other people's COSE libraries read what we write and write what we read, both kinds of keys, both ways.

What an oracle cannot do is said where it is asked: `@auth0/cose` has no key agreement in COSE_Encrypt (node's own
crypto derives the content key for it) and knows Ed25519 only as alg -8; `cwt` writes an ephemeral key with members that
our strict form has not, which are taken out before it is opened, and must be given an ephemeral X25519 key.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from interop.oracles import Oracle, auth0, cwt
from lamppost.envelope import codec
from lamppost.envelope.compression import compress
from lamppost.envelope.keys import DecryptionKey, EncryptionKey, FileSigner, PublicKey
from lamppost.envelope.merkle import MerkleLog, leaf_hash
from lamppost.envelope.receipt import ReceiptClaim, issue_receipt, read_down, verify_receipt
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import (
    GENESIS,
    Header,
    SignerRecord,
    open_body,
    open_message,
    seal,
)
from lamppost.envelope.sign1 import ALG, KID

pytestmark = pytest.mark.long

TOPIC = "lamppost/gw-1/up"
HEADER = Header("gw-1", "hub.demo", "0f" * 16, 0, GENESIS, 100, 50)
PAYLOAD = b'[{"id":"urn:ngsi-ld:Device:gw-1","type":"Device"}]' * 20
ES256, EDDSA = -7, -8


@pytest.fixture(scope="module", params=[cwt, auth0], ids=["cwt", "auth0"])
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    make: Callable[[Path], Oracle] = request.param
    return make(tmp_path_factory.mktemp("oracle"))


class Keys:
    """A gateway's and a hub's keys, and their PEM texts."""

    def __init__(self, signing: str, exchange: str) -> None:
        key = (
            ec.generate_private_key(ec.SECP256R1())
            if signing == "p256"
            else ed25519.Ed25519PrivateKey.generate()
        )
        hub = (
            ec.generate_private_key(ec.SECP256R1())
            if exchange == "p256"
            else x25519.X25519PrivateKey.generate()
        )
        self.signer = FileSigner(PublicKey.of(key.public_key()), key)
        self.hub = DecryptionKey(EncryptionKey.of(hub.public_key()), hub)
        self.private, self.public = _private(key), _public(key)
        self.hub_private, self.hub_public = _private(hub), _public(hub)
        self.algorithm = ES256 if signing == "p256" else EDDSA

    def signer_of(self, kid: bytes) -> SignerRecord | None:
        return SignerRecord("gw-1", self.signer.public) if kid == self.signer.kid else None

    def open(self, message: bytes) -> Any:
        keys = {self.hub.kid: self.hub}
        return open_message(message, TOPIC, aud="hub.demo", hub_keys=keys, signer_of=self.signer_of)


def _private(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _public(key: Any) -> str:
    public = key.public_key()
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


SIGNING = pytest.mark.parametrize("signing", ["p256", "ed25519"])
EXCHANGE = pytest.mark.parametrize("exchange", ["p256", "x25519"])


@SIGNING
def test_our_signature_is_theirs(oracle: Oracle, signing: str) -> None:
    keys = Keys(signing, "p256")
    body = seal(PAYLOAD, HEADER, keys.signer, keys.hub.public, TOPIC).body
    task = {"do": "verify", "message": body.hex(), "pem": keys.public, "kid": keys.signer.kid.hex()}
    flipped = bytearray(body)
    flipped[-80] ^= 1
    stranger = Keys(signing, "p256")
    good, altered, foreign = oracle.ask(
        task, {**task, "message": flipped.hex()}, {**task, "pem": stranger.public}
    )
    assert good == {"payload": compress(PAYLOAD).hex()}
    assert "refused" in altered
    assert "refused" in foreign


@SIGNING
def test_their_signature_is_ours(oracle: Oracle, signing: str) -> None:
    """A body as a gateway of another make would write it. ES256 may give the greater s: then it is tried again."""
    keys = Keys(signing, "p256")
    labels = cbor2.loads(cbor2.loads(_body(keys)).value[0])
    protected = codec.encode({**labels, ALG: keys.algorithm, KID: keys.signer.kid}).hex()
    task = {
        "do": "sign",
        "protected": protected,
        "payload": compress(PAYLOAD).hex(),
        "pem": keys.private,
    }
    answers = oracle.ask(*[task] * 12)
    opened = 0
    for answer in answers:
        try:
            found = open_body(
                bytes.fromhex(answer["message"]), aud="hub.demo", signer_of=keys.signer_of
            )
        except EnvelopeError as refused:
            assert signing == "p256"
            assert refused.code == "envelope.signature"  # the greater s: adr 5
            continue
        assert (found.header, found.payload) == (HEADER, PAYLOAD)
        opened += 1
    assert opened == 12 if signing == "ed25519" else opened >= 1


def _body(keys: Keys) -> bytes:
    return seal(PAYLOAD, HEADER, keys.signer, keys.hub.public, TOPIC).body


@SIGNING
@EXCHANGE
def test_our_encryption_is_theirs(oracle: Oracle, signing: str, exchange: str) -> None:
    keys = Keys(signing, exchange)
    sealed = seal(PAYLOAD, HEADER, keys.signer, keys.hub.public, TOPIC)
    task = {
        "do": "decrypt",
        "message": sealed.message.hex(),
        "pem": keys.hub_private,
        "kid": keys.hub.kid.hex(),
        "topic": TOPIC,
    }
    stranger = Keys(signing, exchange)
    good, elsewhere, foreign = oracle.ask(
        task, {**task, "topic": "lamppost/gw-2/up"}, {**task, "pem": stranger.hub_private}
    )
    assert good == {"plaintext": sealed.body.hex()}
    assert "refused" in elsewhere
    assert "refused" in foreign


@SIGNING
@EXCHANGE
def test_their_encryption_is_ours(oracle: Oracle, signing: str, exchange: str) -> None:
    keys = Keys(signing, exchange)
    body = _body(keys)
    (answer,) = oracle.ask(
        {
            "do": "encrypt",
            "plaintext": body.hex(),
            "pem": keys.hub_public,
            "kid": keys.hub.kid.hex(),
            "topic": TOPIC,
        }
    )
    message = bytes.fromhex(answer["message"])
    if oracle.name == "cwt":
        message = _strict(message)
    opened = keys.open(message)
    assert (opened.header, opened.payload, opened.body) == (HEADER, PAYLOAD, body)


def _strict(message: bytes) -> bytes:
    """cwt's message in our one form: unprotected headers without optional members, tag and maps deterministic.

    Nothing of what is changed here is under the AEAD.
    """
    head, unprotected, ciphertext, [[recipient, sender, wrapped]] = cbor2.loads(message).value
    ephemeral = {label: sender[-1][label] for label in (1, -1, -2, -3) if label in sender[-1]}
    parts = [head, {5: unprotected[5]}, ciphertext]
    return bytes(
        codec.tag_around(96, [*parts, [[recipient, {4: sender[4], -1: ephemeral}, wrapped]]])
    )


@SIGNING
@pytest.mark.parametrize(("size", "index"), [(1, 0), (7, 6), (8, 4), (7, 4), (1000, 999)])
def test_our_receipt_is_theirs(oracle: Oracle, signing: str, size: int, index: int) -> None:
    """The root is computed from the gateway's bytes by the script alone."""
    hub = Keys(signing, "p256")
    bodies = [b"batch %d" % n for n in range(size)]
    log = MerkleLog(leaf_hash(body) for body in bodies)
    message = issue_receipt(
        hub.signer,
        gateway="gw-1",
        epoch="0f" * 16,
        seq=index,
        log_size=size,
        root=log.root(),
        path=log.inclusion(index),
    )
    claim = read_down(message, "gw-1", {hub.signer.kid: hub.signer.public})
    assert isinstance(claim, ReceiptClaim)
    ours = verify_receipt(claim, leaf_hash(bodies[index]))
    task = {
        "do": "receipt",
        "message": message.hex(),
        "body": bodies[index].hex(),
        "pem": hub.public,
        "kid": hub.signer.kid.hex(),
    }
    good, other = oracle.ask(task, {**task, "body": b"another batch".hex()})
    assert good == {"root": ours.root.hex(), "size": size}
    assert "refused" in other
    assert sha256(bodies[index]).hexdigest() != ours.root.hex()
