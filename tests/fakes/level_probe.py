"""A level probe on Modbus/TCP whose water can be told to rise, and days of unsent readings in a gateway's ring."""

from __future__ import annotations

import random
import socketserver
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

import orjson

from hwsim.demo.bench import Bench
from lamppost.model import Instant, Reading, Sample
from lamppost.packing import pack
from lamppost.ring import Record, Ring
from lamppost.timeline import Timeline
from unit.gateway.test_timeline import Hands

S = 10**9
OLD_BOOT = "0a8a0a51-5c5e-4b9e-9a3c-0d9b7d1f2a10"

MAP = """\
model = "level-probe"
products = ["A level probe for tests"]
source = "made for tests"
table = "input"

[[point]]
name = "level"
address = 0
type = "float32"
unit = "m"
range = [0, 10]

[[vector]]
note = "1.5 m"
registers = { 0 = [0x3FC0, 0x0000] }
expect = { "level" = 1.5 }
"""

SITE = """\
[site]
gateway = "{{gateway}}"
hub = "{{hub}}"
[time]
unsynced = "send"
[ring]
size = "{size}"
group = "200ms"
[aggregate]
window = "{window}"
grace = "1s"
[uplink]
host = "localhost"
port = {{port}}
[[link]]
name = "tcp-1"
kind = "modbus-tcp"
host = "127.0.0.1"
port = {probe}
[[device]]
name = "well"
model = "level-probe"
link = "tcp-1"
unit = 1
every = "{every}"
[[alert]]
name = "flood"
kind = "threshold"
device = "well"
point = "level"
above = 2.0
clear = 1.5
severity = "critical"
category = "naturalDisaster"
description = "water in the pump house"
repeat = "1min"
"""

QUANTITIES = (  # as an SDM630 names them: quantity, unit, about what it measures
    ("voltage", "V", 230.0),
    ("current", "A", 5.0),
    ("power", "W", 1100.0),
    ("apparent_power", "VA", 1150.0),
    ("reactive_power", "var", 300.0),
    ("power_factor", "/", 0.9),
)
ABOUT = {name: about for name, _, about in QUANTITIES} | {"frequency": 50.0}
POINTS = (
    *((f"{q}.l{n}", unit, "gauge") for q, unit, _ in QUANTITIES for n in (1, 2, 3)),
    ("frequency", "Hz", "gauge"),
    ("energy.import", "kWh", "counter"),
)


METER = """\
[[device]]
name = "meter-{n:02}"
model = "level-meter"
link = "tcp-1"
unit = {unit}
every = "60s"
"""


def meters(count: int = 20) -> str:
    """Site tables of the meters whose readings `fill` leaves in the ring."""
    return "".join(METER.format(n=n, unit=n + 2) for n in range(count))


def _meter_map() -> str:
    head = MAP.partition("[[point]]")[0].replace("level-probe", "level-meter")
    points = [
        f'[[point]]\nname = "{name}"\naddress = {2 * n}\ntype = "float32"\nunit = "{unit}"\n'
        f'range = [-1e9, 1e9]\nkind = "{kind}"\n'
        for n, (name, unit, kind) in enumerate(POINTS)
    ]
    vector = '[[vector]]\nnote = "1.5 V"\nregisters = { 0 = [0x3FC0, 0x0000] }\nexpect = { "voltage.l1" = 1.5 }\n'
    return head + "\n".join(points) + "\n" + vector


