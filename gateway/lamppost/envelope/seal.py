"""One batch as one message: compressed, signed for one hub, encrypted to it; and the way back, in the same order.

The signed message inside, `body`, is what the hub archives and what chain, Merkle log and receipts speak of; whoever
has it and the gateway's public key can verify it without the hub's decryption key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from lamppost.envelope import codec, sign1
from lamppost.envelope.compression import compress, decompress
from lamppost.envelope.encrypt import decrypt, encrypt
from lamppost.envelope.keys import DecryptionKey, Signer
from lamppost.envelope.merkle import leaf_hash
from lamppost.envelope.public import EncryptionKey, PublicKey
from lamppost.envelope.refusal import EnvelopeError

CONTENT_TYPE = "application/vnd.lamppost.batch+zstd"
GENESIS = bytes(32)
"""`prev` of the first batch of an epoch."""
MAX_NUMBER = (1 << 63) - 1
ALERT = "alert-"
"""How the epochs of a gateway's alert stream begin, so that the signature says which of its two streams it is."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_EPOCH = re.compile(r"[0-9a-z-]{1,64}")


@dataclass(frozen=True, slots=True)
class Header:
    """What is signed beside the payload.

    `gateway` and `aud` (the hub) are ids; `epoch` is one life of the ring (UUID4, hex); `seq` counts its batches from
    0; `prev` is the SHA-256 of the body before, or GENESIS; `first` and `count` are the reading numbers covered.
    """

    gateway: str
    aud: str
    epoch: str
    seq: int
    prev: bytes
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """`message` goes on the wire, `body` is the signed COSE_Sign1 in it, with its SHA-256 and RFC 9162 leaf hash."""

    message: bytes
    body: bytes
    digest: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class SignerRecord:
    """What the hub's registry knows of a key id: whose it is, and the key."""

    gateway: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified batch: `payload` is the decompressed JSON, `kid` the signer's."""

    header: Header
    payload: bytes
    body: bytes
    digest: bytes
    leaf: bytes
    kid: bytes


def seal(payload: bytes, header: Header, signer: Signer, hub: EncryptionKey, topic: str) -> Sealed:
    """Compress, sign, encrypt. Raises EnvelopeError `envelope.too-big` past the limits of payload or message."""
    body = sign_body(compress(payload), header, signer)
    message = encrypt(body, hub, topic)
    if len(message) > codec.MAX:
        raise EnvelopeError("envelope.too-big", f"{len(message)} bytes, the limit is {codec.MAX}")
    return Sealed(message, body, sha256(body).digest(), leaf_hash(body))


def plain(payload: bytes) -> Sealed:
    """Compress only: a batch for a context broker (direct mode). Digest and leaf hash are those of the frame."""
    frame = compress(payload)
    return Sealed(frame, frame, sha256(frame).digest(), leaf_hash(frame))


def sign_body(frame: bytes, header: Header, signer: Signer) -> bytes:
    """The signed message around an already compressed payload; EnvelopeError for a header that would be refused."""
    labels = _labels(header)
    if _header({sign1.ALG: 0, sign1.KID: b"", **labels}) != header:
        raise ValueError("not a header")
    return sign1.sign1(signer, labels, frame)


def open_message(
    message: bytes,
    topic: str,
    *,
    aud: str,
    hub_keys: Mapping[bytes, DecryptionKey],
    signer_of: Callable[[bytes], SignerRecord | None],
) -> Opened:
    """Decrypt, verify and decompress what came under `topic`; `signer_of` asks the registry by key id.

    Raises EnvelopeError with one of the codes `envelope.*`.
    """
    opened = open_body(decrypt(message, hub_keys, topic), aud=aud, signer_of=signer_of)
    if _gateway_of(topic) != opened.header.gateway:
        raise EnvelopeError("envelope.topic", f"{opened.header.gateway} wrote to {topic}")
    if topic != topic_of(opened.header.gateway, opened.header.epoch):
        raise EnvelopeError("envelope.topic", f"epoch {opened.header.epoch} came on {topic}")
    return opened


