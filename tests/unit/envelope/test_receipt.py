"""What a gateway takes from its hub, and that nobody else can say it (attacks.md, row 12)."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from lamppost.envelope import codec
from lamppost.envelope.merkle import MerkleLog, leaf_hash, root_from_inclusion
from lamppost.envelope.receipt import (
    STATEMENT_TYPE,
    ReceiptClaim,
    Statement,
    issue_receipt,
    issue_statement,
    read_down,
    verify_receipt,
)
from lamppost.envelope.refusal import EnvelopeError
from lamppost.model import Receipt
from unit.envelope.world import (
    EPOCH,
    forge_sign1,
    mutations,
    plain_cbor,
    refused,
    signing_key,
    world,
)

HUB = world("p256").signer
OTHER_HUB = signing_key("p256")
KEYS = {HUB.kid: HUB.public}
LEAVES = [leaf_hash(b"batch %d" % i) for i in range(12)]
LOG = MerkleLog(LEAVES)


def receipt(seq: int = 5, size: int = 9, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "gateway": "gw-1",
        "epoch": EPOCH,
        "seq": seq,
        "log_size": size,
        "root": LOG.root(size),
        "path": LOG.inclusion(seq, size),
    }
    return issue_receipt(changes.pop("signer", HUB), **{**values, **changes})


def claim(message: bytes) -> ReceiptClaim:
    found = read_down(message, "gw-1", KEYS)
    assert isinstance(found, ReceiptClaim)
    return found


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_receipt_settles_its_batch(kind: str) -> None:
    hub = signing_key(kind)
    for size in range(1, 13):
        for seq in range(size):
            found = read_down(receipt(seq, size, signer=hub), "gw-1", {hub.kid: hub.public})
            assert isinstance(found, ReceiptClaim)
            assert (found.gateway, found.epoch, found.seq, found.log_size) == (
                "gw-1",
                EPOCH,
                seq,
                size,
            )
            assert verify_receipt(found, LEAVES[seq]) == Receipt(EPOCH, seq, size, LOG.root(size))


def test_shape_on_the_wire() -> None:
    """RFC 9942 §4 and §5, read by cbor2 alone."""
    protected, unprotected, payload, signature = cbor2.loads(receipt()).value
    assert cbor2.loads(protected) == {
        1: -7,
        4: HUB.kid,
        15: {2: "gw-1"},
        395: 1,
        -70001: EPOCH,
        -70002: 5,
        -70006: 9,
    }
    ((proof,),) = (unprotected[396][-1],)
    assert unprotected.keys() == {396}
    assert unprotected[396].keys() == {-1}
    assert cbor2.loads(proof) == [9, 5, LOG.inclusion(5, 9)]
    assert payload is None
    assert len(signature) == 64


def test_a_receipt_of_another_batch_settles_nothing() -> None:
    for seq in range(9):
        if seq != 5:
            with refused("receipt.signature"):
                verify_receipt(claim(receipt(5)), LEAVES[seq])
    with refused("receipt.signature"):
        verify_receipt(claim(receipt(5)), leaf_hash(b"what I sent instead"))


def test_a_receipt_for_another_gateway() -> None:
    with refused("receipt.gateway"):
        read_down(receipt(gateway="gw-2"), "gw-1", KEYS)
    with refused("receipt.gateway"):
        read_down(receipt(), "gw-2", KEYS)


def test_another_hub_or_a_stranger_with_the_hubs_key_id() -> None:
    with refused("receipt.unknown-hub-key"):
        read_down(receipt(signer=OTHER_HUB), "gw-1", KEYS)
    p, u, _, _ = cbor2.loads(receipt()).value
    forged = codec.tag_around(18, [p, u, None, OTHER_HUB.sign(b"anything")])
    with refused("receipt.signature"):
        verify_receipt(claim(forged), LEAVES[5])


def test_a_root_that_does_not_hold_the_leaf() -> None:
    with refused("receipt.signature"):
        verify_receipt(claim(receipt(root=LOG.root(10))), LEAVES[5])


def changed(message: bytes, seq: int, size: int, path: list[bytes], in_header: bool) -> bytes:
    """The receipt with another proof, and the same numbers in the protected header if wished."""
    p, _, payload, signature = cbor2.loads(message).value
    if in_header:
        p = codec.encode(dict(cbor2.loads(p)) | {-70002: seq, -70006: size})
    return codec.tag_around(
        18, [p, {396: {-1: [codec.encode([size, seq, path])]}}, payload, signature]
    )


def test_a_broker_cannot_change_the_size_where_the_path_would_allow_it() -> None:
    """Leaf 4 has a path of the same form in logs of 7 and of 8: the root alone does not tell them apart."""
    path = LOG.inclusion(4, 7)
    assert root_from_inclusion(LEAVES[4], 4, 7, path) == root_from_inclusion(LEAVES[4], 4, 8, path)
    with refused("receipt.proof"):
        claim(changed(receipt(4, 7), 4, 8, path, in_header=False))
    with refused("receipt.signature"):
        verify_receipt(claim(changed(receipt(4, 7), 4, 8, path, in_header=True)), LEAVES[4])


def test_paths_that_do_not_fit() -> None:
    path = LOG.inclusion(5, 9)
    for wrong in (path[:-1], [*path, bytes(32)]):
        with refused("receipt.proof"):
            verify_receipt(claim(changed(receipt(), 5, 9, wrong, in_header=False)), LEAVES[5])
    with refused("receipt.signature"):
        verify_receipt(claim(changed(receipt(), 5, 9, path[::-1], in_header=False)), LEAVES[5])
    for seq, size in ((9, 9), (0, 0)):
        with refused("receipt.proof"):
            verify_receipt(claim(changed(receipt(), seq, size, [], in_header=True)), LEAVES[0])


BAD_PROOFS: list[Any] = [
    b"",
    b"\x80",
    codec.encode([9, 5]),
    codec.encode([9, 5, [], 0]),
    codec.encode([9, 5, {}]),
    codec.encode([9, 5, [bytes(31)]]),
    codec.encode([9, 5, ["x" * 32]]),
    codec.encode({1: 2}),
    codec.encode([9, 5, [None]]),
    plain_cbor([9.0, 5, []]),
]


@pytest.mark.parametrize("proof", BAD_PROOFS, ids=lambda proof: proof.hex()[:20] or "empty")
def test_proofs_of_other_forms(proof: bytes) -> None:
    p, _, payload, signature = cbor2.loads(receipt()).value
    with pytest.raises(EnvelopeError) as caught:
        claim(codec.tag_around(18, [p, {396: {-1: [proof]}}, payload, signature]))
    assert caught.value.code in ("receipt.proof", "receipt.malformed")


def test_unprotected_headers_of_other_forms() -> None:
    p, u, payload, signature = cbor2.loads(receipt()).value
    proof = u[396][-1][0]
    others: list[dict[int, Any]] = [
        {},
        {396: {}},
        {396: {-1: []}},
        {396: {-1: [proof, proof]}},
        {396: {-1: proof}},
        {396: {-2: [proof]}},
        {396: {-1: [proof], -2: [proof]}},
        {396: [proof]},
        {396: {-1: [proof]}, 4: HUB.kid},
        {396: {-1: [None]}},
    ]
    for unprotected in others:
        with refused("receipt.malformed"):
            claim(codec.tag_around(18, [p, unprotected, payload, signature]))
    with refused("receipt.malformed"):  # an attached root
        claim(codec.tag_around(18, [p, u, LOG.root(9), signature]))


HEADER = {1: -7, 4: HUB.kid, 15: {2: "gw-1"}, 395: 1, -70001: EPOCH, -70002: 5, -70006: 9}
PROOF = {396: {-1: [codec.encode([9, 5, LOG.inclusion(5, 9)])]}}


def forged_receipt(header: dict[Any, Any]) -> bytes:
    """Signed by the hub's own key, over the true root, under any header."""
    full = (
        plain_cbor(header)
        if any(type(v) in (bool, float) for v in header.values())
        else codec.encode(header)
    )
    signed = cbor2.loads(forge_sign1(HUB, full, LOG.root(9), unprotected=PROOF)).value
    return codec.tag_around(18, [full, PROOF, None, signed[3]])


