"""A sensor that talks by itself, listened to for a few frames: what counts as damage, and what does not."""

from __future__ import annotations

from typing import cast

import pytest

from fakes.virtual_clock import VirtualClock, run
from lamppost.diagnosis.wire.line import Heard, RawLine
from lamppost.diagnosis.wire.talking import line_of, listen
from lamppost_drivers.contract import StreamDriver
from lamppost_drivers.library import LIBRARY

SOUND = bytes.fromhex("424d001c000b00110015000a00100014099c02ee0079000e000300010000032a")
DAMAGED = SOUND[:9] + b"\x55" + SOUND[10:]


class Talker:
    """A line on which a piece comes every second."""

    where = "fake"

    def __init__(self, pieces: list[bytes], clock: VirtualClock) -> None:
        self.pieces, self.clock = pieces, clock

    async def use(self, line: object) -> None: ...

    async def exchange(
        self, data: bytes, wait: float, quiet: float = 0.03, limit: int = 600
    ) -> Heard:
        await self.clock.sleep_until(self.clock.monotonic() + 1.0)
        return Heard(((0.0, self.pieces.pop(0)),) if self.pieces else ())


@pytest.mark.parametrize(
    ("pieces", "damaged"),
    [
        ([SOUND] * 3, 0),
        ([SOUND[20:] + SOUND, SOUND, SOUND], 0),
        ([DAMAGED, SOUND, SOUND, SOUND], 1),
        ([SOUND, DAMAGED, SOUND, SOUND], 1),
    ],
    ids=["sound", "it began before we listened", "first", "between"],
)
def test_damage_is_a_whole_frame_that_is_not_sound(pieces: list[bytes], damaged: int) -> None:
    driver = LIBRARY["pms5003"]
    assert isinstance(driver, StreamDriver)

    async def main(clock: VirtualClock) -> tuple[int, int]:
        raw = cast(RawLine, Talker(list(pieces), clock))
        unit = await listen(
            raw,
            "air",
            driver,
            line_of(driver.serial),
            [],
            clock,
            clock.monotonic() + 60,
            lambda _: None,
        )
        return unit.frames, unit.bad_frames

    assert run(main) == (3, damaged)
