"""A bus lent over the socket: who may hold it, what may be sent, how it ends; and the client's side of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from lamppost.config.schema import ModbusRtuLink
from lamppost.diagnosis.leased import Leased
from lamppost.diagnosis.wire.frames import read_frame
from lamppost.errors import LinkError
from lamppost.links.serial import LineSettings
from lamppost.status.control import Control
from lamppost.status.lending import Lending, only_reads

LINK = ModbusRtuLink(kind="modbus-rtu", name="a", port=Path("/dev/ttyUSB0"))


@dataclass
class Lease:
    id: str
    kind: str
    where: str


class OneBus:
    """The acquisition's leases as far as the socket needs them: one link, one holder, an answer to everything."""

    def __init__(self, kind: str = "modbus-rtu") -> None:
        self.kind = kind
        self.holder = ""
        self.sent: list[bytes] = []
        self.tuned: list[tuple[Any, ...]] = []
        self.beats = 0
        self.given_back = asyncio.Event()

    async def lend(self, link: str, seconds: float, who: str) -> Lease:
        if link != "a":
            raise LinkError(f"no link {link}", code="link.unknown", hint="there is a")
        if self.holder:
            raise LinkError(f"{self.holder} holds the bus", code="link.busy", hint="wait")
        self.holder = who
        return Lease("id", self.kind, "/dev/ttyUSB0")

    def beat(self, lease: str) -> None:
        self.beats += 1

    async def exchange(self, lease: str, request: bytes, seconds: float, count: int = 0) -> bytes:
        self.sent.append(request)
        return b"\x01\x04\x02\x00\x07" + request[:1] if request else b""

    async def tune(
        self, lease: str, baud: int, parity: Any, stop_bits: Any, data_bits: Any
    ) -> None:
        self.tuned.append((baud, parity, stop_bits, data_bits))

    async def give_back(self, lease: str) -> None:
        self.holder = ""
        self.given_back.set()


@asynccontextmanager
async def daemon(folder: Path, bus: OneBus) -> AsyncIterator[Path]:
    path = folder / "s"
    serving = asyncio.create_task(Control(path, {}, {"lease": Lending(bus).talk}).run())
    while not path.exists():
        await asyncio.sleep(0.001)
    try:
        yield path
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def talk(path: Path) -> tuple[Callable[[Any], Awaitable[Any]], asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(path)

    async def say(wish: Any) -> Any:
        writer.write((wish if isinstance(wish, bytes) else orjson.dumps(wish)) + b"\n")
        return orjson.loads(await reader.readline())

    return say, writer


async def test_a_lease_ends_when_its_holder_hangs_up(tmp_path: Path) -> None:
    bus = OneBus()
    async with daemon(tmp_path, bus) as path:
        say, writer = await talk(path)
        assert (await say({"do": "lease", "link": "a", "who": "minicom"}))["ok"]
        second, other = await talk(path)
        refused = await second({"do": "lease", "link": "a"})
        assert (refused["error"], refused["message"]) == ("link.busy", "minicom holds the bus")
        other.close()
        writer.close()
        await asyncio.wait_for(bus.given_back.wait(), 5)
        assert bus.holder == ""


async def test_nonsense_is_answered_and_ends_nothing(tmp_path: Path) -> None:
    bus = OneBus()
    async with daemon(tmp_path, bus) as path:
        say, writer = await talk(path)
        assert (await say({"do": "lease", "link": "b"}))["error"] == "link.unknown"
        writer.close()
        say, writer = await talk(path)
        assert (await say({"do": "lease", "link": "a", "seconds": "long"}))[
            "error"
        ] == "control.unknown-request"
        writer.close()
        say, writer = await talk(path)
        assert (await say({"do": "lease", "link": "a"}))["ok"]
        for wish in (
            b"[1]",
            b"{",
            {"do": "exchange", "send": "xyz"},
            {"do": "tune"},
            {"do": "dance"},
        ):
            assert (await say(wish))["error"] == "control.unknown-request"
        assert (await say({"do": "beat"}))["ok"]
        assert (await say({"do": "exchange", "send": "0104000000017aaa"}))["heard"].startswith(
            "0104"
        )
        writer.close()


@pytest.mark.parametrize("function", [5, 6, 15, 16, 22, 23, 8, 0])
async def test_nothing_that_writes_goes_out(tmp_path: Path, function: int) -> None:
    bus = OneBus()
    async with daemon(tmp_path, bus) as path:
        say, writer = await talk(path)
        await say({"do": "lease", "link": "a"})
        refused = await say({"do": "exchange", "send": bytes((1, function, 0, 0, 0, 1)).hex()})
        assert refused["error"] == "link.read-only"
        writer.close()
    assert bus.sent == []


@pytest.mark.parametrize(
    ("kind", "data", "reads"),
    [
        ("modbus-tcp", bytes((1, 3, 0, 0, 0, 1)), True),
        ("modbus-tcp", bytes((1, 16, 0, 0, 0, 1)), False),
        ("modbus-rtu", b"\x01", False),
        ("mbus", bytes.fromhex("104001411 6".replace(" ", "")), True),
        ("mbus", bytes.fromhex("105b015c16"), True),
        ("mbus", bytes.fromhex("680b0b6873fd52ffffffffffffffff0016"), True),
        ("mbus", bytes.fromhex("6804046853fe7a0100cc16"), False),  # sets a primary address
        ("i2c", b"\x44", True),
        ("i2c", b"\x44\xfd", False),
        ("serial", b"\xff\x01\x86", True),
        ("modbus-rtu", b"", True),
    ],
)  # fmt: skip
def test_what_only_reads(kind: str, data: bytes, reads: bool) -> None:
    assert only_reads(kind, data) is reads


async def test_the_client_asks_tunes_and_gives_back(tmp_path: Path) -> None:
    bus = OneBus()
    async with daemon(tmp_path, bus) as path:
        async with Leased(path, "lamppost bus probe", 5.0).raw(LINK) as line:
            assert bus.holder.startswith("lamppost bus probe (process ")
            await line.use(LineSettings(19200, "E", 1))
            await line.use(LineSettings(19200, "E", 1))
            heard = await line.exchange(read_frame(1, 4, 0, 1), 0.2)
            assert heard.data[:5] == b"\x01\x04\x02\x00\x07"
            assert 0 <= heard.first <= 0.2
            with pytest.raises(LinkError) as refused:
                await line.exchange(bytes.fromhex("010600000001"), 0.2)
            assert refused.value.code == "link.read-only"
        await asyncio.wait_for(bus.given_back.wait(), 5)
    assert bus.tuned == [(19200, "E", 1, 8)]


async def test_the_client_names_the_holder(tmp_path: Path) -> None:
    bus = OneBus()
    bus.holder = "bus soak (process 7)"
    async with daemon(tmp_path, bus) as path:
        with pytest.raises(LinkError) as refused:
            async with Leased(path, "x", 5.0).raw(LINK):
                pass
    assert (refused.value.code, str(refused.value)) == (
        "link.busy",
        "bus soak (process 7) holds the bus",
    )


def test_no_request_of_ours_can_be_anything_but_a_read() -> None:
    for function in range(256):
        if function in (1, 2, 3, 4):
            assert only_reads("modbus-rtu", read_frame(1, function, 0, 1))
        else:
            with pytest.raises(ValueError, match="does not read"):
                read_frame(1, function, 0, 1)
