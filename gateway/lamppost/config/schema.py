"""What a site file may hold. One site is one gateway's whole configuration; secrets are never in it.

Defaults are pydantic values already converted (seconds, bytes); the file itself must write units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Discriminator, Field, Tag

from lamppost.config.units import BrokerUrl, Bytes, PaceLimit, Quantity, Seconds, Volume

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
TimeServer = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?$")
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Place(_Table):
    """Where the gateway stands: WGS 84 degrees, as GeoJSON orders them."""

    longitude: float = Field(ge=-180, le=180)
    latitude: float = Field(ge=-90, le=90)


class Identity(_Table):
    """Who this gateway is, and the hub that it speaks to (`aud` of every envelope); none in direct mode."""

    gateway: Name
    hub: str = Field("", max_length=255)
    place: Place | None = None
    source: str = ""
    data_provider: str = ""


class TimePolicy(_Table):
    """What to do with samples before the clock has ever been synchronised in a boot, and who may set it.

    `servers` are NTP servers (host or host:port) in the place of the operating system's own.
    """

    unsynced: Literal["wait", "send"] = "wait"
    servers: tuple[TimeServer, ...] = Field((), max_length=8)


class OtaSettings(_Table):
    """Signed configuration: from where, for which group, and when. Times of day are UTC.

    Without `url` it is the hub's own, at [uplink] host. A trial and the way back from it take three minutes at most.
    """

    url: str = Field("", pattern=r"^(https://[^\s/@]+(/[^\s?#]*)?)?$", max_length=255)
    group: Name = "default"
    every: Seconds = Field(900.0, ge=10, le=86400)
    trial: Seconds = Field(120.0, ge=5, le=150)
    window: str = Field(
        "", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9])?$"
    )
    hold_until: AwareDatetime | None = None
    sticks: Path | None = None


class RingSettings(_Table):
    """The durable bounded store: its size on disk, and how often a group of samples is made durable.

    `coarse_share` of the size keeps windows of `coarse_window` of what must be given up before the hub has it.
    """

    size: Bytes = Field(64 * 1024**2, ge=1024**2)
    group: Seconds = Field(1.0, gt=0, le=60)
    coarse_window: Seconds = Field(900.0, ge=60, le=86400)
    coarse_share: float = Field(0.4, ge=0, le=0.8)


class Aggregation(_Table):
    """Windows close by event time; `grace` is how long a late sample is waited for; `form` says how minimum, maximum,
    newest value and count stand beside the mean in NGSI-LD.
    """

    window: Seconds = Field(60.0, ge=1, le=86400)
    grace: Seconds = Field(2.0, ge=0, le=3600)
    form: Literal["sub-properties", "datasets"] = "sub-properties"


class Privacy(_Table):
    """How long the windows of personal devices are at least; nothing finer of them leaves the gateway."""

    window: Seconds = Field(900.0, gt=0, le=86400)


class UplinkSettings(_Table):
    """The way to the hub. `monthly` is what may be sent over it in a calendar month (UTC), alerts included; every
    `heartbeat` at the latest the gateway says how it is.
    """

    mode: Literal["hub"] = "hub"
    host: str = Field(min_length=1)
    port: Port = 8883
    in_flight: int = Field(8, ge=1, le=64, strict=True)
    receipt_timeout: Seconds = Field(30.0, gt=0, le=3600)
    drain: Seconds = Field(5.0, ge=0, le=300)
    monthly: Volume | None = Field(None, ge=10**6)
    heartbeat: Seconds = Field(900.0, ge=30, le=86400)


class TokenSettings(_Table):
    """OAuth 2.0 client credentials (RFC 6749 §4.4). `secret` is the name of a credential, never the secret."""

    url: BrokerUrl
    client: str = Field(min_length=1, max_length=255)
    secret: Name
    scope: str = ""


class DirectSettings(_Table):
    """The way to a context broker without a Lamppost receiver. `ca`, `certificate`, `key` are names of credentials."""

    mode: Literal["direct"]
    url: BrokerUrl
    tenant: str = Field("", pattern=r"^[A-Za-z0-9_]{0,50}$")
    history: Literal["temporal", "replay", "latest"] = "temporal"
    ca: Name | Literal[""] = ""
    certificate: Name | Literal[""] = ""
    key: Name | Literal[""] = ""
    token: TokenSettings | None = None
    drain: Seconds = Field(5.0, ge=0, le=300)


def _uplink_mode(given: object) -> str | None:
    """The tag of the [uplink] table; without `mode` it is the way to a hub."""
    mode = given.get("mode", "hub") if isinstance(given, dict) else getattr(given, "mode", "hub")
    return f"uplink-{mode}" if mode in ("hub", "direct") else None


Uplink: TypeAlias = Annotated[
    Annotated[UplinkSettings, Tag("uplink-hub")] | Annotated[DirectSettings, Tag("uplink-direct")],
    Discriminator(_uplink_mode),
]


class DriverSettings(_Table):
    """Where the site's own register maps stand, relative to the site file; `maps` beside it unless named."""

    maps: Path | None = None


