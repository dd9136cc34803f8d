"""Time servers: what an SNTP answer must be, and what is done about those that give none."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from random import Random

import pytest

from fakes.virtual_clock import VirtualClock
from lamppost.configuring import TimeServers
from lamppost.ota.timeservers import Answer, ask, drop_in, read, right
from lamppost.timeline import Timeline

NOW = 1_767_225_600  # 2026-01-01


def packet(utc: int = NOW, *, mode: int = 4, stratum: int = 2, leap: int = 0) -> bytes:
    head = bytes([leap << 6 | 4 << 3 | mode, stratum]) + bytes(38)
    return head + struct.pack("!II", (utc + 2_208_988_800) % 2**32, 1 << 31)


def test_a_sound_answer_is_a_time() -> None:
    assert read(packet()) == Answer(NOW * 10**9 + 500_000_000)
    after_2036 = 2_100_000_000
    assert read(packet(after_2036)) == Answer(after_2036 * 10**9 + 500_000_000)


@pytest.mark.parametrize(
    "wrong",
    [b"", packet()[:47], packet(mode=3), packet(stratum=0), packet(stratum=16), packet(leap=3)],
)
def test_what_is_no_time(wrong: bytes) -> None:
    assert read(wrong) is None


def test_anything_at_all_is_a_time_or_none() -> None:
    dice = Random(7)
    for _ in range(3000):
        found = read(dice.randbytes(dice.randrange(80)))
        assert found is None or isinstance(found.utc, int)


def test_right_is_after_the_floor_and_beside_a_synchronised_clock() -> None:
    now = NOW * 10**9
    assert right(Answer(now), now, now - 1, synced=True)
    assert right(Answer(now + 9 * 10**9), now, 0, synced=True)
    assert not right(Answer(now + 11 * 10**9), now, 0, synced=True)
    assert right(Answer(now + 11 * 10**9), 0, now, synced=False)
    assert not right(Answer(now - 1), now, now, synced=False)
    assert not right(None, now, 0, synced=False)


class Server(asyncio.DatagramProtocol):
    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        assert len(data) == 48
        assert data[0] & 7 == 3
        self.transport.sendto(self.answer, addr)  # type: ignore[attr-defined]


async def test_a_server_is_asked_over_udp() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Server(packet()), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    try:
        assert await ask(f"127.0.0.1:{port}", 20.0) == Answer(NOW * 10**9 + 500_000_000)
    finally:
        transport.close()
    assert await ask(f"127.0.0.1:{port}", 0.2) is None, "nobody listens there any more"


async def test_the_operating_system_is_told_and_told_again_when_there_are_none(
    tmp_path: Path,
) -> None:
    file = tmp_path / "time-servers.conf"
    clock = VirtualClock()
    timeline = Timeline(tmp_path / "boots.json", send_unsynced=False)
    servers = TimeServers(("127.0.0.1:1",), file, clock, timeline)
    assert not servers.right
    asking = asyncio.create_task(servers.run())
    while not file.exists():
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert file.read_text() == drop_in(["127.0.0.1:1"])
    none = TimeServers((), file, clock, timeline)
    await none.run()
    assert none.right
    assert not file.exists()
