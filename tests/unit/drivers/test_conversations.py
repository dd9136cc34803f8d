"""Conversations step by step: what is written to the device, in which order, and what is done on odd answers."""

from __future__ import annotations

import pytest

from lamppost_drivers.air import bme280, scd4x, sps30
from lamppost_drivers.contract import (
    Absent,
    Exchange,
    ExchangeDriver,
    FrameError,
    Read,
    ReadRegisters,
    RegisterMap,
    Step,
    Values,
    Write,
)
from lamppost_drivers.electricity import p1, sunspec
from lamppost_drivers.library import find
from lamppost_drivers.mbus import meter
from lamppost_drivers.mbus.frame import answer
from lamppost_drivers.mbus.records import bcd, date, date_time
from lamppost_drivers.selftest import discovered, exchange
from lamppost_drivers.shdlc import request


def steps(conversation: Exchange, replies: list[bytes]) -> tuple[list[Step], Values]:
    """All steps of a conversation with these replies, and what it returned."""
    seen = [next(conversation)]
    try:
        while True:
            seen.append(conversation.send(replies.pop(0) if isinstance(seen[-1], Read) else b""))
    except StopIteration as done:
        return seen, done.value


def frame(body: str) -> bytes:
    data = bytes.fromhex(body)
    return bytes((0x68, len(data), len(data), 0x68)) + data + bytes((sum(data) & 0xFF, 0x16))


WATER = "0801 72 78563412 2d2c 01 07 05 00 0000 "


def test_an_mbus_meter_is_reset_asked_and_asked_again_while_more_follows() -> None:
    at_5 = WATER.replace("0801", "0805")
    replies = [b"\xe5", frame(at_5 + "0413 15310000 1f"), frame(at_5 + "023b 2a00")]
    seen, values = steps(meter.measure("mbus-water", 5), replies)
    assert [step.data.hex() for step in seen if isinstance(step, Write)] == [
        "1040054516",
        "107b058016",
        "105b056016",
    ]
    assert values == {"status": 0, "volume": 12.565, "flow": 0.042}


def test_a_large_address_is_the_number_of_a_meter() -> None:
    replies = [b"\xe5", b"\xe5", frame(WATER + "0413 15310000")]
    seen, values = steps(meter.measure("mbus-water", 12345678), replies)
    written = [step.data for step in seen if isinstance(step, Write)]
    assert written[0] == bytes.fromhex("1040fd3d16")
    assert written[1][4:].hex().startswith("73fd5278563412ffffffff")
    assert written[2] == bytes.fromhex("107bfd7816")
    assert values["volume"] == 12.565
    with pytest.raises(FrameError, match="12345678"):
        steps(meter.measure("mbus-water", 12345678), [b"\xe5", b""])


def test_another_meters_answer_is_never_taken() -> None:
    late = frame(WATER + "0413 15310000")  # of meter 12345678 at address 1
    for address in (2, 12345679):
        with pytest.raises(FrameError, match="12345678, address 1, answered"):
            steps(meter.measure("mbus-water", address), [b"\xe5"] * (1 + (address > 250)) + [late])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (WATER.replace("01 07 05", "01 04 05") + "0413 15310000", "medium"),
        (WATER.replace("05 00", "05 01") + "0413 15310000", "busy"),
        ("0801 70 08", "application busy"),
        ("0801 71 00", "alarm"),
        ("5301 72 00", "no response"),
        (WATER + "0413 1531", "ends before"),
    ],
)
def test_an_mbus_answer_that_is_none_is_refused(body: str, said: str) -> None:
    with pytest.raises(FrameError, match=said):
        steps(meter.measure("mbus-water", 1), [b"\xe5", frame(body)])


def test_an_mbus_meter_without_an_end_is_left() -> None:
    replies = [b"\xe5", *[frame(WATER + "0413 15310000 1f")] * 20]
    with pytest.raises(FrameError, match="more than 10"):
        steps(meter.measure("mbus-water", 1), replies)


def test_what_holds_another_time_or_sense_is_not_the_reading() -> None:
    body = "4413 01000000 1413 02000000 8440 13 03000000 0493 3c 05000000 0413 04000000"
    _, values = steps(meter.measure("mbus-water", 1), [b"\xe5", frame(WATER + body)])
    assert values == {"status": 0, "volume": 0.004, "volume.reverse": 0.005}


def test_mbus_numbers_and_dates() -> None:
    assert bcd(bytes.fromhex("785634f2")) == -2345678
    assert bcd(bytes.fromhex("7856341b")) is None
    assert (date(0xFFFF), date(0x2C65), date(0x0000)) == (None, "2019-12-05", "2000-00-00")
    assert date_time(bytes.fromhex("0d0c652c")) == "2019-12-05T12:13"
    assert date_time(bytes.fromhex("8d0c652c")) is None
    assert date_time(b"\0") is None


