"""Beside a server: signs snapshot and timestamp when it starts and once a day. A week without is what gateways bear."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path

from lamppost.errors import LamppostError
from lamppost_hub.clock import Clock
from lamppost_hub.publish import office

log = logging.getLogger("lamppost_hub.publish")

EVERY = 86400.0
AGAIN = 60.0


async def beside(server: Awaitable[None], root: Path, clock: Clock) -> None:
    """Until the server ends."""
    task = asyncio.create_task(_signed(root, clock))
    try:
        await server
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _signed(root: Path, clock: Clock) -> None:
    while True:
        try:
            await asyncio.to_thread(sign, root, clock.utc())
        except LamppostError as error:
            level = logging.INFO if error.code == "publish.not-initialised" else logging.ERROR
            log.log(level, "%s: %s", error.code, error)
            await clock.sleep(AGAIN)
            continue
        await clock.sleep(EVERY)


def sign(root: Path, utc: int) -> None:
    """Sign what is current. Raises PublishError, PublishRefused, OSError."""
    with office.repository(root) as repo:
        if not repo.ends():
            raise office.not_begun(root)
        repo.refresh(utc)
