"""What was seen, as plain values that survive JSON: the checks judge these and nothing else.

None or an empty list means "not looked at" or "cannot be seen here"; a check then says nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMA = "lamppost.facts/1"


class _Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    pass


class Daemon(_Fact, frozen=True):
    """The gateway program at its socket. `state`: answers, down, hung, denied."""

    socket: str
    state: str
    group: str = ""
    unit: str = ""
    """What systemd says of the unit, such as "failed"."""
    seconds: float = 0.0


class Host(_Fact, frozen=True):
    """The computer."""

    board: str = ""
    system: str = ""
    load: float = 0.0
    cores: int = 1
    memory_free: int | None = None
    memory_total: int | None = None
    celsius: float | None = None


class Mount(_Fact, frozen=True):
    """The disk under a path; MiB and inodes."""

    path: str
    free: int
    total: int
    inodes_free: int = 0
    inodes: int = 0
    """0: this file system does not count them."""
    read_only: bool = False
    earlier_free: int | None = None
    earlier_hours: float = 0.0


class Clock(_Fact, frozen=True):
    """Nanoseconds of UTC. `state`: synced, holdover, unsynced, behind-floor."""

    state: str
    now: int
    floor: int


class Interface(_Fact, frozen=True):
    """A network interface but for loopback."""

    name: str
    carrier: bool
    addresses: list[str] = []
    wireless_wan: bool = False


class Dial(_Fact, frozen=True):
    """One attempt to connect. `outcome`: open, refused, timeout, unreachable."""

    host: str
    port: int
    outcome: str
    ms: float = 0.0
    why: str = ""


class Net(_Fact, frozen=True):
    """Interfaces, routes, names, and what answers at the hub's host."""

    interfaces: list[Interface] = []
    default_route: str = ""
    host: str = ""
    port: int = 0
    addresses: list[str] = []
    name_fault: str = ""
    dials: list[Dial] = []
    web: Dial | None = None


class Modem(_Fact, frozen=True):
    """What ModemManager says. `wanted`: this gateway's way out goes over a modem."""

    wanted: bool = False
    manager: bool = False
    present: bool = False
    state: str = ""
    failed: str = ""
    lock: str = ""
    registration: str = ""
    operator: str = ""
    signal: int | None = None
    access: str = ""
    connected: bool = False


class Tls(_Fact, frozen=True):
    """A handshake with the broker; `code` is empty where it succeeded, `issuer` is what was shown."""

    code: str = ""
    why: str = ""
    issuer: str = ""


class Trust(_Fact, frozen=True):
    """The identity. Times in UTC nanoseconds; fingerprints short."""

    code: str = ""
    why: str = ""
    hint: str = ""
    gateway: str = ""
    hub: str = ""
    since: int = 0
    until: int = 0
    ours: str = ""
    theirs: str = ""


class Config(_Fact, frozen=True):
    """The site file: what is wrong with it, or what it says."""

    file: str
    why: str = ""
    problems: list[str] = []
    gateway: str = ""
    hub: str = ""
    host: str = ""
    port: int = 0
    unsynced: str = ""
    """What becomes of samples before the clock was set: wait or send."""


class Port(_Fact, frozen=True):
    """A serial port of this machine: its lasting name, its present one, and who holds it."""

    name: str
    node: str
    holder: str = ""
    use: str = ""
    proof: str = ""


class Trial(_Fact, frozen=True):
    """One request on a wire and what came. `outcome`: good, refused, silent, damaged, late.

    `extra`: sound frames after the answer, as hex; `values`: the words of a good answer; on an M-Bus, the medium that
    it names.
    """

    line: str
    outcome: str
    echo: bool = False
    exception: int = 0
    ms: float = 0.0
    got: int = 0
    wanted: int = 0
    heard: str = ""
    zeros: int = 0
    extra: list[str] = []
    values: list[int] = []


class Identity(_Fact, frozen=True):
    """A register that tells the model: what it reads, and what the model of the site file would read."""

    address: int
    expected: str
    got: str
    known: str = ""
    proved: bool = True


class Order(_Fact, frozen=True):
    """A point whose plausible value is known, read in every word order, two times."""

    point: str
    unit: str
    mapped: str
    low: float
    high: float
    readings: dict[str, list[float]]


class Pin(_Fact, frozen=True):
    """A pulse input that was watched. `edges`: all changes; `changes`: those that stood for the site's `debounce`
    seconds, of which `quick` were over within `bounce`, the time that contacts of this model bounce.
    """

    level: int
    active: int
    edges: int = 0
    pulses: int = 0
    changes: int = 0
    quick: int = 0
    debounce: float = 0.0
    bounce: float = 0.0


class Unit(_Fact, frozen=True):
    """A device on a link that was asked. `stream`: frames of a device that speaks by itself."""

    device: str
    model: str
    unit: int | None = None
    at: str = ""
    trials: list[Trial] = []
    swept: list[Trial] = []
    identity: list[Identity] = []
    order: Order | None = None
    serials: list[int] = []
    long: list[Trial] = []
    period: float = 0.0
    frames: int = 0
    bad_frames: int = 0
    bytes: int = 0
    seconds: float = 0.0
    other_model: str = ""
    why: str = ""
    pin: Pin | None = None


class Line(_Fact, frozen=True):
    """A link that was opened and listened to. `code` where it could not be; `present`: serial ports there."""

    link: str
    kind: str
    where: str
    node: str = ""
    line: str = ""
    timeout: float = 0.0
    code: str = ""
    why: str = ""
    holder: str = ""
    group: str = ""
    idle_bytes: int = 0
    idle_zeros: int = 0
    idle_seconds: float = 0.0
    idle_share: float = 0.0
    """Of the time that we only listened, how much the line was taken."""
    idle_sample: str = ""
    foreign: list[str] = []
    framing_errors: int = 0
    parity_errors: int = 0
    breaks: int = 0
    """While we looked, at the settings of the site, by the kernel's counters; 0 where it does not count."""
    others: int = 0
    """Advertisements of devices that are not of this site."""
    units: list[Unit] = []
    tested: bool = False


class Facts(_Fact, frozen=True):
    """Everything that was seen. `status` and `buffer`: the daemon's own answers; `areas`: what was looked at."""

    schema: str = SCHEMA
    via: str = "direct"
    at: int = 0
    areas: list[str] = []
    daemon: Daemon | None = None
    host: Host | None = None
    power: int | None = None
    mounts: list[Mount] = []
    card_errors: list[str] = []
    clock: Clock | None = None
    net: Net | None = None
    modem: Modem | None = None
    tls: Tls | None = None
    trust: Trust | None = None
    config: Config | None = None
    status: dict[str, Any] | None = None
    buffer: dict[str, Any] | None = None
    generations: dict[str, Any] | None = None
    ports: list[Port] = []
    lines: list[Line] = []
    counters: list[dict[str, Any]] = []
    """Counters that ran backwards: device, point, before, after."""
    still: list[dict[str, Any]] = []
    """Gauges that have not moved: device, point, readings, seconds."""


def encode(facts: Facts) -> bytes:
    """As JSON."""
    return msgspec.json.encode(facts)


def decode(data: bytes) -> Facts:
    """From JSON. Raises ValueError where it is none of ours."""
    try:
        found = msgspec.json.decode(data, type=Facts)
    except msgspec.MsgspecError as wrong:
        raise ValueError(f"no facts of ours: {wrong}") from None
    if found.schema != SCHEMA:
        raise ValueError(f"facts of schema {found.schema}, not {SCHEMA}")
    return found
