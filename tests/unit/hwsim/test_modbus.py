"""The simulated unit against recorded frames, and under pymodbus as the unchanged client."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from hwsim.line import Line
from hwsim.modbus import Cells, RtuUnit, Unit, crc16, framed
from hwsim.modbus_tcp import ModbusTcpServer, TcpUnit
from shared_folder import vectors

WORDS = {at: 1000 + at for at in range(125)}
RECORDED = [
    row
    for row in vectors("modbus/rtu_framing")
    if row["expected"].get("outcome") == "good" and row["expected"].get("request_hex")
]


TIMES = itertools.count(0.0, 10.0)


def ask(unit: RtuUnit, request: str) -> list[tuple[float, str]]:
    """What it answers, asked ten seconds after the last time."""
    body, now = bytes.fromhex(request), next(TIMES)
    return [(delay, said.hex()) for delay, said in unit.hear(framed(body[0], body[1:]), now)]


def said(unit: RtuUnit, request: str) -> str | None:
    """The PDU answered, or None; the CRC is checked."""
    answers = ask(unit, request)
    if not answers:
        return None
    frame = bytes.fromhex(answers[0][1])
    assert crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")
    return frame[1:-2].hex()


def unit_that_holds(request: bytes, answer: bytes) -> Unit:
    """A unit with the values in it that a recorded answer shows."""
    function, start = request[1], int.from_bytes(request[2:4], "big")
    count = int.from_bytes(request[4:6], "big") if function in (1, 2, 3, 4, 15, 16) else 1
    cells = dict.fromkeys(range(start, start + count), 0)
    if function in (1, 2):
        packed = int.from_bytes(answer[3:-2], "little")
        cells = {start + at: packed >> at & 1 for at in range(count)}
    elif function in (3, 4):
        cells = {
            start + at: int.from_bytes(answer[3 + 2 * at : 5 + 2 * at], "big")
            for at in range(count)
        }
    return Unit(holding=cells, inputs=cells, coils=cells, discrete=cells)


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: str(row["id"]))
def test_recorded_requests_get_the_recorded_answers(row: dict[str, Any]) -> None:
    request = bytes.fromhex(row["expected"]["request_hex"])
    answer = bytes.fromhex(row["input_hex"])
    if len(answer) - 5 != answer[2] and request[1] in (1, 2, 3, 4):
        pytest.skip("the recording asks for another count than it answers")
    expected_count = int.from_bytes(request[4:6], "big")
    if request[1] in (1, 2) and (expected_count + 7) // 8 != answer[2]:
        pytest.skip("the recorded device answers another count than it was asked for")
    unit = RtuUnit(request[0], unit_that_holds(request, answer))
    assert [reply for _, reply in unit.hear(request, 0.0)] == [answer]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("01 03 0000 0002", "0304" + "03e803e9"),
        ("01 04 0001 0001", "0402" + "03e9"),
        ("01 06 0003 1234", "0600031234"),
        ("01 10 0003 0002 04 00010002", "1000030002"),
        ("01 01 0000 0003", "010105"),
        ("01 02 0001 0002", "020102"),
        ("01 05 0001 ff00", "050001ff00"),
        ("01 0f 0000 0003 01 02", "0f00000003"),
        # refusals: function, address, value
        ("01 07", "8701"),
        ("01 03 007c 0002", "8302"),
        ("01 06 0080 0001", "8602"),
        ("01 03 0000 0000", "8303"),
        ("01 03 0000 007e", "8303"),
        ("01 05 0001 1234", "8503"),
        ("01 10 0003 0002 03 000100", "9003"),
        ("01 03 0000 00", "8303"),
        (
            "01 2b 0e 01 00",
            "ab0e0183000003" + "000441636d65" + "0101 37 0203 312e30".replace(" ", ""),
        ),
        ("01 2b 0e 04 01", "ab0e04830000010101 37".replace(" ", "")),
    ],
)
def test_functions_and_refusals(request_: str, answer: str) -> None:
    bits = {0: 1, 1: 0, 2: 1}
    model = Unit(
        holding=WORDS,
        inputs=WORDS,
        coils=bits,
        discrete=bits,
        identity={0: "Acme", 1: "7", 2: "1.0"},
    )
    assert said(RtuUnit(1, model), request_) == answer.replace("ab0e", "2b0e")


def test_what_is_written_is_read_back() -> None:
    unit = RtuUnit(1, Unit(holding=WORDS, coils={0: 0, 1: 0}))
    said(unit, "01 10 0003 0002 04 00010002")
    said(unit, "01 0f 0000 0002 01 03")
    assert said(unit, "01 03 0003 0002") == "030400010002"
    assert said(unit, "01 01 0000 0002") == "010103"
    said(unit, "01 05 0000 0000")
    assert said(unit, "01 01 0000 0002") == "010102"


def test_a_read_only_table_refuses_writing() -> None:
    assert said(RtuUnit(1, Unit(holding=Cells(WORDS, writable=False))), "01 06 0003 1234") == "8602"


def test_damaged_frames_and_other_units_get_no_answer() -> None:
    unit = RtuUnit(1, WORDS)
    good = framed(1, bytes.fromhex("0300000001"))
    assert list(unit.hear(good[:-1] + b"\0", 0.0)) == []
    assert list(unit.hear(good[:3], 0.0)) == []
    assert ask(unit, "02 03 0000 0001") == []
    assert unit.seen == 0


def test_a_broadcast_is_obeyed_and_not_answered() -> None:
    unit = RtuUnit(1, WORDS)
    assert ask(unit, "00 06 0003 0007") == []
    assert said(unit, "01 03 0003 0001") == "03020007"


def test_faults_strike_every_nth_request() -> None:
    unit = RtuUnit(1, WORDS, delay=0.01)
    request = "01 03 0000 0001"
    right = framed(1, bytes.fromhex("030203e8")).hex()
    cases: dict[str, list[tuple[float, str]]] = {
        "drop_every": [],
        "crc_every": [(0.01, right[:-2] + f"{int(right[-2:], 16) ^ 0x55:02x}")],
        "wrong_unit_every": [(0.01, framed(2, bytes.fromhex("030203e8")).hex())],
        "truncate_every": [(0.01, right[:6])],
        "twice_every": [(0.01, right), (0.01, right)],
        "busy_every": [(0.01, framed(1, b"\x83\x06").hex())],
        "late_every": [(0.51, right)],
    }
    for name, answers in cases.items():
        unit.seen = 0
        unit.faults.set(**{name: 2})
        assert ask(unit, request) == [(0.01, right)], name
        assert ask(unit, request) == answers, name
        unit.faults.set(**{name: 0})
    unit.faults.set(delay=0.2)
    assert ask(unit, request)[0][0] == pytest.approx(0.21)
    unit.faults.set(dead=True)
    assert ask(unit, request) == []
    with pytest.raises(ValueError, match="no fault 'asleep'"):
        unit.faults.set(asleep=True)


def test_one_request_after_another() -> None:
    unit = RtuUnit(1, WORDS, delay=0.01)
    unit.faults.set(late_every=2)
    request = framed(1, bytes.fromhex("0300000001"))
    delays = [next(iter(unit.hear(request, now)))[0] for now in (0.0, 1.0, 1.1, 9.0)]
    assert delays == pytest.approx([0.01, 0.51, 0.42, 0.51])


def test_late_answers_at_random_come_from_the_seed() -> None:
    def lates(seed: int) -> list[bool]:
        unit = RtuUnit(1, WORDS, delay=0.0, seed=seed)
        unit.faults.set(late_rate=0.3)
        return [ask(unit, "01 03 0000 0001")[0][0] > 0 for _ in range(100)]

    assert 15 < sum(lates(1)) < 45
    assert lates(1) == lates(1) != lates(2)


async def test_pymodbus_reads_through_the_line(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    units = [RtuUnit(1, WORDS), RtuUnit(2, {0: 7})]
    with Line(path, 115200, devices=units) as line:
        client = AsyncModbusSerialClient(str(path), baudrate=115200, timeout=2, retries=0)
        assert await client.connect()
        try:
            first = await client.read_holding_registers(5, count=20, device_id=1)
            assert first.registers == list(range(1005, 1025))
            assert (await client.read_input_registers(0, count=1, device_id=2)).registers == [7]
            await client.write_register(0, 8, device_id=2)
            assert (await client.read_holding_registers(0, count=1, device_id=2)).registers == [8]
            refused = await client.read_holding_registers(1, count=1, device_id=2)
            assert refused.exception_code == 2
        finally:
            client.close()
        assert line.stats().requests == {1: 1, 2: 4}


async def test_a_late_answer_is_taken_for_the_next_one(tmp_path: Path) -> None:
    """The trap that the gateway's own tests build on must really be there: a wrong value without an error."""
    path = tmp_path / "bus"
    unit = RtuUnit(1, WORDS, delay=0.0)
    unit.faults.set(late_every=2, late=0.7)
    with Line(path, 115200, devices=[unit]):
        client = AsyncModbusSerialClient(str(path), baudrate=115200, timeout=0.5, retries=0)
        await client.connect()
        try:
            await client.read_holding_registers(0, count=4, device_id=1)
            with pytest.raises(ModbusIOException):
                await client.read_holding_registers(10, count=4, device_id=1)
            unit.faults.set(late_every=0, delay=0.4)
            wrong = await client.read_holding_registers(20, count=4, device_id=1)
            assert wrong.registers == [1010, 1011, 1012, 1013]
        finally:
            client.close()