def test_the_forger_makes_true_receipts() -> None:
    assert verify_receipt(claim(forged_receipt(HEADER)), LEAVES[5]).seq == 5


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({1: -8}, "receipt.algorithm"),
        ({1: 5}, "receipt.algorithm"),
        ({1: None}, "receipt.algorithm"),
        ({2: [395]}, "receipt.critical"),
        ({4: b"x"}, "receipt.malformed"),
        ({15: {2: "gw-1", 1: "hub"}}, "receipt.malformed"),
        ({15: {}}, "receipt.malformed"),
        ({15: "gw-1"}, "receipt.malformed"),
        ({395: 2}, "receipt.malformed"),
        ({395: True}, "receipt.malformed"),
        ({395: 1.0}, "receipt.malformed"),
        ({-70001: ""}, "receipt.malformed"),
        ({-70002: -1}, "receipt.malformed"),
        ({-70006: 1 << 63}, "receipt.malformed"),
        ({-70006: "9"}, "receipt.malformed"),
        ({-70002: 4}, "receipt.proof"),
        ({-70006: 10}, "receipt.proof"),
        ({3: STATEMENT_TYPE}, "receipt.malformed"),
        ({-70099: 0}, "receipt.malformed"),
    ],
    ids=str,
)
def test_headers_of_receipts(change: dict[int, Any], code: str) -> None:
    with refused(code):
        verify_receipt(claim(forged_receipt(HEADER | change)), LEAVES[5])