def open_body(
    body: bytes, *, aud: str, signer_of: Callable[[bytes], SignerRecord | None]
) -> Opened:
    """Verify and decompress a signed message, as an auditor does with the archive; raises as `open_message`."""
    signed = sign1.read_sign1(body)
    kid = signed.kid
    record = signer_of(kid)
    if record is None:
        raise EnvelopeError("envelope.unknown-signer", f"no gateway has the key {kid.hex()}")
    signed.verify(record.key)
    header = _header(signed.header)
    if header.aud != aud:
        raise EnvelopeError("envelope.audience", f"for {header.aud}, this is {aud}")
    if header.gateway != record.gateway:
        raise EnvelopeError(
            "envelope.gateway", f"{record.gateway}'s key signed as {header.gateway}"
        )
    assert signed.payload is not None  # read_sign1 refuses a detached one
    payload = decompress(signed.payload)
    return Opened(header, payload, body, sha256(body).digest(), leaf_hash(body), kid)


def is_name(value: object) -> bool:
    """Whether `value` may be a gateway's id: the site file's rule, so that it is safe in a topic and a path."""
    return type(value) is str and _NAME.fullmatch(value) is not None


def is_epoch(value: object) -> bool:
    """Whether `value` may name an epoch."""
    return type(value) is str and _EPOCH.fullmatch(value) is not None


def is_alert(epoch: str) -> bool:
    """Whether an epoch is one of an alert stream; all others are of the stream of readings."""
    return epoch.startswith(ALERT)


def topic_of(gateway: str, epoch: str) -> str:
    """The topic on which batches of this epoch are published."""
    return f"lamppost/{gateway}/{'alert' if is_alert(epoch) else 'up'}"


def is_number(value: object) -> bool:
    """Whether `value` is an int (and no bool) from 0 to 2**63 - 1."""
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _labels(header: Header) -> dict[int, Any]:
    return {
        sign1.CONTENT_TYPE: CONTENT_TYPE,
        sign1.CWT_CLAIMS: {sign1.ISS: header.gateway, sign1.AUD: header.aud},
        sign1.EPOCH: header.epoch,
        sign1.SEQ: header.seq,
        sign1.PREV: header.prev,
        sign1.FIRST: header.first,
        sign1.COUNT: header.count,
    }


_LABELS = {sign1.ALG, sign1.KID, *_labels(Header("", "", "", 0, b"", 0, 0))}


def _header(found: Mapping[Any, Any]) -> Header:
    if found.keys() != _LABELS or found[sign1.CONTENT_TYPE] != CONTENT_TYPE:
        raise codec.malformed("not the header of a batch")
    claims = found[sign1.CWT_CLAIMS]
    if type(claims) is not dict or claims.keys() != {sign1.ISS, sign1.AUD}:
        raise codec.malformed("not the claims of a batch")
    gateway, aud, prev = claims[sign1.ISS], claims[sign1.AUD], found[sign1.PREV]
    if not is_name(gateway) or type(aud) is not str or not 0 < len(aud) <= 255:
        raise codec.malformed("gateway or audience is no id")
    if not is_epoch(found[sign1.EPOCH]) or type(prev) is not bytes or len(prev) != 32:
        raise codec.malformed("epoch or previous digest has the wrong form")
    seq, first, count = found[sign1.SEQ], found[sign1.FIRST], found[sign1.COUNT]
    if not (is_number(seq) and is_number(first) and is_number(count)):
        raise codec.malformed("a number outside 0 to 2**63 - 1")
    if first + count > MAX_NUMBER:
        raise codec.malformed("reading numbers run past 2**63 - 1")
    return Header(gateway, aud, found[sign1.EPOCH], seq, prev, first, count)


def _gateway_of(topic: str) -> str | None:
    parts = topic.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "lamppost" else None
