"""A gateway's heartbeat: a few facts about itself, signed and encrypted as a batch is, outside of every sequence.

It proves nothing about readings and is never resent; a newer one takes the place of an older. Published on
`lamppost/<gateway>/state` (docs/formats/heartbeat.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from lamppost.envelope import codec, sign1
from lamppost.envelope.encrypt import decrypt, encrypt
from lamppost.envelope.keys import DecryptionKey, Signer
from lamppost.envelope.public import EncryptionKey
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import SignerRecord, is_number

CONTENT_TYPE = "application/vnd.lamppost.state+cbor"
MAX_MESSAGE = 1024  # bytes on the wire: it goes out every few minutes over SIM cards
MAX_TEXT, MAX_WRONG = 64, 8


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a gateway says of itself. Times in seconds; texts of at most 64 characters.

    `at` is UTC, 0 where the clock was never right; `up` since the boot; `every` when the next one comes at the
    latest. `version` and `code` (start of the SHA-256 of the installed files' list) are the software's, `serial` and
    `site` (start of its SHA-256) the configuration's, `trial` how that is doing. `ring`, `clock` are states;
    `waiting` readings wait for proof, `lost` had to be given up. `devices` of the site, `silent` of them. `wrong` are
    codes, the worst first. `until` is the end of maintenance, 0 for none.
    """

    at: int
    up: int
    every: int
    version: str
    code: str
    serial: int
    site: str
    trial: str
    ring: str
    clock: str
    waiting: int
    lost: int
    devices: int
    silent: int
    until: int
    wrong: tuple[str, ...] = ()


_TEXTS = ("version", "code", "site", "trial", "ring", "clock")
_NAMES = tuple(f.name for f in fields(Heartbeat))


def topic_of_state(gateway: str) -> str:
    """Where a gateway's heartbeats go."""
    return f"lamppost/{gateway}/state"


def seal_heartbeat(
    beat: Heartbeat, *, gateway: str, aud: str, signer: Signer, hub: EncryptionKey
) -> bytes:
    """The message. Raises ValueError for a heartbeat that would not be read."""
    content = {**asdict(beat), "wrong": list(beat.wrong)}
    if _read(content) != beat:
        raise ValueError("not a heartbeat")
    header = {
        sign1.CONTENT_TYPE: CONTENT_TYPE,
        sign1.CWT_CLAIMS: {sign1.ISS: gateway, sign1.AUD: aud},
    }
    body = sign1.sign1(signer, header, codec.encode(content))
    return encrypt(body, hub, topic_of_state(gateway))


def open_heartbeat(
    message: bytes,
    topic: str,
    *,
    aud: str,
    hub_keys: Mapping[bytes, DecryptionKey],
    signer_of: Callable[[bytes], SignerRecord | None],
) -> tuple[str, bytes, Heartbeat]:
    """Gateway, key id and verified heartbeat. Raises EnvelopeError with one of the codes `envelope.*`."""
    if len(message) > MAX_MESSAGE:
        raise EnvelopeError("envelope.too-big", f"a heartbeat of {len(message)} bytes")
    signed = sign1.read_sign1(decrypt(message, hub_keys, topic))
    record = signer_of(signed.kid)
    if record is None:
        raise EnvelopeError("envelope.unknown-signer", f"no gateway has the key {signed.kid.hex()}")
    signed.verify(record.key)
    claims = _claims(signed)
    if claims[sign1.AUD] != aud:
        raise EnvelopeError("envelope.audience", f"for {claims[sign1.AUD]}, this is {aud}")
    if claims[sign1.ISS] != record.gateway or topic != topic_of_state(record.gateway):
        raise EnvelopeError("envelope.topic", f"{record.gateway}'s key signed for {topic}")
    assert signed.payload is not None  # read_sign1 refuses a detached one
    return record.gateway, signed.kid, _read(codec.decode(signed.payload))


def _claims(signed: sign1.Signed) -> Mapping[Any, Any]:
    wanted = {sign1.ALG, sign1.KID, sign1.CONTENT_TYPE, sign1.CWT_CLAIMS}
    if signed.header.keys() != wanted or signed.header[sign1.CONTENT_TYPE] != CONTENT_TYPE:
        raise codec.malformed("not the header of a heartbeat")
    claims = signed.header[sign1.CWT_CLAIMS]
    if type(claims) is not dict or claims.keys() != {sign1.ISS, sign1.AUD}:
        raise codec.malformed("not the claims of a heartbeat")
    return claims


def _read(content: Any) -> Heartbeat:
    if type(content) is not dict or content.keys() != set(_NAMES):
        raise codec.malformed("not the members of a heartbeat")
    for name in _NAMES:
        value = content[name]
        if name == "wrong":
            good = type(value) is list and len(value) <= MAX_WRONG and all(map(_is_text, value))
        else:
            good = _is_text(value) if name in _TEXTS else is_number(value)
        if not good:
            raise codec.malformed(f"the member {name} of a heartbeat has the wrong form")
    return Heartbeat(**{**content, "wrong": tuple(content["wrong"])})


def _is_text(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT and value.isprintable()
