"""The generator gives the stored bytes, and today's code opens them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from golden import envelope as golden
from lamppost.envelope.merkle import Frontier, leaf_hash
from lamppost.envelope.receipt import ReceiptClaim, Statement, read_down, verify_receipt
from lamppost.envelope.seal import SignerRecord, open_message

STORED: dict[str, Any] = json.loads(golden.FILE.read_text(encoding="utf-8"))


def test_the_generator_gives_the_stored_bytes() -> None:
    try:
        made = golden.build()
    except UnsupportedAlgorithm:
        pytest.skip(
            "this OpenSSL has no deterministic ECDSA (needs 3.2): stored bytes are only opened"
        )
    assert made == STORED


@pytest.mark.parametrize(("signing", "encryption"), golden.KINDS)
@pytest.mark.parametrize("header", golden.headers(), ids=lambda header: f"seq {header.seq}")
def test_stored_batches_open(signing: str, encryption: str, header: Any) -> None:
    stored = STORED[f"batch {signing} {encryption} seq {header.seq}"]
    hub, public = (
        golden.decryption_key(encryption),
        golden.signer(signing, golden.GATEWAY_SECRET).public,
    )
    opened = open_message(
        bytes.fromhex(stored["message"]),
        golden.TOPIC,
        aud=golden.HUB,
        hub_keys={bytes.fromhex(stored["recipient"]): hub},
        signer_of={bytes.fromhex(stored["signer"]): SignerRecord("gw-golden", public)}.get,
    )
    assert opened.header == header
    assert opened.payload == golden.PAYLOAD
    assert opened.body.hex() == stored["body"]
    assert (opened.digest.hex(), opened.leaf.hex()) == (stored["digest"], stored["leaf"])


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_stored_words_of_the_hub(kind: str) -> None:
    public = golden.signer(kind, golden.HUB_SIGNING_SECRET).public
    keys = {public.kid: public}
    claim = read_down(bytes.fromhex(STORED[f"receipt {kind}"]), "gw-golden", keys)
    assert isinstance(claim, ReceiptClaim)
    receipt = verify_receipt(claim, leaf_hash(b"4"))
    frontier = Frontier.from_bytes(bytes.fromhex(STORED["frontier of 7"]))
    assert (receipt.epoch, receipt.seq, receipt.log_size) == (golden.EPOCH, 4, 7)
    assert receipt.root == frontier.root()
    statement = read_down(bytes.fromhex(STORED[f"statement {kind}"]), "gw-golden", keys)
    assert statement == Statement("resend", "", golden.EPOCH, 9, 7)
