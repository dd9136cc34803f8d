"""Somebody works at this gateway until then, and why: kept through a restart, told to the hub, over by itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamppost.clock import Clock
from lamppost.errors import StoreError
from lamppost.files import durable_write

LONGEST = 24 * 3600.0
_TEXT = 120


class Maintenance:
    """At most one time of maintenance. It ends by the boot clock, or at the next start after its end in UTC."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._said: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and isinstance(found.get("until"), int):
                self._said = found

    def report(self) -> dict[str, Any]:
        """`until` (UTC seconds), `reason`, `by`; empty when nobody works here."""
        return dict(self._said) if self._said and self._left() > 0 else {}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The control socket's `maintenance`: `seconds` above 0 begins it, 0 ends it. Raises StoreError."""
        seconds = min(LONGEST, max(0.0, float(request.get("seconds", 0))))
        said: dict[str, Any] = {}
        if seconds:
            said = {
                "until": round(self._clock.utc() / 1e9 + seconds),
                "reason": str(request.get("reason", ""))[:_TEXT],
                "by": str(request.get("by", ""))[:_TEXT],
            }
        try:
            durable_write(self._path, json.dumps(said).encode(), 0o640)
        except OSError as error:
            raise StoreError(
                f"{self._path}: {error.strerror}",
                code="store.not-written",
                hint="lamppost doctor storage",
            ) from error
        self._said = said
        return {"schema": "lamppost.maintenance/1", "maintenance": self.report()}

    def _left(self) -> float:
        return float(self._said["until"]) - self._clock.utc() / 1e9
