"""The durable bounded store. Payloads are opaque here: no sample, point or window is known in this package."""

from lamppost.ring.ring import Record, Ring, RingStats, Stored

__all__ = ["Record", "Ring", "RingStats", "Stored"]
