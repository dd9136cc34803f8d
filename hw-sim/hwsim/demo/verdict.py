"""What the demo proved: one object, schema `lamppost.demo/1`, and one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """Counted from two ends: `stored` by the gateway's ring, `delivered` from the values at the hub's sink."""

    stored: int
    delivered: int
    in_gaps: int
    duplicates: int
    batches: int
    receipts_verified: int
    outage_seconds: float
    cable_seconds: float
    entities: Mapping[str, int]
    bytes_on_the_wire: int
    seconds: float

    @property
    def lost(self) -> int:
        """Readings that were stored and neither arrived nor were named in a signed gap."""
        return self.stored - self.delivered - self.in_gaps

    @property
    def ok(self) -> bool:
        """Everything stored arrived, once, and every batch has its receipt."""
        return (
            self.stored > 0
            and self.lost == 0
            and self.duplicates == 0
            and self.receipts_verified >= self.batches > 0
        )

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"schema": "lamppost.demo/1", "ok": self.ok, **asdict(self), "lost": self.lost}

    def line(self) -> str:
        """The closing line."""
        counts = (
            f"{self.stored} readings stored, {self.delivered} delivered, {self.lost} lost, "
            f"{self.duplicates} doubled, {self.outage_seconds:.0f} s outage"
        )
        return f"OK {counts}" if self.ok else f"PROBLEM {counts}"
