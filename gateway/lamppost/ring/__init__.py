"""The durable bounded store. Payloads are opaque here: no sample, point or window is known in this package."""

from lamppost.ring.records import Record, RingStats, Stored, Verification
from lamppost.ring.ring import Ring

__all__ = ["Record", "Ring", "RingStats", "Stored", "Verification"]