class _Line(_Table):
    name: Name
    port: Path
    baud: int | None = Field(None, ge=50, le=4_000_000, strict=True)
    parity: Literal["N", "E", "O"] | None = None
    stop_bits: Literal[1, 2] | None = None


class SerialLink(_Line):
    """A UART with one talking or answering device on it."""

    kind: Literal["serial"]


class ModbusRtuLink(_Line):
    """An RS-485 line shared by Modbus units. `baud`, `parity`, `stop_bits` default to its devices' own."""

    kind: Literal["modbus-rtu"]
    timeout: Seconds = Field(0.3, gt=0, le=10)


class ModbusTcpLink(_Table):
    """A Modbus/TCP server or gateway."""

    kind: Literal["modbus-tcp"]
    name: Name
    host: str = Field(min_length=1)
    port: Port = 502
    timeout: Seconds = Field(1.0, gt=0, le=30)


class I2cLink(_Table):
    """An I2C bus of this board or of a USB adapter; its devices have addresses."""

    kind: Literal["i2c"]
    name: Name
    port: Path


class MbusLink(_Line):
    """A wired M-Bus behind a level converter: 2400 8E1 unless said otherwise."""

    kind: Literal["mbus"]


class MbusTcpLink(_Table):
    """A wired M-Bus behind a level converter with a network port, which passes bytes on as they are.

    `timeout`: how long a meter's answer may take to begin, the network's share included.
    """

    kind: Literal["mbus-tcp"]
    name: Name
    host: str = Field(min_length=1)
    port: Port
    timeout: Seconds = Field(1.0, gt=0, le=30)


class GpioLink(_Table):
    """The pins of this board. Counts are made durable every `save` seconds: so much a power cut may lose."""

    kind: Literal["gpio"]
    name: Name
    save: Seconds = Field(10.0, ge=1, le=3600)


class BleLink(_Table):
    """Bluetooth LE advertisements. A scan that hears nothing for `silence` is begun anew."""

    kind: Literal["ble"]
    name: Name
    adapter: str = Field("hci0", pattern=r"^hci[0-9]{1,2}$")
    silence: Seconds = Field(60.0, ge=1, le=3600)


LinkSettings: TypeAlias = Annotated[
    SerialLink
    | ModbusRtuLink
    | ModbusTcpLink
    | MbusLink
    | MbusTcpLink
    | I2cLink
    | GpioLink
    | BleLink,
    Field(discriminator="kind"),
]


class PointCheck(_Table):
    """When a point's value is doubted at this place: it changes faster than `max_step`, or not for `stuck_after`."""

    max_step: PaceLimit | None = None
    stuck_after: Seconds | None = Field(None, ge=1, le=30 * 86400)


