"""A batch there and back: every kind of key, every member of the header, and what an auditor sees."""

from __future__ import annotations

import random
from hashlib import sha256
from typing import Any

import cbor2
import pytest
import zstandard

from lamppost.envelope import codec
from lamppost.envelope.compression import compress
from lamppost.envelope.encrypt import encrypt
from lamppost.envelope.keys import FileSigner, PublicKey
from lamppost.envelope.merkle import leaf_hash
from lamppost.envelope.public import P256_ORDER
from lamppost.envelope.seal import (
    CONTENT_TYPE,
    GENESIS,
    SignerRecord,
    open_message,
    seal,
    sign_body,
)
from unit.envelope.world import (
    EPOCH,
    FIRST,
    HUB,
    PAYLOAD,
    TOPIC,
    World,
    decryption_key,
    forge_sign1,
    header,
    raw_signature,
    refused,
    signing_key,
    world,
)

KINDS = [("p256", "p256"), ("p256", "x25519"), ("ed25519", "p256"), ("ed25519", "x25519")]


@pytest.mark.parametrize(("signing", "encryption"), KINDS)
def test_there_and_back(signing: str, encryption: str) -> None:
    w = world(signing, encryption)
    sealed = w.seal()
    opened = w.open(sealed.message)
    assert opened.header == header()
    assert opened.payload == PAYLOAD
    assert opened.kid == w.signer.kid
    assert (opened.body, opened.digest, opened.leaf) == (sealed.body, sealed.digest, sealed.leaf)
    assert sealed.digest == sha256(sealed.body).digest()
    assert sealed.leaf == leaf_hash(sealed.body)


@pytest.mark.parametrize(("signing", "encryption"), KINDS)
def test_the_auditor_needs_no_hub_key(signing: str, encryption: str) -> None:
    w = world(signing, encryption)
    sealed = w.seal()
    assert w.open_body(sealed.body) == w.open(sealed.message)


@pytest.mark.parametrize(("signing", "encryption"), KINDS)
def test_shape_on_the_wire(signing: str, encryption: str) -> None:
    """What RFC 9052 says, read by cbor2 alone."""
    w = world(signing, encryption)
    sealed = w.seal()
    outer = cbor2.loads(sealed.message)
    protected, unprotected, ciphertext, recipients = outer.value
    assert outer.tag == 96
    assert cbor2.loads(protected) == {1: 3}
    assert list(unprotected) == [5]
    assert len(unprotected[5]) == 12
    assert len(ciphertext) == len(sealed.body) + 16
    ((recipient, sender, nothing),) = recipients
    assert cbor2.loads(recipient) == {1: -25}
    assert nothing == b""
    assert sender[4] == w.hub.kid
    assert sender[-1][1] == (2 if encryption == "p256" else 1)

    inner = cbor2.loads(sealed.body)
    protected, unprotected, payload, signature = inner.value
    assert inner.tag == 18
    assert cbor2.loads(protected) == {
        1: -7 if signing == "p256" else -8,
        3: CONTENT_TYPE,
        4: w.signer.kid,
        15: {1: "gw-1", 3: HUB},
        -70001: EPOCH,
        -70002: 7,
        -70003: bytes(range(32)),
        -70004: 700,
        -70005: 100,
    }
    assert unprotected == {}
    assert zstandard.decompress(payload) == PAYLOAD
    assert len(signature) == 64


def test_the_same_batch_never_has_the_same_ciphertext() -> None:
    messages = {world().seal().message for _ in range(5)}
    ephemeral = {bytes(cbor2.loads(m).value[3][0][1][-1][-2]) for m in messages}
    nonces = {cbor2.loads(m).value[1][5] for m in messages}
    assert len(messages) == len(ephemeral) == len(nonces) == 5


def test_the_first_batch_and_the_largest_numbers() -> None:
    w = world()
    for changes in (
        {"seq": 0, "prev": GENESIS, "first": 0, "count": 0},
        {"seq": (1 << 63) - 1, "first": (1 << 63) - 2, "count": 1},
        {"epoch": "e-1"},
    ):
        assert w.open(w.seal(**changes).message).header == header(**changes)
    assert FIRST.prev == bytes(32)


