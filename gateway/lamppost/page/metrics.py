"""Status to Prometheus' text format (0.0.4): base units, labels that are bounded by the site file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_STATES = ("waiting", "ok", "suspect", "dead")


def metrics(found: Mapping[str, Any]) -> str:
    """The whole answer."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    ring, uplink = found["ring"], found["uplink"]
    yield from _one(
        "lamppost_up_seconds", "gauge", "Since the gateway program began.", found["up_seconds"]
    )
    yield from _one(
        "lamppost_readings_stored_total", "counter", "Readings ever stored.", ring["appended"]
    )
    yield from _one(
        "lamppost_readings_waiting", "gauge", "Readings not yet proved at the hub.", ring["waiting"]
    )
    yield from _one(
        "lamppost_readings_evicted_total", "counter", "Readings given up unproved.", ring["evicted"]
    )
    yield from _one(
        "lamppost_ring_bytes", "gauge", "What the ring takes on disk.", ring["bytes_used"]
    )
    yield from _one(
        "lamppost_ring_limit_bytes", "gauge", "What the ring may take.", ring["bytes_limit"]
    )
    yield from _one(
        "lamppost_uplink_connected",
        "gauge",
        "1 while the uplink stands.",
        int(uplink["state"] == "connected"),
    )
    yield from _one(
        "lamppost_batches_sent_total", "counter", "Batches sent.", uplink["batches_sent"]
    )
    yield from _one(
        "lamppost_receipts_verified_total",
        "counter",
        "Receipts verified.",
        uplink.get("receipts_verified", 0),
    )
    yield from _one(
        "lamppost_clock_synced",
        "gauge",
        "1 while something disciplines the clock.",
        int(found["clock"] == "synced"),
    )
    yield "# HELP lamppost_device_ok 1 while a device answers."
    yield "# TYPE lamppost_device_ok gauge"
    for device in found["devices"]:
        yield f"lamppost_device_ok{_label(device)} {int(device['state'] == 'ok')}"
    yield "# HELP lamppost_device_polls_total Requests to a device."
    yield "# TYPE lamppost_device_polls_total counter"
    for device in found["devices"]:
        yield f"lamppost_device_polls_total{_label(device)} {device['counts']['polls']}"


def _one(name: str, kind: str, text: str, value: float) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    yield f"{name} {value}"


def _label(device: Mapping[str, Any]) -> str:
    return f'{{device="{device["name"]}"}}'
