"""Windows and plans for the mapping's tests."""

from __future__ import annotations

from lamppost.model import GOOD, Quality, Scalar, Severity, TimeQuality, Window
from lamppost.ngsild.entities import DevicePlan, SitePlan

SECOND = 1_000_000_000
START = 1_764_000_000 * SECOND  # 2025-11-24T16:00:00Z
MINUTE = 60 * SECOND
NO_RESPONSE = Quality(Severity.BAD, "no_response")


def gauge(point: str, value: float, *, device: str = "dev", start: int = START) -> Window:
    return Window(
        device=device,
        point=point,
        start=start,
        end=start + MINUTE,
        observed=start + 59 * SECOND,
        time_quality=TimeQuality.SYNCED,
        quality=GOOD,
        good=60,
        uncertain=0,
        bad=0,
        last=value,
        mean=value,
        low=value - 1,
        high=value + 1,
    )


def counter(
    point: str, last: Scalar, delta: float | None = None, *, device: str = "dev", start: int = START
) -> Window:
    return Window(
        device=device,
        point=point,
        start=start,
        end=start + MINUTE,
        observed=start + 50 * SECOND,
        time_quality=TimeQuality.SYNCED,
        quality=GOOD,
        good=6,
        uncertain=0,
        bad=0,
        last=last,
        delta=delta,
    )


def silent(point: str, *, device: str = "dev", start: int = START) -> Window:
    return Window(
        device=device,
        point=point,
        start=start,
        end=start + MINUTE,
        observed=start + 59 * SECOND,
        time_quality=TimeQuality.SYNCED,
        quality=NO_RESPONSE,
        good=0,
        uncertain=0,
        bad=60,
    )


def plan(*points: tuple[str, str], device: str = "dev", since: int | None = START) -> SitePlan:
    named = tuple((name, symbol, "gauge") for name, symbol in points)
    return SitePlan(
        gateway="gw-1",
        place=(9.19, 45.46),
        source="https://lamppost.example",
        data_provider="City of Example",
        devices=(DevicePlan(device, "sdm630", "Eastron SDM630", named, "north cabinet", since),),
    )
