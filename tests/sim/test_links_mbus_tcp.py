"""Wired M-Bus behind a converter with a network port, from the site file to the samples."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from hwsim.mbus import MBusMeter, long
from hwsim.mbus_tcp import MBusTcpServer
from lamppost import acquire
from lamppost.acquire.registry import Registry
from lamppost.acquire.report import BusStatus
from lamppost.clock import SystemClock
from lamppost.config import load
from lamppost.errors import LinkError
from lamppost.links.tcp_line import TcpLine
from lamppost.model import Sample

REGISTRY = Registry.load()
FIXED = bytes.fromhex("68131368080573785634120a00e97e0100000035010000 3c16")
"""EN 1434-3's example of a fixed data structure (CI 73h): a water meter at address 5."""
HEAD = '[site]\ngateway = "gw"\nhub = "hub"\n[uplink]\nhost = "localhost"\n'


def frame(number: str, litres: int, address: int, more: bytes = b"") -> bytes:
    """A water meter's variable data structure (CI 72h): header with its number, one record in litres."""
    header = bytes.fromhex(number)[::-1] + bytes.fromhex("2423 01 07 55 00 0000")
    return long(0x08, address, 0x72, header + b"\x04\x13" + litres.to_bytes(4, "little") + more)


class Gateway:
    """The acquisition of a site file, running, and what it delivered."""

    def __init__(self, server: MBusTcpServer, *devices: str) -> None:
        self.samples: list[Sample] = []
        self._news = asyncio.Event()
        link = (
            f'[[link]]\nname = "mbus"\nkind = "mbus-tcp"\nhost = "{server.host}"\n'
            f'port = {server.port}\ntimeout = "300ms"\n'
        )
        rows = [
            f'[[device]]\nname = "m{n}"\nmodel = "mbus-water"\nlink = "mbus"\nevery = "500ms"\n'
            f'points = ["volume"]\n{where}\n'
            for n, where in enumerate(devices)
        ]
        site = load.site((HEAD + link + "".join(rows)).encode(), REGISTRY.find)
        self.acquisition = acquire.build(site, REGISTRY, SystemClock(), self._deliver)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Gateway:
        self._task = asyncio.create_task(self.acquisition.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        await asyncio.sleep(0)

    def _deliver(self, sample: Sample) -> None:
        self.samples.append(sample)
        self._news.set()

    def reasons(self, name: str) -> Counter[str]:
        return Counter(
            r.quality.reason for s in self.samples if s.device == name for r in s.readings
        )

    def values(self, name: str) -> set[object]:
        return {r.value for s in self.samples if s.device == name for r in s.readings}

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():
                self._news.clear()
                await self._news.wait()

    async def until_all(self, reason: str, *names: str) -> None:
        await self.until(lambda: all(self.reasons(name)[reason] for name in names))

    def status(self) -> BusStatus:
        (bus,) = self.acquisition.status()
        return bus


async def test_fixed_and_variable_frames_by_primary_and_secondary_address() -> None:
    two = [frame("22222222", 3000, 0, b"\x1f"), frame("22222222", 3000, 0)]  # more follows
    meters = [
        MBusMeter([frame("11111111", 12_565, 1)]),
        MBusMeter(two),
        MBusMeter([FIXED], secondary=bytes.fromhex("78563412ffffffff")),
    ]
    with MBusTcpServer(meters, pieces=4) as server:
        async with Gateway(server, "unit = 1", 'secondary = "22222222"', "unit = 5") as gateway:
            await gateway.until_all("good", "m0", "m1", "m2")
        assert server.connections == 1
        assert server.collisions == 0
    assert (gateway.values("m0"), gateway.values("m1")) == ({12.565}, {3.0})
    assert gateway.values("m2") == {0.001}
    assert meters[1].readouts >= 2


async def test_collisions_and_dead_meters_do_not_hurt_the_good_one() -> None:
    meters = [
        MBusMeter([frame("11111111", 12_565, 1)]),
        MBusMeter([frame("44444444", 3, 4)]),
        MBusMeter([frame("55555555", 4, 4)]),  # two at one address
        MBusMeter([frame("66666666", 5, 0)]),
        MBusMeter([frame("66666666", 6, 0)]),  # two with one number
    ]
    with MBusTcpServer(meters) as server:
        devices = ("unit = 1", "unit = 4", 'secondary = "66666666"', "unit = 9")
        async with Gateway(server, *devices) as gateway:
            await gateway.until_all("corrupt", "m1", "m2")
            await gateway.until_all("no_response", "m3")
            await gateway.until(lambda: gateway.reasons("m0")["good"] >= 3)
        assert server.collisions > 0
    assert set(gateway.reasons("m0")) == {"good"}
    for name in ("m1", "m2", "m3"):
        assert gateway.values(name) == {None}


async def test_unplugged_and_back() -> None:
    with MBusTcpServer([MBusMeter([frame("11111111", 500, 1)])]) as server:
        async with Gateway(server, "unit = 1") as gateway:
            await gateway.until_all("good", "m0")
            server.unplug()
            await gateway.until_all("not_connected", "m0")
            fault = gateway.status().fault
            server.plug()
            gateway.samples.clear()
            await gateway.until_all("good", "m0")
        assert server.connections == 2
    assert fault.code in ("link.lost", "link.missing")
    assert fault.hint


async def test_a_converter_that_hangs_is_connected_to_anew() -> None:
    request = bytes.fromhex("1040014116")
    with MBusTcpServer([MBusMeter([frame("11111111", 500, 1)])]) as server:
        line = TcpLine(server.host, server.port, 0.5)
        await line.open()
        server.hung = True
        asked = 0
        with pytest.raises(LinkError, match="not one byte") as lost:
            while asked < 20:
                await line.send(request)
                assert await line.receive(0.01) == b""
                asked += 1
        assert lost.value.code == "link.lost"
        assert asked >= 3  # one dead meter alone is no reason
        server.hung = False
        await line.open()
        assert await line.exchange(request, 2.0, 1) == b"\xe5"
        line.close()
        assert server.connections == 2
        await asyncio.sleep(0)


async def test_a_technician_speaks_to_the_bus() -> None:
    with MBusTcpServer([MBusMeter([frame("11111111", 500, 1)])]) as server:
        async with Gateway(server, "unit = 1") as gateway:
            await gateway.until_all("good", "m0")
            leases = gateway.acquisition.leases
            lease = await leases.lend("mbus", 10)
            assert await leases.exchange(lease.id, bytes.fromhex("1040014116"), 1.0, 1) == b"\xe5"
            answer = await leases.exchange(lease.id, bytes.fromhex("107b017c16"), 1.0)
            assert answer == frame("11111111", 500, 1)
            await gateway.until_all("maintenance", "m0")
            await leases.give_back(lease.id)
            gateway.samples.clear()
            await gateway.until_all("good", "m0")
