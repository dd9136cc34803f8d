"""What the next batch must know of the counters seen so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]  # (device, point)
Stand: TypeAlias = tuple[float, int]  # (what the counter showed, UTC nanoseconds of that reading)

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Carry:
    """The newest stand of each counter, and the meter identity that each device last told."""

    stands: Mapping[Key, Stand] = field(default_factory=lambda: MappingProxyType({}))
    meters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def to_bytes(self) -> bytes:
        """Compact JSON in a fixed order: equal carries give equal bytes."""
        stands: dict[str, dict[str, Stand]] = {}
        for (device, point), stand in sorted(self.stands.items()):
            stands.setdefault(device, {})[point] = stand
        content = {"v": _FORMAT, "stands": stands, "meters": dict(sorted(self.meters.items()))}
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Carry:
        """What `to_bytes` gave. Bytes of another format give an empty carry.

        Then the first delta of each counter is unknown, which the windows say; a gateway starts in any case.
        """
        try:
            content = json.loads(stored)
            if content["v"] != _FORMAT:
                return cls()
            stands = {
                (device, point): (value, int(utc))
                for device, points in content["stands"].items()
                for point, (value, utc) in points.items()
            }
            return cls(stands, dict(content["meters"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()
