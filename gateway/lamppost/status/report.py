"""What the gateway is doing, as one plain dictionary: for the socket, the CLI, the page. Computes, asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamppost import __version__
from lamppost.clock import Clock
from lamppost.config.schema import ModbusTcpLink, Site
from lamppost.model import Batch, Instant
from lamppost.ring import RingStats


def report(
    *,
    site: Site,
    clock: Clock,
    began: Instant,
    ring: RingStats,
    pending: int,
    overflowed: int,
    acquisition: Any,
    uplink: Any,
    enrolment: str,
) -> dict[str, Any]:
    """The answer to `status`, schema `lamppost.status/1`."""
    now = clock.now()
    return {
        "schema": "lamppost.status/1",
        "via": "daemon",
        "version": __version__,
        "gateway": site.site.gateway,
        "hub": site.site.hub,
        "up_seconds": round((now.ns - began.ns) / 1e9, 1),
        "clock": "synced" if clock.synced() else "unsynced",
        "ring": {**buffer_report(ring, via="daemon"), "pending": pending, "overflowed": overflowed},
        "uplink": _uplink(uplink, enrolment, now),
        "buses": [_bus(bus, now) for bus in acquisition.buses],
        "devices": [_device(d, site, now) for d in acquisition.devices],
    }


def buffer_report(stats: RingStats, head: Batch | None = None, *, via: str) -> dict[str, Any]:
    """The answer to `buffer`, schema `lamppost.buffer-status/1`."""
    return {
        "schema": "lamppost.buffer-status/1",
        "via": via,
        "epoch": stats.epoch,
        "state": stats.state,
        "appended": stats.appended,
        "waiting": stats.last - stats.settled_through,
        "settled_through": stats.settled_through,
        "held": stats.held,
        "evicted": stats.evicted,
        "bytes_used": stats.bytes_used,
        "bytes_limit": stats.bytes_limit,
        "batches_settled": (head.seq + 1 if head else 0) - stats.held,
    }