def test_an_sps30_that_lost_its_power_is_started_again() -> None:
    refused = bytes.fromhex("7e000343") + bytes((0x00, ~(0x03 + 0x43) & 0xFF, 0x7E))
    seen, values = steps(sps30.measure(0), [refused, b"", b""])
    assert [step.data for step in seen if isinstance(step, Write)][-1] == request(0x00, b"\x01\x03")
    assert set(values.values()) == {Absent.WARMING_UP}


def test_an_sps30_may_report_its_own_fault() -> None:
    faulty = bytes.fromhex("7e000380") + bytes((0x00, ~(0x03 + 0x80) & 0xFF, 0x7E))
    _, values = steps(sps30.measure(0), [faulty])
    assert set(values.values()) == {Absent.SENSOR_FAULT}


def test_setups_only_write_and_wait() -> None:
    seen, values = steps(scd4x.setup(0x62), [])
    assert [step.data.hex() for step in seen if isinstance(step, Write)] == ["3f86", "21b1"]
    assert values == {}


def test_a_bme280_without_a_channel() -> None:
    replies = list(bme280.DRIVERS[0].vectors[0].reply)
    replies[-1] = replies[-1][:6] + b"\x80\x00"
    values = exchange(bme280.DRIVERS[0], replies)
    assert values["humidity"] is Absent.NOT_AVAILABLE
    assert isinstance(values["temperature"], float)


def test_every_setup_can_be_played_on_a_silent_device() -> None:
    from lamppost_drivers.library import LIBRARY

    for driver in LIBRARY.values():
        if isinstance(driver, ExchangeDriver) and driver.setup is not None:
            steps(driver.setup(driver.address), [b""] * 10)


def test_a_sunspec_device_is_sought_at_three_places() -> None:
    walk = sunspec.walk()
    asked = [next(walk)]
    with pytest.raises(FrameError, match="no SunS"):
        while True:
            asked.append(walk.send(None if len(asked) < 2 else (1, 2)))
    assert asked == [ReadRegisters(base, 2) for base in (40000, 50000, 0)]


def test_a_sunspec_chain_that_never_ends_is_left() -> None:
    driver = find("sunspec-meter")
    assert isinstance(driver, RegisterMap)
    assert driver.discover is not None
    blocks = {40000: (0x5375, 0x6E53, *(64001, 0) * 200)}
    with pytest.raises(FrameError, match="none of them is known"):
        discovered(driver.discover(), blocks)


def test_a_sunspec_device_of_another_kind_says_what_it_has() -> None:
    driver = find("sunspec-meter")
    inverter = find("sunspec-inverter")
    assert isinstance(driver, RegisterMap)
    assert isinstance(inverter, RegisterMap)
    assert driver.discover is not None
    with pytest.raises(FrameError, match="models 1, 103"):
        discovered(driver.discover(), inverter.vectors[0].registers)


def test_a_short_sunspec_model_has_fewer_points_and_values_come_with_their_scale() -> None:
    blocks = {0: (0x5375, 0x6E53, 203, 22, *range(22), 0xFFFF, 0)}
    driver = find("sunspec-meter")
    assert isinstance(driver, RegisterMap)
    assert driver.discover is not None
    found = discovered(driver.discover(), blocks)
    assert {"current", "power", "frequency"} <= {
        register.point.name for register in found.registers
    }
    assert "energy.import" not in {register.point.name for register in found.registers}
    for register in found.registers:
        assert (
            register.scale_at is None or register.scale_at == register.address + register.words - 1
        )


def test_p1_meters_behind_the_meter_are_told_by_their_type() -> None:
    telegram = (
        "/X\r\n\r\n0-1:24.1.0(007)\r\n0-1:24.2.1(260101000000W)(00012.345*m3)\r\n"
        "0-2:24.1.0(004)\r\n0-2:24.2.1(260101000000W)(1.8*GJ)\r\n0-3:24.2.1(260101000000W)(9.000*m3)\r\n"
        "1-0:1.7.0(ERROR*kW)\r\n!\r\n"
    )
    values = p1.decode(telegram.encode())
    assert values == {"volume": 12.345, "energy.heat": 500.0, "power.import": Absent.NOT_AVAILABLE}
    with pytest.raises(FrameError):
        p1.decode(b"/X\r\n\r\n0-0:96.13.0()\r\n!\r\n")


def test_an_mbus_frame_is_checked_even_outside_a_stream() -> None:
    sound = frame(WATER + "0413 15310000")
    assert answer(sound).ci == 0x72
    for wrong in (
        sound[:-1],
        sound[:-2] + bytes((sound[-2] ^ 1, 0x16)),
        sound[:-1] + b"\x17",
        b"\x10" + sound[1:],
    ):
        with pytest.raises(FrameError):
            answer(wrong)


def test_where_two_sunspec_models_hold_a_point_the_first_has_it() -> None:
    model = (203, 22, *range(22))
    blocks = {0: (0x5375, 0x6E53, *model, *model, 0xFFFF, 0)}
    driver = find("sunspec-meter")
    assert isinstance(driver, RegisterMap)
    assert driver.discover is not None
    found = discovered(driver.discover(), blocks)
    assert max(register.address for register in found.registers) < 26
