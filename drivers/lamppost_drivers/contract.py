"""What a driver is: a frozen value plus pure functions.

The gateway owns ports, locks, retries, time, quality limits and logs. `FrameError` is a driver's only exception;
`Absent` is a value. The shapes differ by who speaks: stream, exchange, register map, broadcast, pulse.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Scalar: TypeAlias = float | int | bool | str


class Absent(enum.Enum):
    """Why a point has no value in an otherwise sound frame."""

    NOT_AVAILABLE = "not_available"
    SENSOR_FAULT = "sensor_fault"
    WARMING_UP = "warming_up"


Values: TypeAlias = Mapping[str, Scalar | Absent]


class Kind(enum.Enum):
    """A gauge is a level at an instant; a counter only grows, but for rollover, reset and exchange."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Point:
    """One named quantity of a model.

    `name` is lower-case and dotted and never holds the unit; `unit` is a SenML symbol (RFC 8428, RFC 8798) or
    the field's own where SenML has none; `low` and `high` bound what is plausible and are never used to clip.
    """

    name: str
    unit: str
    low: float
    high: float
    kind: Kind = Kind.GAUGE


class FrameError(Exception):
    """The bytes are not a sound frame: wrong length, checksum or field."""


@dataclass(frozen=True, slots=True)
class Serial:
    """Line settings of a device as it leaves the factory; a site may say otherwise."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1
    data_bits: Literal[7, 8] = 8


@dataclass(frozen=True, slots=True)
class Documentation:
    """What the device list says of a model: products it fits, where its facts come from, what to beware of."""

    products: tuple[str, ...]
    source: str
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vector:
    """Bytes in, values out, with provenance; `expect` is None where the frame must be refused.

    For exchanges, `reply` holds what the device answers to each Read in turn; for register maps, `registers`
    holds blocks by zero-based address. `advertisement` and `key` are what a
    broadcast driver is given.
    """

    note: str
    expect: Values | None
    frame: bytes = b""
    reply: tuple[bytes, ...] = ()
    registers: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    advertisement: Advertisement | None = None
    key: bytes = b""


# -- stream: the device talks on its own ---------------------------------------------------------------------


class Framing:
    """Cuts one kind of frame out of a byte stream. Implementations hold settings, no state."""

    __slots__ = ()

    def cut(self, buffer: bytes) -> tuple[int, bytes | None]:
        """Look at the start of `buffer`: (bytes to drop, a whole checked frame or None if more is needed).

        A frame counts among the bytes to drop. Returns (0, None) to wait for more bytes.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class StreamDriver:
    """It talks unasked (PMS5003, SDS011, P1 port): framing and `decode(frame) → values`."""

    model: str
    points: tuple[Point, ...]
    serial: Serial
    framing: Framing
    decode: Callable[[bytes], Values]
    period: float  # seconds between frames at the slowest; silence is judged by it
    documentation: Documentation
    vectors: tuple[Vector, ...]
    wake: bytes = b""  # sent once after the port opens, for devices that must be told to talk


# -- exchange: we ask, it answers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Write:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """Receive exactly `count` bytes (I2C), or up to `count` until the line falls silent or `until` ends them (UART).

    With `optional`, silence is an answer too: the exchange goes on with no bytes.
    """

    count: int
    until: bytes = b""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


Step: TypeAlias = Write | Read | Wait
Exchange: TypeAlias = Generator[Step, bytes, Values]


@dataclass(frozen=True, slots=True)
class ExchangeDriver:
    """We ask, it answers (SHT4x, SPS30, MH-Z19, M-Bus): a conversation without a bus.

    `measure(address)` yields steps and returns values; `setup(address)` is played once after the link opens.
    """

    model: str
    bus: Literal["i2c", "serial", "mbus"]
    points: tuple[Point, ...]
    measure: Callable[[int], Exchange]
    documentation: Documentation
    vectors: tuple[Vector, ...]
    address: int = 0
    serial: Serial = field(default_factory=Serial)
    setup: Callable[[int], Exchange] | None = None


# -- register map: pure data ----------------------------------------------------------------------------------------

Table: TypeAlias = Literal["input", "holding", "coil", "discrete"]


@dataclass(frozen=True, slots=True)
class Register:
    """One point's place in a register map; `address` is zero-based as sent on the wire.

    value = raw × scale + offset; `absent` lists raw values that mean "not available". With `scale_at`, the signed
    word at that address is a power of ten that scales the value too (SunSpec scale factors); `words` then reaches
    from `address` to it, so that both come in one read.
    """

    point: Point
    address: int
    type: str
    table: Table
    word_order: str
    words: int
    scale: float = 1.0
    offset: float = 0.0
    absent: tuple[int, ...] = ()
    poll: str = "normal"
    scale_at: int | None = None


@dataclass(frozen=True, slots=True)
class ReadRegisters:
    """Ask for `count` holding registers from zero-based `address` on."""

    address: int
    count: int


@dataclass(frozen=True, slots=True)
class Identify:
    """A register that tells the model: reading `words` at `address` gives `equals`."""

    address: int
    type: str
    table: Table
    equals: int | str


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """A Modbus device: a TOML file, no code. `max_words` and `max_gap` bound what one read may ask.

    A device that describes itself (SunSpec) has no registers before `discover` is played: a generator that yields
    reads, is sent the words (None where the device refused), and returns the map to poll, or raises FrameError.
    `declared` then lists all points that such a map may have.
    """

    model: str
    registers: tuple[Register, ...]
    documentation: Documentation
    vectors: tuple[Vector, ...]
    serial: Serial = field(default_factory=Serial)
    max_words: int = 125
    max_gap: int = 16
    turnaround: float = 0.0  # seconds of silence the device wants before the next request
    identify: tuple[Identify, ...] = ()
    discover: Callable[[], Discovery] | None = None
    declared: tuple[Point, ...] = ()

    @property
    def points(self) -> tuple[Point, ...]:
        """The points in the order of the file; those declared where the device is still to describe itself."""
        return tuple(r.point for r in self.registers) or self.declared


Discovery: TypeAlias = Generator[ReadRegisters, Sequence[int] | None, RegisterMap]


# -- broadcast and pulse ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Advertisement:
    """A BLE advertisement as a scanner hands it over: payloads by company id and by service UUID."""

    address: str
    manufacturer: Mapping[int, bytes] = field(default_factory=dict)
    service: Mapping[str, bytes] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True, slots=True)
class BroadcastDriver:
    """It shouts to everybody (BLE): whether an advertisement is its own, and `decode(advertisement, key)`."""

    model: str
    points: tuple[Point, ...]
    matches: Callable[[Advertisement], bool]
    decode: Callable[[Advertisement, bytes], Values]
    documentation: Documentation
    vectors: tuple[Vector, ...]


@dataclass(frozen=True, slots=True)
class PulseDriver:
    """A contact or transistor that pulses: data only. `per_pulse` is in the counter's unit."""

    model: str
    total: Point
    rate: Point | None
    per_pulse: float
    rate_per_hertz: float
    debounce: float  # seconds
    edge: Literal["rising", "falling"]
    documentation: Documentation

    @property
    def points(self) -> tuple[Point, ...]:
        """The counter, and the rate where there is one."""
        return (self.total, self.rate) if self.rate else (self.total,)


Driver: TypeAlias = StreamDriver | ExchangeDriver | RegisterMap | BroadcastDriver | PulseDriver
