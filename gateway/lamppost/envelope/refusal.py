"""The one error class of the envelope, and the closed list of its codes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lamppost.errors import TrustError

_SENDER = (
    "the sender's software or card is damaged, or someone wrote to its topic: look at the gateway"
)
_HUB = (
    "the hub's software is damaged, or someone wrote to the topic: look at the hub and the broker"
)

REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        "envelope.too-big": "send fewer windows in one batch; the limits are in docs/formats/envelope.md",
        "envelope.malformed": _SENDER,
        "envelope.critical": "the sender uses an extension that this version does not know: update this side",
        "envelope.algorithm": "only the algorithms of docs/formats/envelope.md are taken, one for each kind of key",
        "envelope.key": "give a PEM file with a P-256, Ed25519 or X25519 key",
        "envelope.unknown-hub-key": "the gateway seals for a hub key that is retired or foreign: install a new bundle",
        "envelope.ephemeral-key": _SENDER,
        "envelope.decrypt": "altered on the way, moved to another topic, or sealed for another key",
        "envelope.unknown-signer": "enrol the gateway (lamppost-hub enrol approve), or find out whose key this is",
        "envelope.signature": "altered after signing, or signed by another key: look at the gateway",
        "envelope.audience": "sealed for another hub: someone forwards messages, or the site names the wrong hub",
        "envelope.gateway": "the signed name is not the one that this key was enrolled for: look for a cloned card",
        "envelope.topic": "sent to another gateway's topic: check the broker's ACL and who holds that certificate",
        "envelope.compression": "the payload is not one bounded zstd frame that declares its size",
        "receipt.malformed": _HUB,
        "receipt.critical": "the hub uses an extension that this version does not know: update the gateway",
        "receipt.algorithm": "only the algorithms of docs/formats/receipt.md are taken, one for each kind of key",
        "receipt.unknown-hub-key": "the hub signs with a key this gateway was never given: install a new bundle",
        "receipt.signature": "not this hub's statement about this batch; the batch stays in the ring",
        "receipt.gateway": "a receipt for another gateway arrived here: look at the broker",
        "receipt.proof": "the Merkle path does not fit its index and size; the batch stays in the ring",
        "enrolment.malformed": "make the request again on the gateway: lamppost enrol GATEWAY --request FILE",
        "enrolment.signature": "the request was altered, or its key is not the gateway's: make it again there",
        "enrolment.gateway": "the request names more than the one gateway that it is for: make it again there",
    }
)


class EnvelopeError(TrustError):
    """Every refusal of a message, receipt, key or enrolment request; `code` is one of `REFUSALS`.

    Waiting never helps (`retry` is False): the same bytes are refused for ever.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, code=code, hint=REFUSALS[code])
