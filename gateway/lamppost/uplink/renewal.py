"""Certificates live 90 days and are renewed at two thirds of that, each gateway at a moment of its own.

The daemon runs `Renewal.run`; `due_at` is pure. After a long absence the certificate has ended: the renewal is due at
once, and the envelope key vouches where the certificate no longer can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from lamppost.clock import Clock
from lamppost.envelope import identity
from lamppost.errors import LamppostError
from lamppost.uplink import est
from lamppost.uplink.pause import signal_or_deadline

log = logging.getLogger("lamppost.renewal")

LOOK_EVERY = 3600.0  # seconds
SPREAD = 0.05  # of a certificate's life, to both sides: a fleet enrolled in one day does not come back in one hour


def due_at(gateway: str, not_before_ns: int, not_after_ns: int) -> int:
    """When to renew, UTC nanoseconds: about two thirds into the certificate's life, always the same for a gateway."""
    share = int.from_bytes(sha256(gateway.encode()).digest()[:4], "big") / 2**32
    life = not_after_ns - not_before_ns
    return not_before_ns + int(life * (2 / 3 + SPREAD * (2 * share - 1)))


class Renewal:
    """Watches the certificate of one identity folder.

    `utc` gives the time, None while it is unknown (then nothing is renewed); `adopted` is called, in the loop, after
    another bundle was installed.
    """

    def __init__(
        self,
        folder: Path,
        board: str,
        clock: Clock,
        utc: Callable[[], int | None],
        adopted: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._board = board
        self._clock = clock
        self._utc = utc
        self._adopted = adopted
        self._hurry = asyncio.Event()
        self.code = ""
        """Why the last renewal did not succeed; "" while all is well."""

    async def run(self) -> NoReturn:
        """Look every hour, for ever."""
        while True:
            now = self._hurry.is_set()
            self._hurry.clear()
            await self.look(now=now)
            deadline = self._clock.monotonic() + LOOK_EVERY
            await signal_or_deadline(self._clock, self._hurry, deadline)

    def hurry(self) -> None:
        """Renew now, due or not: a person asks for it."""
        self._hurry.set()

    async def look(self, *, now: bool = False) -> bool:
        """Renew if it is due, or `now`; True if another certificate was installed."""
        utc, url = self._utc(), identity.hub_url(self._folder)
        if utc is None or not url:
            return False
        try:
            found = await asyncio.to_thread(identity.load, self._folder)
            due = due_at(found.gateway, found.tls_not_before_ns, found.tls_not_after_ns)
            if utc < due and not now:
                return False
            await asyncio.to_thread(renew, self._folder, url, self._board)
        except LamppostError as failed:
            self.code = failed.code
            log.warning(
                "the certificate is not renewed: %s (%s); %s", failed, failed.code, failed.hint
            )
            return False
        self.code = ""
        log.info("the certificate is renewed")
        self._adopted()
        return True


def renew(folder: Path, url: str, board: str) -> None:
    """Ask for the next certificate and install it. Blocking. Raises LamppostError and changes nothing in use."""
    ca = (folder / "server-ca.pem").read_text("ascii")
    request = identity.request(folder, board=board)
    identity.install(folder, est.renew(url, ca, folder / identity.TLS, request))
