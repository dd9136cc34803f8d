"""Messages from the hub, verified: a receipt counts only for the very bytes that the ring holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lamppost.envelope.public import PublicKey
from lamppost.envelope.receipt import ReceiptClaim, Statement, read_down, verify_receipt
from lamppost.envelope.refusal import EnvelopeError
from lamppost.model import Batch, Receipt

Find: TypeAlias = Callable[[str, int], Batch | None]


@dataclass(slots=True)
class Counts:
    """What came down, ever since the start of the process."""

    verified: int = 0  # receipts that proved a held batch
    foreign: int = (
        0  # receipts for batches not held: settled before, or of another life of the ring
    )
    bad: int = 0  # refused: not for this gateway, not signed by the hub, not for these bytes
    statements: int = 0
    last_bad: str = ""  # the code of the newest refusal


class Receipts:
    """Reads the down topic. Never raises for what a message holds: a dishonest broker is only counted."""

    def __init__(self, gateway: str, hub_signing: Mapping[bytes, PublicKey]) -> None:
        self._gateway = gateway
        self._hub_signing = hub_signing
        self.counts = Counts()

    def adopt(self, hub_signing: Mapping[bytes, PublicKey]) -> None:
        """From now on these are the hub's keys (rotation: the old and the new one for a while)."""
        self._hub_signing = hub_signing

    def read(self, message: bytes, find: Find) -> Receipt | Statement | None:
        """A verified receipt of a held batch, a verified statement, or None for anything else."""
        try:
            said = read_down(message, self._gateway, self._hub_signing)
            if isinstance(said, Statement):
                self.counts.statements += 1
                return said
            return self._proved(said, find)
        except EnvelopeError as error:
            self.counts.bad += 1
            self.counts.last_bad = error.code
            return None

    def _proved(self, claim: ReceiptClaim, find: Find) -> Receipt | None:
        batch = find(claim.epoch, claim.seq)
        if batch is None:
            self.counts.foreign += 1
            return None
        receipt = verify_receipt(claim, batch.leaf)
        self.counts.verified += 1
        return receipt
