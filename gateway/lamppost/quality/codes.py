"""The reasons a reading may carry, each with its severity and its OPC UA status code (OPC 10000-8, OPC 10000-4)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lamppost.model import GOOD, Quality, Severity

STATUS_CODES: Mapping[str, int] = MappingProxyType(
    {
        "good": 0x00000000,
        "step": 0x40000000,
        "stuck": 0x40000000,
        "stale": 0x40900000,
        "at_limit": 0x40930000,
        "out_of_range": 0x40940000,
        "partial": 0x40A40000,
        "maintenance": 0x42080000,
        "simulated": 0x42090000,
        "calibration_due": 0x420A0000,
        "driver_error": 0x80000000,
        "no_response": 0x80310000,
        "corrupt": 0x80380000,
        "not_connected": 0x808A0000,
        "device_fault": 0x808B0000,
        "sensor_fault": 0x808C0000,
        "disabled": 0x808D0000,
        "not_available": 0x809B0000,
        "gap": 0x809D0000,
    }
)


def severity_of(status_code: int) -> Severity:
    """The severity in the two top bits of an OPC UA status code (OPC 10000-4, clause 7.39)."""
    return Severity(min(status_code >> 30, Severity.BAD))


_QUALITIES: Mapping[str, Quality] = {
    reason: GOOD if reason == "good" else Quality(severity_of(code), reason)
    for reason, code in STATUS_CODES.items()
}


def quality(reason: str) -> Quality:
    """The quality of a reason; the same object each time. Raises KeyError for a reason that is not in the table."""
    return _QUALITIES[reason]


def status_code(quality: Quality) -> int:
    """The OPC UA status code of a quality. Raises KeyError for a reason that is not in the table."""
    return STATUS_CODES[quality.reason]


def worst(first: Quality, second: Quality) -> Quality:
    """The worse of two; at equal severity the first, whose reason was there before."""
    return second if second.severity > first.severity else first
