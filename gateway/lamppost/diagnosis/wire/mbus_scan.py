"""Who is on an M-Bus? First by their numbers, digit by digit as far as several answer, then by primary addresses.

EN 13757-7 names the search by wildcards; meters that do not know secondary addresses are found by the second way only.
Nothing here changes a meter: it is reset, selected and asked for its values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamppost.diagnosis.wire.line import RawLine, text_of
from lamppost.diagnosis.wire.mbus import NETWORK_GAP, long_frames, patience
from lamppost.links.serial import LineSettings
from lamppost_drivers.contract import FrameError
from lamppost_drivers.mbus import frame, records
from lamppost_drivers.mbus.meter import model_of_medium

ADDRESSES = range(251)
"""Primary addresses; 0 is that of a new meter."""
_DIGITS = 8
_ACK = 1


@dataclass(slots=True)
class MeterFound:
    """A meter that answers, by what its telegram says of itself. `doubled`: several answer at once."""

    address: int
    line: str
    number: str = ""
    maker: str = ""
    version: int = 0
    medium: int = 0
    model: str = ""
    doubled: bool = False


Tell = Callable[[str], None]
Shown = Callable[[MeterFound], None]


class MbusScan:
    """One bus at its present settings. `timeout` as in `mbus.MbusPlan`."""

    def __init__(
        self, raw: RawLine, line: LineSettings, timeout: float | None, tell: Tell, shown: Shown
    ) -> None:
        self._raw = raw
        self._line = line
        self._text = text_of(line) if timeout is None else ""
        self._wait = patience(line, timeout)
        self._gap = 33 / line.baud + 0.05 if timeout is None else NETWORK_GAP
        self._tell = tell
        self._shown = shown

    async def by_number(self) -> list[MeterFound]:
        """Meters that know secondary addresses. Raises LinkError."""
        await self._raw.use(self._line)
        found: list[MeterFound] = []
        await self._search("", found)
        return found

    async def by_address(
        self, addresses: Sequence[int], known: Sequence[MeterFound]
    ) -> list[MeterFound]:
        """Meters at these primary addresses that are not among the `known` ones. Raises LinkError."""
        await self._raw.use(self._line)
        found: list[MeterFound] = []
        taken = {meter.address for meter in known}
        for turn, address in enumerate(addresses):
            left = (len(addresses) - turn) * self._wait
            self._tell(f"address {address}, {len(known) + len(found)} found, {left:.0f} s to go")
            if address in taken:
                continue
            heard = await self._raw.exchange(frame.reset(address), self._wait, limit=_ACK)
            if heard.data:
                self._take(found, await self._answer(address), address)
        return found

    async def _search(self, digits: str, found: list[MeterFound]) -> None:
        for digit in "0123456789":
            prefix = digits + digit
            self._tell(f"numbers {prefix:*<8}, {len(found)} found")
            wanted = frame.select(int(prefix.ljust(_DIGITS, "0")), len(prefix))
            if not (await self._raw.exchange(wanted, self._wait, limit=_ACK)).data:
                continue
            answer = await self._answer(frame.SELECTED)
            if len(_telegrams(answer)) == 1 or len(prefix) == _DIGITS:
                self._take(found, answer, None)
            else:  # several speak at once
                await self._search(prefix, found)

    async def _answer(self, address: int) -> bytes:
        return (await self._raw.exchange(frame.ask(address, True), self._wait, self._gap)).data

    def _take(self, found: list[MeterFound], answer: bytes, address: int | None) -> None:
        """Keep who answered; at an address even if only damage came, for somebody acknowledged."""
        telegrams = _telegrams(answer)
        if telegrams:
            meter = _named(telegrams[0], self._text)
            meter.doubled = len(telegrams) > 1
        elif address is not None or answer:
            meter = MeterFound(address or 0, self._text, doubled=bool(answer))
        else:
            return
        if any(meter.number and meter.number == each.number for each in found):
            return
        found.append(meter)
        self._shown(meter)


def _telegrams(data: bytes) -> list[frame.Answer]:
    return [frame.answer(each) for each in long_frames(data)]


def _named(answer: frame.Answer, line: str) -> MeterFound:
    found = MeterFound(answer.address, line)
    try:
        header = records.telegram(answer.ci, answer.data).header
    except FrameError:
        return found
    found.number, found.maker = header.identification, header.manufacturer
    found.version = header.version
    found.medium, found.model = header.medium, model_of_medium(header.medium)
    return found