class DeviceSettings(_Table):
    """One physical thing at an address on a link."""

    name: Name
    model: str = Field(min_length=1)
    link: Name
    unit: int | None = Field(None, ge=0, le=255, strict=True)
    secondary: str | None = Field(None, pattern=r"^[0-9]{8}$")
    address: int | None = Field(None, ge=0x03, le=0x77, strict=True)
    mac: str | None = Field(None, pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$")
    key: Name | None = None  # the name of a credential; the key itself is never in the site file
    pin: int | None = Field(None, ge=0, le=53, strict=True)
    per_pulse: Quantity | None = None
    debounce: Seconds | None = Field(None, ge=0, le=1)
    edge: Literal["rising", "falling"] | None = None
    every: Seconds = Field(10.0, ge=0.1, le=86400)
    poll: dict[str, Seconds] = Field(default_factory=dict)
    points: tuple[str, ...] = ()
    check: dict[str, PointCheck] = Field(default_factory=dict)
    description: str = ""
    personal: bool = Field(False, strict=True)


class _AlertRule(_Table):
    """What all rules have. `repeat` bounds how often a flapping one speaks: a raise costs so much time."""

    name: Name
    device: Name
    severity: Literal["informational", "low", "medium", "high", "critical"] = "medium"
    category: Literal[
        "agriculture", "environment", "health", "naturalDisaster", "security", "traffic", "weather"
    ] = "environment"
    description: str = Field("", max_length=200)
    repeat: Seconds = Field(900.0, ge=60, le=86400)


class ThresholdRule(_AlertRule):
    """`above` (or `below`) this number for `hold`; over at `clear`, for `clear_hold`."""

    kind: Literal["threshold"]
    point: str
    above: float | None = Field(None, allow_inf_nan=False)
    below: float | None = Field(None, allow_inf_nan=False)
    clear: float = Field(allow_inf_nan=False)
    hold: Seconds = Field(0.0, ge=0, le=86400)
    clear_hold: Seconds = Field(0.0, ge=0, le=86400)


class RateRule(_AlertRule):
    """A `rise` (or `fall`) by so much within `over`; over at `clear`, by default half of it, for `clear_hold`."""

    kind: Literal["rate"]
    point: str
    rise: float | None = Field(None, gt=0, allow_inf_nan=False)
    fall: float | None = Field(None, gt=0, allow_inf_nan=False)
    over: Seconds = Field(gt=0, le=86400)
    clear: float | None = Field(None, ge=0, allow_inf_nan=False)
    hold: Seconds = Field(0.0, ge=0, le=86400)
    clear_hold: Seconds = Field(0.0, ge=0, le=86400)


class StuckRule(_AlertRule):
    """A value that has not moved by more than `tolerance` for `after`."""

    kind: Literal["stuck"]
    point: str
    after: Seconds = Field(ge=1, le=30 * 86400)
    tolerance: float = Field(0.0, ge=0, allow_inf_nan=False)


class SilenceRule(_AlertRule):
    """No usable reading of the point, or of any point of the device, for `after`."""

    kind: Literal["silence"]
    point: str = ""
    after: Seconds = Field(ge=1, le=30 * 86400)


AlertRule: TypeAlias = Annotated[
    ThresholdRule | RateRule | StuckRule | SilenceRule, Field(discriminator="kind")
]


class Site(_Table):
    """A whole, consistent site. Made by `load.site`, never by hand."""

    site: Identity
    time: TimePolicy = TimePolicy()
    ring: RingSettings = RingSettings()
    aggregate: Aggregation = Aggregation()
    privacy: Privacy = Privacy()
    uplink: Uplink
    ota: OtaSettings = OtaSettings()
    drivers: DriverSettings = DriverSettings()
    link: tuple[LinkSettings, ...] = Field(min_length=1)
    device: tuple[DeviceSettings, ...] = Field(min_length=1)
    alert: tuple[AlertRule, ...] = ()
