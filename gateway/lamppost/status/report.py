"""What the gateway is doing, as one plain dictionary: for the socket, the CLI, the page. Computes, asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from lamppost import __version__
from lamppost.model import Batch, Instant
from lamppost.ring import RingStats

if TYPE_CHECKING:  # the schema brings pydantic, and `lamppost status` must be quick
    from lamppost.config.schema import Site


def report(
    *,
    site: Site,
    now: Instant,
    clock: str,
    began: Instant,
    ring: dict[str, Any],
    pending: int,
    overflowed: int,
    buses: Sequence[Any],
    uplink: Any,
    enrolment: str,
) -> dict[str, Any]:
    """The answer to `status`, schema `lamppost.status/1`."""
    return {
        "schema": "lamppost.status/1",
        "via": "daemon",
        "version": __version__,
        "gateway": site.site.gateway,
        "hub": site.site.hub,
        "up_seconds": round((now.ns - began.ns) / 1e9, 1),
        "clock": clock,
        "ring": {**ring, "pending": pending, "overflowed": overflowed},
        "uplink": _uplink(uplink, enrolment, now),
        "buses": [_bus(bus, now) for bus in buses],
        "devices": [_device(device, bus, now) for bus in buses for device in bus.devices],
    }


def alert_report(standing: Sequence[Any], now: Instant) -> list[dict[str, Any]]:
    """The alerts that are raised, in the order of their rules; no age where they were raised in an earlier boot."""
    return [
        {
            "rule": s.rule.name,
            "device": s.rule.device,
            "point": s.rule.point,
            "severity": s.rule.severity,
            "text": s.rule.text,
            "value": s.value,
            "since_seconds_ago": round((now.ns - s.since.ns) / 1e9, 1)
            if s.since.boot == now.boot
            else None,
            "flapping": s.flapping,
        }
        for s in standing
    ]


def buffer_report(stats: RingStats, head: Batch | None, *, via: str) -> dict[str, Any]:
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


def _uplink(uplink: Any, enrolment: str, now: Instant) -> dict[str, Any]:
    """The uplink's own snapshot, with ages instead of instants; before enrolment, why there is none."""
    if uplink is None:
        return {
            "state": "not-enrolled",
            "code": enrolment,
            "message": "this gateway has no identity yet",
            "hint": "lamppost enrol GATEWAY --local HUB",
            "batches_sent": 0,
            "receipts_verified": 0,
        }
    if getattr(uplink, "mode", "hub") == "direct":
        return {
            **_aged(uplink, now, "since", "next_try", "last_answer"),
            "state": uplink.state.value,
        }
    found = _aged(uplink, now, "since", "next_try", "last_receipt")
    return {"mode": "hub", **found, "state": uplink.state.value}


def _bus(bus: Any, now: Instant) -> dict[str, Any]:
    found = _aged(bus, now, "since", "next_try")
    del found["devices"]
    return {**found, "state": bus.state.value, "fault": asdict(bus.fault)}


def _device(device: Any, bus: Any, now: Instant) -> dict[str, Any]:
    """A device; `reason` is the worst quality among its newest readings, in the word that is sent to the hub.

    A device on a bus that is gone is as its bus is: what it was before says nothing about now.
    """
    found = _aged(device, now, "since", "next_try", "at")
    gone = bus if bus.state.value in ("suspect", "dead") else device
    worst = max(device.readings, key=lambda r: r.quality.severity, default=None)
    return {
        **found,
        "state": gone.state.value,
        "since_seconds_ago": round((now.ns - gone.since.ns) / 1e9, 1),
        "on": device.link if device.unit is None else f"{device.link}/{device.unit}",
        "reason": worst.quality.reason if worst else "not read yet",
        "fault": asdict(gone.fault),
        "counts": asdict(device.counts),
        "readings": {
            r.point: {"value": r.value, "quality": r.quality.reason} for r in device.readings
        },
    }


def _aged(status: Any, now: Instant, *moments: str) -> dict[str, Any]:
    """A status dataclass as a dictionary, its instants as seconds before now (ahead of now: negative)."""
    found = {f.name: getattr(status, f.name) for f in fields(status)}
    for moment in moments:
        at = found.pop(moment)
        found[f"{moment}_seconds_ago"] = round((now.ns - at.ns) / 1e9, 1) if at else None
    return found
