"""status → envelope → uplink: what this gateway says of itself, on change and at least every few minutes.

A change is worth a message when a state, a fault or the software changes, not when a number grows; two messages are
at least `APART` apart, so that a device which comes and goes does not eat a SIM card's month.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NoReturn

from lamppost import __version__
from lamppost.clock import Clock
from lamppost.envelope.heartbeat import MAX_TEXT, MAX_WRONG, Heartbeat, seal_heartbeat
from lamppost.envelope.identity import Identity

APART = 30.0  # seconds between two messages at least
LOOK = 5.0  # seconds
_GONE = ("suspect", "dead")


class Heartbeats:
    """Decides when to say what. `status` is the answer to the CLI, `tell` takes the sealed message.

    `utc` is None while the time is unknown; `identity` is None before enrolment; `tell` says whether it could go;
    `site` are the bytes of the local site file, which no signed configuration names.
    """

    def __init__(
        self,
        clock: Clock,
        every: float,
        *,
        status: Callable[[], Mapping[str, Any]],
        utc: Callable[[], int | None],
        identity: Callable[[], Identity | None],
        tell: Callable[[bytes], bool],
        site: bytes = b"",
    ) -> None:
        self._clock = clock
        self._every = every
        self._status = status
        self._utc = utc
        self._identity = identity
        self._tell = tell
        self._site = hashlib.sha256(site).hexdigest() if site else ""
        self._last: Heartbeat | None = None
        self._said = 0.0

    async def run(self) -> NoReturn:
        """For ever."""
        while True:
            self.look()
            await self._clock.sleep_until(self._clock.monotonic() + LOOK)

    def look(self) -> bool:
        """Say it if it is due; True if it was said."""
        who, now = self._identity(), self._clock.monotonic()
        since = now - self._said
        if who is None or (self._last is not None and since < APART):
            return False
        up = self._clock.now().ns
        beat = compose(self._status(), self._utc(), up, self._every, self._site)
        if self._last is not None and since < self._every and not worth_saying(self._last, beat):
            return False
        sealed = seal_heartbeat(
            beat, gateway=who.gateway, aud=who.hub, signer=who.signer, hub=who.hub_encryption
        )
        if not self._tell(sealed):
            return False
        self._last, self._said = beat, now
        return True


def compose(
    status: Mapping[str, Any], utc: int | None, boottime: int, every: float, site: str = ""
) -> Heartbeat:
    """The heartbeat out of `lamppost.status/1`; `site` is the SHA-256 of a local site file."""
    ring, configuration = status["ring"], status["configuration"]
    runs = configuration["runs"]
    return Heartbeat(
        at=(utc or 0) // 10**9,
        up=boottime // 10**9,
        every=round(every),
        version=__version__,
        code=installed(),
        serial=runs.get("serial", 0),
        site=(runs.get("sha256") or site)[:16],
        trial=configuration["state"],
        ring=ring["state"],
        clock=status["clock"],
        waiting=max(0, ring["waiting"]),
        lost=ring["evicted"],
        devices=len(status["devices"]),
        silent=sum(device["state"] in _GONE for device in status["devices"]),
        until=status.get("maintenance", {}).get("until", 0),
        wrong=tuple(code[:MAX_TEXT] for code in _wrong(status))[:MAX_WRONG],
    )


def worth_saying(last: Heartbeat, now: Heartbeat) -> bool:
    """Whether more has changed than numbers that always change."""
    return replace(last, at=0, up=0, waiting=0) != replace(now, at=0, up=0, waiting=0)


def _wrong(status: Mapping[str, Any]) -> list[str]:
    """Codes of what is not well: store, configuration, buses and devices."""
    found = []
    if status["ring"]["state"] != "ok":
        found.append(f"store.{status['ring']['state']}")
    found.append(status["configuration"]["fault"].get("code", ""))
    found += [f"alert.{alert['severity']}" for alert in status["alerts"]]
    found += [bus["fault"]["code"] for bus in status["buses"] if bus["state"] in _GONE]
    found += [device["reason"] for device in status["devices"] if device["state"] in _GONE]
    return list(dict.fromkeys(code for code in found if code))


@cache
def installed() -> str:
    """The start of the SHA-256 of the list of installed files (with their hashes); "" where there is none."""
    try:
        record = importlib.metadata.distribution("lamppost").read_text("RECORD")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return hashlib.sha256(record.encode()).hexdigest()[:16] if record else ""
