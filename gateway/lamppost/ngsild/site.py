"""What the mapping must know of a site: plain values, made by the daemon from configuration and drivers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

PointPlan: TypeAlias = tuple[str, str, str]  # (name, unit symbol, "gauge" or "counter")


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device: its name in the site, its model, the products behind the model, and its points.

    `metering_since` (UTC nanoseconds) is when its counters began, where the site knows it.
    """

    name: str
    model: str
    products: str = ""
    points: tuple[PointPlan, ...] = ()
    description: str = ""
    metering_since: int | None = None


@dataclass(frozen=True, slots=True)
class SitePlan:
    """One gateway and its devices. `place` is (longitude, latitude) in degrees, WGS 84.

    `datasets`: aggregates are instances with a datasetId, not sub-properties.
    """

    gateway: str
    place: tuple[float, float] | None = None
    source: str = ""
    data_provider: str = ""
    devices: tuple[DevicePlan, ...] = ()
    description: str = ""
    datasets: bool = False


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How a device is, in one word or reason, and when its newest value was observed (UTC nanoseconds)."""

    state: str
    last: int | None = None
