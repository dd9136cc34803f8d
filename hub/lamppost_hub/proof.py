"""The proof that one reading is in the hub's log: a receipt, the batch as signed, both public keys, in one JSON file.

Another party checks it without Lamppost: docs/how-to/check-a-proof.md.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from lamppost.envelope.keys import PublicKey, Signer
from lamppost.envelope.merkle import leaf_hash
from lamppost.envelope.receipt import ReceiptClaim, issue_receipt, read_down, verify_receipt
from lamppost.envelope.seal import ALERT
from lamppost.envelope.sign1 import read_sign1
from lamppost.errors import TrustError
from lamppost_hub.audit import Witness
from lamppost_hub.checkpoint import read_checkpoint
from lamppost_hub.database import Database
from lamppost_hub.ledger import proof_of
from lamppost_hub.registry import Registry

SCHEMA_NAME = "lamppost.proof/1"


def make_proof(
    database: Database, hub: str, signer: Signer, gateway: str, reading: int, epoch: str = ""
) -> dict[str, Any]:
    """The proof file's content for reading number `reading` of `gateway` (of its newest epoch that has it).

    Alerts have numbers of their own: one of them is found by naming its epoch.

    Raises TrustError `audit.no-such-reading`.
    """
    row = database.row(
        "SELECT s.epoch, e.seq, e.leaf, e.path, e.body FROM entries e JOIN streams s ON s.number = e.stream"
        " JOIN gateways g ON g.number = e.gateway WHERE g.id = ?"
        f" AND ((? = '' AND substr(s.epoch, 1, {len(ALERT)}) <> '{ALERT}') OR s.epoch = ?)"
        " AND e.first <= ? AND e.first + e.count > ? ORDER BY s.number DESC LIMIT 1",
        gateway,
        epoch,
        epoch,
        reading,
        reading,
    )
    if row is None:
        raise TrustError(
            f"no batch of {gateway} covers reading {reading}",
            code="audit.no-such-reading",
            hint="lamppost-hub fleet show DIR; an older epoch is named with --epoch",
        )
    epoch, seq, _, path, body = row
    leaf = leaf_hash(body)
    found = proof_of(seq, leaf, path)
    receipt = issue_receipt(
        signer,
        gateway=gateway,
        epoch=epoch,
        seq=seq,
        log_size=found.log_size,
        root=found.root,
        path=found.path,
    )
    kid = read_sign1(body).kid
    signer_key = next((key for key in Registry(database).keys_of(gateway) if key.kid == kid), None)
    if signer_key is None:
        raise TrustError(
            f"batch {seq} is signed by the key {kid.hex()}, which {gateway} never had",
            code="audit.unknown-key",
            hint=f"lamppost-hub audit DIR --gateway {gateway}",
        )
    return {
        "schema": SCHEMA_NAME,
        "hub": hub,
        "gateway": gateway,
        "epoch": epoch,
        "seq": seq,
        "reading": reading,
        "gateway_key": signer_key.pem(),
        "hub_key": signer.public.pem(),
        "receipt": base64.b64encode(receipt).decode(),
        "body": base64.b64encode(body).decode(),
    }


def read_witness(
    data: bytes, name: str, hub: str, gateway: str, hub_keys: tuple[PublicKey, ...]
) -> Witness:
    """What a note or a proof file says of the log, verified with the hub's keys (not with those in the file).

    Raises TrustError `checkpoint.…`, `receipt.…`, `audit.witness`.
    """
    if not data.lstrip().startswith(b"{"):
        point = read_checkpoint(data, hub, hub_keys)
        if point.gateway != gateway:
            raise _useless(name, f"it is a checkpoint of {point.gateway}")
        return Witness(point.epoch, point.size, point.root, name)
    try:
        content = json.loads(data)
        receipt, body = (
            base64.b64decode(content[part], validate=True) for part in ("receipt", "body")
        )
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise _useless(name, "it is neither a note nor a proof file") from error
    claim = read_down(receipt, gateway, {key.kid: key for key in hub_keys})
    if not isinstance(claim, ReceiptClaim):
        raise _useless(name, "it holds a statement, not a receipt")
    proved = verify_receipt(claim, leaf_hash(body))
    return Witness(proved.epoch, proved.log_size, proved.root, name)


def _useless(name: str, why: str) -> TrustError:
    return TrustError(
        f"{name}: {why}",
        code="audit.witness",
        hint="--against takes checkpoints (.note) and proof files of this gateway",
    )
