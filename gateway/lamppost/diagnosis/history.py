"""What stored readings tell of a sensor: counters that ran backwards, values that stand still. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

STILL_READINGS, STILL_SECONDS = 120, 1800.0
"""A measured value that is the same to its last bit in so many readings over so long stands still."""
_NS = 1_000_000_000


class Stored(Protocol):
    """A stored reading, as `cli.card.Row` is one."""

    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def point(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> Any: ...  # noqa: D102
    @property
    def quality(self) -> str: ...  # noqa: D102
    @property
    def boot(self) -> str: ...  # noqa: D102
    @property
    def boottime_ns(self) -> int: ...  # noqa: D102


@dataclass(slots=True)
class _Past:
    value: float
    boot: str
    since: int
    at: int
    same: int = 1
    back: tuple[float, float] | None = field(default=None)


def told(
    rows: Iterable[Stored], kinds: Mapping[tuple[str, str], str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Counters that ran back, and gauges that stand still. `kinds`: gauge or counter, by device and point."""
    pasts: dict[tuple[str, str], _Past] = {}
    for row in rows:
        key, value = (row.device, row.point), row.value
        if row.quality == "bad" or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        past = pasts.get(key)
        if past is None:
            pasts[key] = _Past(float(value), row.boot, row.boottime_ns, row.boottime_ns)
        else:
            _go_on(past, row, float(value))
    back = [
        {"device": d, "point": p, "before": f"{past.back[0]:g}", "after": f"{past.back[1]:g}"}
        for (d, p), past in pasts.items()
        if past.back is not None and kinds.get((d, p)) == "counter"
    ]
    still = [
        {"device": d, "point": p, "readings": past.same, "seconds": (past.at - past.since) // _NS}
        for (d, p), past in pasts.items()
        if kinds.get((d, p)) == "gauge" and _stands(past)
    ]
    return back, still


def _go_on(past: _Past, row: Stored, value: float) -> None:
    if value < past.value:
        past.back = past.value, value
    if value == past.value and row.boot == past.boot:
        past.same += 1
    else:
        past.since, past.same, past.boot = row.boottime_ns, 1, row.boot
    past.value, past.at = value, row.boottime_ns


def _stands(past: _Past) -> bool:
    """Only values with a fraction: whole numbers and zero stand still by right."""
    measured = past.value != 0 and past.value != int(past.value)
    long = (past.at - past.since) / _NS >= STILL_SECONDS
    return measured and long and past.same >= STILL_READINGS
