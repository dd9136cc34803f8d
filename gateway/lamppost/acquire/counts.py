"""Totals of pulse counters that survive restarts and power cuts: one small durable file for all of a link.

A total is `base + pulses × per pulse`, in the counter's unit. When the site changes what a pulse is worth, what was
counted stays as it is and only later pulses are worth more or less.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lamppost.files import durable_write

SCHEMA = "lamppost.counts/1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Total:
    """What a counter stands at."""

    base: float
    pulses: int
    per_pulse: float

    @property
    def value(self) -> float:
        """In the counter's unit."""
        return self.base + self.pulses * self.per_pulse

    def plus(self, pulses: int) -> Total:
        """After so many more."""
        return Total(self.base, self.pulses + pulses, self.per_pulse)

    def worth(self, per_pulse: float) -> Total:
        """The same total, from which on a pulse is worth `per_pulse`."""
        return self if per_pulse == self.per_pulse else Total(self.value, 0, per_pulse)


class CountsFile:
    """Totals by device name. A file that cannot be read is set aside, and counting begins at zero."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._others: dict[str, Total] = {}

    def load(self) -> Mapping[str, Total]:
        """What was saved last; empty at the very beginning."""
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            self._others = _parse(raw)
        except (ValueError, TypeError, KeyError, AttributeError) as damage:
            aside = self.path.with_name(self.path.name + ".damaged")
            _log.error("%s: %s; set aside as %s, counts begin at zero", self.path, damage, aside)
            durable_write(aside, raw)
        return self._others

    def save(self, totals: Mapping[str, Total]) -> None:
        """Make totals durable; devices that are not among them keep theirs. Raises OSError."""
        kept = {**self._others, **totals}
        content = {"schema": SCHEMA, "counts": {n: asdict(t) for n, t in sorted(kept.items())}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        durable_write(self.path, json.dumps(content, indent=1).encode() + b"\n")


def _parse(raw: bytes) -> dict[str, Total]:
    content = json.loads(raw)
    if content["schema"] != SCHEMA:
        raise ValueError(f"not {SCHEMA}")
    return {
        name: Total(float(each["base"]), int(each["pulses"]), float(each["per_pulse"]))
        for name, each in content["counts"].items()
    }