async def test_pymodbus_reads_over_tcp() -> None:
    units = [
        TcpUnit(1, Unit(holding=WORDS), delay=0.0),
        TcpUnit(2, Unit(holding={0: 7}), delay=0.02),
    ]
    with ModbusTcpServer(units) as server:
        client = AsyncModbusTcpClient(server.host, port=server.port, timeout=3, retries=0)
        assert await client.connect()
        try:
            assert (await client.read_holding_registers(5, count=2, device_id=1)).registers == [
                1005,
                1006,
            ]
            assert (await client.read_holding_registers(0, count=1, device_id=2)).registers == [7]
            assert (
                await client.read_holding_registers(0, count=1, device_id=9)
            ).exception_code == 11
            units[0].faults.set(busy_every=1)
            assert (
                await client.read_holding_registers(5, count=2, device_id=1)
            ).exception_code == 6
        finally:
            client.close()
        assert (server.requests, server.connections) == (4, 1)


async def test_a_server_without_power_comes_back_at_its_port() -> None:
    with ModbusTcpServer([TcpUnit(1, Unit(holding=WORDS), delay=0.0)]) as server:
        client = AsyncModbusTcpClient(
            server.host, port=server.port, timeout=1, retries=0, reconnect_delay=0
        )
        assert await client.connect()
        server.unplug()
        client.close()
        assert not await client.connect()
        server.plug()
        assert await client.connect()
        assert (await client.read_holding_registers(0, count=1, device_id=1)).registers == [1000]
        client.close()
