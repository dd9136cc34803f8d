"""What happens on one serial segment, as a pure model: the caller brings bytes and the time, nothing here waits.

Half-duplex by default: one party at a time, and whoever talks over another destroys both. A frame ends when the
line was silent for 3.5 characters (1.75 ms above 19200 baud: Modbus over serial line 1.02, clause 2.5.1.1).
Units hear the driver only, never one another.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import asdict, dataclass, field
from typing import Any

from hwsim.delivery import Delivery
from hwsim.device import Device

SPEED_TOLERANCE = 0.03
"""Two ends of a line understand one another while their speeds differ by less than this share."""

_TOUCH = 1e-6
_REMEMBER = 1.0


@dataclass(slots=True)
class Burst:
    """Bytes that follow one another on the wire without a pause; `data` is changed where a collision hits it."""

    source: object
    start: float
    byte_time: float
    data: bytearray

    @property
    def end(self) -> float:
        """When the last bit has passed."""
        return self.start + len(self.data) * self.byte_time

    def strike(self, start: float, end: float, rng: random.Random) -> None:
        """Destroy the bytes that are on the wire between `start` and `end`."""
        for index in range(len(self.data)):
            at = self.start + index * self.byte_time
            if at < end and at + self.byte_time > start:
                self.data[index] ^= rng.randrange(1, 256)


@dataclass(slots=True)
class Stats:
    """What a line counted. Times in seconds of the line's clock; bytes as they passed on the wire."""

    since: float = 0.0
    frames: int = 0
    """Frames of the driver that silence ended."""
    splits: int = 0
    """Pauses inside a frame of the driver that were shorter than the silence which ends it."""
    from_driver: int = 0
    to_driver: int = 0
    lost: int = 0
    """Bytes towards the driver while nobody had the port open, or its buffer was full."""
    flipped_bits: int = 0
    collisions: int = 0
    violations: int = 0
    """Frames of the driver that began sooner than 3.5 characters after the last byte on the wire."""
    smallest_gap: float | None = None
    """The shortest silence seen before a frame of the driver; below zero it talked over somebody."""
    busy: float = 0.0
    """Time in which bytes were on the wire."""
    occupied: float = 0.0
    """`busy`, and the silences and turnarounds in which nobody else may use the line."""
    late: float = 0.0
    """The worst delay of our own pacing: a byte handed over this much after its time."""
    requests: dict[int, int] = field(default_factory=dict)
    """Frames of the driver by their first byte: in Modbus RTU the unit id."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Wire:
    """One segment. `baud` None means: whatever speed the driver sets is right.

    `bits` a character on the wire (10 for 8N1, 11 for 8E1 and 8N2). `form` "8E1" sets them, and turns what a driver
    with another size or parity hears and says into garbage. `granularity`: see `delivery.Delivery`.
    """

    def __init__(
        self,
        baud: int | None = 9600,
        bits: int = 10,
        *,
        form: str | None = None,
        half_duplex: bool = True,
        echo: bool = False,
        bit_error_rate: float = 0.0,
        granularity: str = "byte",
        silence: float | None = None,
        seed: int = 0,
    ) -> None:
        self.baud = baud
        self.bits = 1 + int(form[0]) + (form[1] != "N") + int(form[2]) if form else bits
        self.form = form
        self.driver_form = form
        """What the driver set last; the caller keeps it."""
        self.half_duplex = half_duplex
        self.echo = echo
        self.bit_error_rate = bit_error_rate
        self.stats = Stats()
        self.devices: list[Device] = []
        self._delivery = Delivery(granularity)
        self._silence = silence
        self._random = random.Random(seed)
        self._speed = baud or 9600
        self._frame: list[Burst] = []
        self._frame_due: float | None = None
        self._recent: list[Burst] = []
        self._quiet_from = float("-inf")
        self._queue: list[tuple[float, int, Burst, int, int]] = []
        self._count = 0
        self._share = 0.0

    # --- measures of the line

    @property
    def byte_time(self) -> float:
        """Seconds a character takes at the line's own speed."""
        return self.bits / (self.baud or self._speed)

    @property
    def silence(self) -> float:
        """Seconds without a byte that end a frame, and that a driver must keep before the next."""
        if self._silence is not None:
            return self._silence
        return 3.5 * self.byte_time if (self.baud or self._speed) <= 19200 else 0.00175

    def deadline(self) -> float | None:
        """When `step` has something to do next, if nothing else happens."""
        times = [talk for device in self.devices if (talk := device.next_talk()) is not None]
        if self._frame_due is not None:
            times.append(self._frame_due)
        if self._queue:
            times.append(self._queue[0][0])
        return min(times, default=None)

    # --- what happens

    def attach(self, device: Device, now: float) -> None:
        """Connect a device to the line."""
        device.attached(now)
        self.devices.append(device)

    def clear(self) -> None:
        """Forget everything under way: the adapter was pulled out."""
        self._frame.clear()
        self._frame_due = None
        self._recent.clear()
        self._queue.clear()
        self._quiet_from = float("-inf")

    def driver_wrote(self, data: bytes, now: float, speed: int) -> None:
        """The driver's side handed over bytes at `now`; they follow what it is still sending."""
        self._speed = speed or self._speed
        if self._frame_due is not None and now >= self._frame_due:
            self._end_frame()
        byte_time = self.bits / self._speed
        start = now
        if self._frame:
            start = max(now, self._frame[-1].end)
            self.stats.splits += start > self._frame[-1].end + _TOUCH
        else:
            self._measure_gap(now)
        burst = self._put(self, start, byte_time, self._at_line_speed(data))
        self.stats.from_driver += len(data)
        self.stats.occupied += burst.end - burst.start
        self._frame.append(burst)
        self._frame_due = burst.end + self.silence
        if self.echo:
            self._deliver(burst)

    def inject(self, data: bytes, now: float, source: object = None) -> None:
        """Put bytes on the wire that no device sent: noise, a break (one zero byte), a stranger."""
        self._deliver(self._put(source or object(), now, self.byte_time, data))

    def step(self, now: float, speed: int | None) -> bytes:
        """Do all that is due by `now`; returns what reaches the driver, whose speed is `speed` (None: port closed)."""
        if self._frame_due is not None and now >= self._frame_due:
            self._end_frame()
        self._talk(now)
        arrived = bytearray()
        while self._queue and self._queue[0][0] <= now:
            due, _, burst, low, high = heapq.heappop(self._queue)
            self.stats.late = max(self.stats.late, now - due)
            arrived += burst.data[low:high]
        if speed is None:
            self.stats.lost += len(arrived)
            return b""
        self._speed = speed or self._speed
        return self._at_driver_speed(bytes(arrived))

    # --- inside

    def _measure_gap(self, now: float) -> None:
        """A new frame of the driver begins at `now`: how long was the line silent before?"""
        ended = max((b.end for b in self._recent if b.start <= now), default=self._quiet_from)
        gap = now - ended
        if gap == float("inf") or not self.half_duplex:
            return
        if self.stats.smallest_gap is None or gap < self.stats.smallest_gap:
            self.stats.smallest_gap = gap
        self.stats.violations += gap < self.silence - _TOUCH

    def _end_frame(self) -> None:
        assert self._frame_due is not None
        ended, heard = self._frame_due, b"".join(bytes(burst.data) for burst in self._frame)
        self._frame.clear()
        self._frame_due = None
        self.stats.frames += 1
        self.stats.occupied += self.silence
        if heard:
            self.stats.requests[heard[0]] = self.stats.requests.get(heard[0], 0) + 1
        for device in list(self.devices):
            free = ended
            for delay, answer in device.hear(heard, ended):
                burst = self._put(device, max(ended + delay, free), self.byte_time, answer)
                self.stats.occupied += max(0.0, burst.start - free) + burst.end - burst.start
                self.stats.occupied += self.silence
                free = burst.end + self.silence
                self._deliver(burst)

    def _talk(self, now: float) -> None:
        for device in self.devices:
            while (due := device.next_talk()) is not None and due <= now:
                said = device.talk(now, self.byte_time)
                if not said:
                    continue
                burst = self._put(device, due, self.byte_time, said)
                self.stats.occupied += burst.end - burst.start
                self._deliver(burst)

    def _put(self, source: object, start: float, byte_time: float, data: bytes) -> Burst:
        """Bytes go onto the wire: count them, spoil them, and let them collide."""
        burst = Burst(source, start, byte_time, self._with_bit_errors(data))
        self.stats.busy += burst.end - burst.start
        while self._recent and self._recent[0].end < start - _REMEMBER:
            self._quiet_from = max(self._quiet_from, self._recent.pop(0).end)
        if self.half_duplex:
            for other in self._recent:
                low, high = max(burst.start, other.start), min(burst.end, other.end)
                if other.source is not source and high - low > _TOUCH:
                    self.stats.collisions += 1
                    burst.strike(low, high, self._random)
                    other.strike(low, high, self._random)
        self._recent.append(burst)
        return burst

    def _deliver(self, burst: Burst) -> None:
        """Queue a burst towards the driver, in the pieces in which its adapter hands bytes over."""
        self.stats.to_driver += len(burst.data)
        pieces = self._delivery.pieces(burst.start, burst.byte_time, len(burst.data))
        for at, low, high in pieces:
            self._count += 1
            heapq.heappush(self._queue, (at, self._count, burst, low, high))

    def _with_bit_errors(self, data: bytes) -> bytearray:
        spoilt = bytearray(data)
        if self.bit_error_rate > 0:
            for bit in range(len(spoilt) * 8):
                if self._random.random() < self.bit_error_rate:
                    spoilt[bit // 8] ^= 1 << bit % 8
                    self.stats.flipped_bits += 1
        return spoilt

    def _mismatch(self) -> bool:
        if self.form and self.driver_form and self.form[:2] != self.driver_form[:2]:
            return True
        return self.baud is not None and abs(self._speed / self.baud - 1) > SPEED_TOLERANCE

    def _at_line_speed(self, data: bytes) -> bytes:
        """What a unit at the line's speed sees of the driver's bytes: garbage if the speeds differ."""
        return self._random.randbytes(len(data)) if self._mismatch() else data

    def _at_driver_speed(self, data: bytes) -> bytes:
        """What the driver's receiver makes of the line's bytes: as many characters of garbage as fit the time."""
        if not data or not self._mismatch():
            return data
        self._share += len(data) * self._speed / (self.baud or self._speed)
        count, self._share = int(self._share), self._share % 1
        return self._random.randbytes(count)
