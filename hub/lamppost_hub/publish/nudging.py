"""Tells gateways that there is something new, over the receiver's connection: signed, and nothing but a hint."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from lamppost.envelope.keys import Signer
from lamppost.envelope.receipt import issue_statement
from lamppost_hub.clock import Clock
from lamppost_hub.files import durable_write
from lamppost_hub.intake import Answer

log = logging.getLogger("lamppost_hub.publish")

LOOK = 1.0  # seconds between two looks at the file
MARK = "nudge.json"


def mark(folder: Path, gateways: Iterable[str], utc: int) -> None:
    """Leave word for the receiver: these gateways should look."""
    content = {"at": utc, "gateways": sorted(gateways)}
    durable_write(folder / MARK, json.dumps(content).encode())


class Nudger:
    """Sends what `mark` left. A gateway that is not connected looks by itself, at its next interval."""

    def __init__(
        self,
        folder: Path,
        signer: Signer,
        clock: Clock,
        send: Callable[[Answer], Awaitable[bool]],
    ) -> None:
        self._folder = folder
        self._signer = signer
        self._clock = clock
        self._send = send
        self._told = self._read()[0]

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(LOOK)
            at, gateways = self._read()
            if at > self._told and await self._tell(gateways):
                self._told = at

    async def _tell(self, gateways: list[str]) -> bool:
        """False where there is no connection now."""
        for gateway in gateways:
            said = {"kind": "nudge", "code": "configuration"}
            payload = issue_statement(self._signer, gateway, said)
            if not await self._send(Answer(f"lamppost/{gateway}/down", payload)):
                return False
        log.info("%d gateways were told to look for a configuration", len(gateways))
        return True

    def _read(self) -> tuple[int, list[str]]:
        try:
            found = json.loads((self._folder / MARK).read_bytes())
            return int(found["at"]), [str(gateway) for gateway in found["gateways"]]
        except (OSError, ValueError, LookupError, TypeError):
            return 0, []