def test_every_bit_flipped_and_every_cut() -> None:
    message = receipt()
    for at in range(len(message)):
        for bit in range(8):
            altered = bytearray(message)
            altered[at] ^= 1 << bit
            with pytest.raises(EnvelopeError, check=lambda e: e.code.startswith("receipt.")):
                verify_receipt(claim(bytes(altered)), LEAVES[5])
        with refused("receipt.malformed"):
            claim(message[:at])
    with refused("receipt.malformed"):
        claim(message + b"\x00")


@pytest.mark.parametrize("rounds", [3000, pytest.param(60_000, marks=pytest.mark.long)])
def test_random_mutations(rounds: int) -> None:
    for altered in mutations(receipt(), rounds, seed=3):
        with pytest.raises(EnvelopeError, check=lambda e: e.code.startswith("receipt.")):
            verify_receipt(claim(altered), LEAVES[5])
    for altered in mutations(issue_statement(HUB, "gw-1", STATEMENT), rounds, seed=4):
        with pytest.raises(EnvelopeError, check=lambda e: e.code.startswith("receipt.")):
            found = read_down(altered, "gw-1", KEYS)
            assert isinstance(found, ReceiptClaim)
            verify_receipt(found, LEAVES[5])


# Statements

STATEMENT: dict[str, str | int] = {
    "kind": "refused",
    "code": "hub.equivocation",
    "epoch": EPOCH,
    "seq": 4,
    "next": 9,
}


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_statements(kind: str) -> None:
    hub = signing_key(kind)
    keys = {hub.kid: hub.public}
    found = read_down(issue_statement(hub, "gw-1", STATEMENT), "gw-1", keys)
    assert found == Statement("refused", "hub.equivocation", EPOCH, 4, 9)
    found = read_down(issue_statement(hub, "gw-1", {"kind": "resend", "next": 3}), "gw-1", keys)
    assert found == Statement("resend", "", "", -1, 3)


def test_a_statement_to_another_gateway_or_from_another_hub() -> None:
    message = issue_statement(HUB, "gw-1", STATEMENT)
    with refused("receipt.gateway"):
        read_down(message, "gw-2", KEYS)
    with refused("receipt.unknown-hub-key"):
        read_down(message, "gw-1", {})
    with refused("receipt.signature"):
        read_down(
            forge_sign1(OTHER_HUB, cbor2.loads(message).value[0], codec.encode(STATEMENT)),
            "gw-1",
            KEYS,
        )


BAD_STATEMENTS: list[dict[Any, Any]] = [
    {},
    {"kind": "settle"},
    {"kind": 1},
    {"code": "x"},
    {"kind": "refused", "why": "x"},
    {"kind": "refused", "seq": -1},
    {"kind": "refused", "seq": "4"},
    {"kind": "refused", "seq": 1 << 63},
    {"kind": "refused", "next": None},
    {"kind": "refused", "code": 5},
    {"kind": "refused", "epoch": b"e"},
    {"kind": "refused", 1: 1},
]


@pytest.mark.parametrize("fields", BAD_STATEMENTS, ids=str)
def test_statements_of_other_forms_are_neither_issued_nor_read(fields: dict[Any, Any]) -> None:
    with pytest.raises(ValueError):
        issue_statement(HUB, "gw-1", fields)
    protected = cbor2.loads(issue_statement(HUB, "gw-1", STATEMENT)).value[0]
    with refused("receipt.malformed"):
        read_down(forge_sign1(HUB, protected, codec.encode(fields)), "gw-1", KEYS)


def test_a_batch_signed_by_a_gateway_is_no_word_of_the_hub() -> None:
    with refused("receipt.malformed"):
        read_down(world().seal().body, "gw-1", {world().signer.kid: world().signer.public})
    protected = cbor2.loads(issue_statement(HUB, "gw-1", STATEMENT)).value[0]
    for payload in (b"\x01", b"\x80", b"", b"\xa0\x00"):
        with refused("receipt.malformed"):
            read_down(forge_sign1(HUB, protected, payload), "gw-1", KEYS)


def test_another_document_signed_by_the_hub_is_no_statement() -> None:
    header = cbor2.loads(cbor2.loads(issue_statement(HUB, "gw-1", STATEMENT)).value[0])
    protected = codec.encode(header | {3: "application/vnd.lamppost.other+cbor"})
    with refused("receipt.malformed"):
        read_down(forge_sign1(HUB, protected, codec.encode(STATEMENT)), "gw-1", KEYS)
