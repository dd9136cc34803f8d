"""Examines a device on a UART of its own: one that talks is listened to, one that must be asked is asked.

Bytes without a sound frame are tried as every other model that talks at these settings, then at other speeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lamppost.acquire.conversation import FIRST_BYTE, play
from lamppost.clock import Clock
from lamppost.diagnosis.facts import Trial, Unit
from lamppost.diagnosis.wire.line import RawLine, takes, text_of
from lamppost.errors import LinkError
from lamppost.links.faults import no_answer
from lamppost.links.serial import LineSettings
from lamppost.model import Quality
from lamppost_drivers.contract import (
    Driver,
    ExchangeDriver,
    FrameError,
    Read,
    Serial,
    StreamDriver,
)
from lamppost_drivers.framing import Framer

_ENOUGH = 3
_LONGEST = 8.0
_PIECE = 0.25
_BAUDS = (9600, 115200, 19200, 38400, 4800, 2400)
_TRIES = 2
_ROUNDS = 5
_PATIENT_PERIODS = 1.6
"""Bytes came for so many periods and not one sound frame among them: it is worth trying something else."""


def line_of(serial: Serial) -> LineSettings:
    """How a driver's device leaves the factory."""
    return LineSettings(serial.baud, serial.parity, serial.stop_bits, serial.data_bits)


async def listen(
    raw: RawLine,
    device: str,
    driver: StreamDriver,
    line: LineSettings,
    others: Iterable[Driver],
    clock: Clock,
    until: float,
    tell: Callable[[str], None],
) -> Unit:
    """A device that talks. Raises LinkError."""
    await raw.use(line)
    began = clock.monotonic()
    limit = min(began + max(3 * driver.period, 1.0), began + _LONGEST, until - 0.5)
    if driver.wake:
        await raw.exchange(driver.wake, 0.0)
    tell(f"{device}: listening at {text_of(line)}")
    heard, frames, dropped = await _frames(raw, driver, clock, limit)
    seconds = clock.monotonic() - began
    other = ""
    swept: list[Trial] = []
    if heard and not frames:
        other = _named(heard, driver, line, others)
        if not other:
            swept = await _speeds(raw, device, driver, line, clock, until, tell)
    return Unit(
        device=device,
        model=driver.model,
        period=driver.period,
        frames=frames,
        bad_frames=dropped,
        bytes=len(heard),
        seconds=round(seconds, 1),
        other_model=other,
        swept=swept,
    )


async def _frames(
    raw: RawLine, driver: StreamDriver, clock: Clock, limit: float
) -> tuple[bytes, int, int]:
    """Bytes, sound frames and places where bytes had to be dropped, until `limit` or enough sound frames."""
    framer, heard, frames, drops = Framer(driver.framing), b"", 0, 0
    hopeless = clock.monotonic() + _PATIENT_PERIODS * driver.period
    while frames < _ENOUGH and clock.monotonic() < limit:
        if heard and not frames and clock.monotonic() > hopeless:
            break
        piece = (await raw.exchange(b"", _PIECE, 0.0, 2000)).data
        heard += piece
        before, sound = framer.dropped, frames
        for frame in framer.feed(piece):
            if _decodes(driver, frame):
                # Before the first sound frame lies the end of one that began before we listened, or more than that.
                drops += frames == 0 and framer.dropped >= len(frame)
                frames += 1
        drops += sound > 0 and framer.dropped > before
    return heard, frames, drops


def _decodes(driver: StreamDriver, frame: bytes) -> bool:
    try:
        driver.decode(frame)
    except FrameError:
        return False
    return True


def _named(heard: bytes, driver: StreamDriver, line: LineSettings, others: Iterable[Driver]) -> str:
    """Another model whose sound frames these bytes hold."""
    for other in others:
        if not isinstance(other, StreamDriver) or other.model == driver.model:
            continue
        if line_of(other.serial).baud != line.baud:
            continue
        if any(_decodes(other, frame) for frame in Framer(other.framing).feed(heard)):
            return other.model
    return ""


async def _speeds(
    raw: RawLine,
    device: str,
    driver: StreamDriver,
    line: LineSettings,
    clock: Clock,
    until: float,
    tell: Callable[[str], None],
) -> list[Trial]:
    swept = []
    for other in _lines(driver, line):
        wait = max(1.3 * driver.period, 0.6)
        if clock.monotonic() + wait > until:
            break
        if not await takes(raw, other):
            continue
        tell(f"{device}: listening at {text_of(other)}")
        heard, frames, _ = await _frames(raw, driver, clock, clock.monotonic() + wait)
        outcome = "good" if frames else ("damaged" if heard else "silent")
        swept.append(Trial(line=text_of(other), outcome=outcome, got=len(heard)))
        if frames:
            break
    return swept


def _lines(driver: StreamDriver, now: LineSettings) -> Iterator[LineSettings]:
    tried = {now}
    for line in (
        line_of(driver.serial),
        *(LineSettings(baud, now.parity, now.stop_bits, now.data_bits) for baud in _BAUDS),
    ):
        if line not in tried:
            tried.add(line)
            yield line


class RawPeer:
    """A device that is asked over a raw line; what is sent goes out when its answer is waited for."""

    def __init__(self, raw: RawLine, where: str) -> None:
        self._raw = raw
        self._where = where
        self._unsent = b""
        self.heard = b""

    async def send(self, data: bytes) -> None:
        """See `conversation.Peer`."""
        if self._unsent:
            await self._raw.exchange(self._unsent, 0.0)
        self._unsent = data

    async def receive(self, read: Read) -> bytes:
        """See `conversation.Peer`."""
        data, self._unsent = self._unsent, b""
        found = (await self._raw.exchange(data, FIRST_BYTE, 0.05, read.count)).data
        self.heard += found
        if not found and not read.optional:
            raise no_answer(self._where, FIRST_BYTE)
        return found[: read.count]


async def asked(
    raw: RawLine, device: str, driver: ExchangeDriver, line: LineSettings, clock: Clock
) -> Unit:
    """A device that is asked in its own words. Its set-up is not played: only what reads is."""
    await raw.use(line)
    trials: list[Trial] = []
    for turn in range(_ROUNDS):
        if turn >= _TRIES and all(trial.outcome == "silent" for trial in trials):
            break  # nobody is there; who answers is asked on, for a loose wire shows only then
        peer = RawPeer(raw, device)
        outcome = "silent"
        try:
            values = await play(driver.model, peer, clock, driver.measure(driver.address))
            outcome = "damaged" if isinstance(values, Quality) else "good"
        except LinkError as error:
            if error.code not in ("link.no-answer", "link.corrupt"):
                raise
            outcome = "damaged" if peer.heard else "silent"
        heard = peer.heard[:64].hex()
        trials.append(Trial(line=text_of(line), outcome=outcome, got=len(peer.heard), heard=heard))
    return Unit(device=device, model=driver.model, trials=trials)