class LevelProbe:
    """Answers every read of any unit with the level, a big-endian float32 in two registers. A context manager."""

    def __init__(self) -> None:
        probe = self
        self.level = 1.0

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while len(head := self.rfile.read(8)) == 8:
                    transaction, _, length, unit, function = struct.unpack(">HHHBB", head)
                    words = int.from_bytes(self.rfile.read(length - 2)[2:4], "big")
                    cells = struct.pack(">f", probe.level) * (words // 2)
                    body = bytes([unit, function, len(cells)]) + cells
                    self.wfile.write(struct.pack(">HHH", transaction, 0, len(body)) + body)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> LevelProbe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def site(self, *, every: str = "1s", window: str = "1min", size: str = "64MiB") -> str:
        return SITE.format(probe=self.port, every=every, window=window, size=size)


def write_map(bench: Bench) -> None:
    """The register maps of probe and meters, beside the site file."""
    folder = bench.folder / "maps"
    folder.mkdir(exist_ok=True)
    (folder / "level-probe.toml").write_text(MAP)
    (folder / "level-meter.toml").write_text(_meter_map())


def fill(state: Path, utc: int, minutes: int, *, size: int = 64 << 20, meters: int = 20) -> int:
    """Leave `minutes` of samples, one a minute of each meter, unsent in a gateway's ring, the newest at `utc` (ns).

    They are of an earlier boot whose clock was right. Returns how many readings there are.
    """
    timeline = Timeline(state / "boots.json", send_unsynced=True)
    begin = utc - minutes * 60 * S
    timeline.learn(Hands(boot=OLD_BOOT, boottime=0, utc_ns=begin, in_sync=True))
    ring = Ring.open(state / "ring", size)
    chance = random.Random(12)
    for minute in range(minutes):
        at = minute * 60 + 30
        ring.append([_record(f"meter-{n:02}", at, chance) for n in range(meters)])
    ring.close()
    return minutes * meters * len(POINTS)


def _record(device: str, at: int, chance: random.Random) -> Record:
    readings = tuple(
        Reading(name, 100.0 + at / 3600 if kind == "counter" else _around(name, chance))
        for name, _, kind in POINTS
    )
    return Record(len(readings), pack(Sample(device, Instant(OLD_BOOT, at * S), readings)))


def _around(point: str, chance: random.Random) -> float:
    return _float32(ABOUT[point.partition(".")[0]] * chance.gauss(1.0, 0.01))


def _float32(value: float) -> float:
    found: float = struct.unpack("f", struct.pack("f", value))[0]
    return found


@dataclass(frozen=True, slots=True)
class Arrived:
    """One line of a jsonl sink: the batch, what its alerts say (rule, raised or cleared, when by the gateway), and its
    live values (entity, value, when).
    """

    epoch: str
    seq: int
    first: int
    last: int
    alerts: tuple[tuple[str, str, str], ...]
    live: tuple[tuple[str, object, str], ...] = ()

    @property
    def urgent(self) -> bool:
        return self.epoch.startswith("alert-")


class SinkFile:
    """Reads a jsonl sink's file as it grows, each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self.arrived: list[Arrived] = []

    def look(self) -> list[Arrived]:
        """All lines so far."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                whole = file.read().rpartition(b"\n")
            self._at += len(whole[0]) + len(whole[1])
            self.arrived += [_arrived(line) for line in whole[0].split(b"\n") if line]
        return self.arrived

    def alerts(self) -> list[tuple[str, str, str]]:
        """What the alerts of all lines so far say."""
        return [said for line in self.look() for said in line.alerts]

    def reached(self) -> int:
        """The newest reading number of all lines so far."""
        return max([line.last for line in self.look() if not line.urgent], default=-1)


def _arrived(line: bytes) -> Arrived:
    head, _, _ = line.partition(b',"received"')
    found = orjson.loads(head + b"}")
    alerts: list[tuple[str, str, str]] = []
    live: list[tuple[str, object, str]] = []
    if found["epoch"].startswith("alert-"):
        for entity in orjson.loads(line)["entities"]:
            live += [
                (entity["id"], attribute["value"], attribute["observedAt"])
                for attribute in entity.values()
                if isinstance(attribute, dict) and "urn:lamppost:live" in attribute
            ]
            state = entity.get("urn:lamppost:alertState", {})
            if state:
                rule = entity["id"].rpartition(":")[2]
                alerts.append((rule, state["value"], state["observedAt"]))
    return Arrived(
        found["epoch"], found["seq"], found["first"], found["last"], tuple(alerts), tuple(live)
    )