BAD_HEADERS: list[dict[str, Any]] = [
    {"seq": -1},
    {"seq": 1 << 63},
    {"seq": True},
    {"seq": 1.0},
    {"first": -1},
    {"count": -1},
    {"count": None},
    {"first": 1 << 62, "count": 1 << 62},
    {"prev": b""},
    {"prev": bytes(31)},
    {"prev": "0" * 32},
    {"epoch": ""},
    {"epoch": "E" * 32},
    {"epoch": "e" * 65},
    {"epoch": 1},
    {"gateway": ""},
    {"gateway": "GW-1"},
    {"gateway": "gw/1"},
    {"gateway": "gw-1\n"},
    {"gateway": "+"},
    {"gateway": "a" * 64},
    {"gateway": 1},
    {"aud": ""},
    {"aud": "h" * 256},
    {"aud": b"hub.demo"},
]


@pytest.mark.parametrize("changes", BAD_HEADERS, ids=str)
def test_a_header_that_would_be_refused_is_not_sealed(changes: dict[str, Any]) -> None:
    with refused("envelope.malformed"):
        world().seal(**changes)


def test_limits_of_size() -> None:
    w = world()
    with refused("envelope.too-big"):
        w.seal(bytes((16 << 20) + 1))
    with refused("envelope.too-big"):  # does not compress
        w.seal(random.Random(1).randbytes(codec.MAX))
    with refused("envelope.compression"):
        w.seal(b"")
    large = random.Random(1).randbytes(codec.MAX - 1000)
    assert w.open(w.seal(large).message).payload == large


def test_old_and_new_hub_key_while_a_backlog_drains() -> None:
    """attacks.md, row 17."""
    w, fresh = world(), decryption_key("x25519")
    old = w.seal()
    new = seal(PAYLOAD, header(), w.signer, fresh.public, TOPIC)
    both = {w.hub.kid: w.hub, fresh.kid: fresh}
    for sealed in (old, new):
        opened = open_message(sealed.message, TOPIC, aud=HUB, hub_keys=both, signer_of=w.signer_of)
        assert opened.payload == PAYLOAD
    with refused("envelope.unknown-hub-key"):
        open_message(
            old.message, TOPIC, aud=HUB, hub_keys={fresh.kid: fresh}, signer_of=w.signer_of
        )


def test_ed25519_is_taken_under_its_newer_number_too() -> None:
    w = world("ed25519")
    protected = {**cbor2.loads(cbor2.loads(w.seal().body).value[0]), 1: -19}
    body = forge_sign1(w.signer, protected, compress(PAYLOAD))
    assert w.open_body(body).payload == PAYLOAD
    assert w.open(encrypt(body, w.hub.public, TOPIC)).header == header()


class Token:
    """A signer as PKCS#11 tokens are: does not care which of the two s it gives."""

    def __init__(self, inner: FileSigner) -> None:
        self._inner = inner

    @property
    def public(self) -> PublicKey:
        return self._inner.public

    @property
    def kid(self) -> bytes:
        return self._inner.kid

    def sign(self, data: bytes) -> bytes:
        low = raw_signature(self._inner, data)
        s = P256_ORDER - int.from_bytes(low[32:], "big")
        return low[:32] + s.to_bytes(32, "big")


def test_a_token_that_gives_the_higher_s_is_put_right() -> None:
    w = world()
    body = sign_body(compress(PAYLOAD), header(), Token(w.signer))
    assert w.open_body(body).header == header()
    assert int.from_bytes(body[-32:], "big") <= P256_ORDER // 2


def test_many_gateways_one_hub() -> None:
    hub = decryption_key("p256")
    fleet = {f"gw-{i}": World(signing_key("p256" if i % 2 else "ed25519"), hub) for i in range(6)}
    registry = {w.signer.kid: SignerRecord(name, w.signer.public) for name, w in fleet.items()}
    for name, w in fleet.items():
        topic = f"lamppost/{name}/up"
        sealed = seal(PAYLOAD, header(gateway=name), w.signer, hub.public, topic)
        opened = open_message(
            sealed.message, topic, aud=HUB, hub_keys={hub.kid: hub}, signer_of=registry.get
        )
        assert opened.header.gateway == name
