"""A BME680 apart from its bus: what is absent, what the heater is told, and that nothing divides by zero."""

from __future__ import annotations

import math

import pytest

from lamppost_drivers.air import bme68x
from lamppost_drivers.air.bme680 import DRIVERS
from lamppost_drivers.contract import Absent, FrameError, Wait, Write

REPLIES = DRIVERS[0].vectors[0].reply
WORDS = bme68x.calibration(*REPLIES[2:5])


def field(**parts: str) -> bytes:
    """The field of the first vector with other pressure, temperature, humidity or gas."""
    whole = bytearray(REPLIES[5])
    places = {"pressure": 2, "temperature": 5, "humidity": 8, "gas": 13}
    for name, text in parts.items():
        new = bytes.fromhex(text)
        whole[places[name] : places[name] + len(new)] = new
    return bytes(whole)


@pytest.mark.parametrize(
    ("parts", "absent"),
    [
        ({"temperature": "800000"}, {"temperature", "pressure", "humidity"}),
        ({"pressure": "800000"}, {"pressure"}),
        ({"humidity": "8000"}, {"humidity"}),
        ({"gas": "8386"}, {"gas.resistance"}),
    ],
)
def test_what_was_not_measured_is_not_available(parts: dict[str, str], absent: set[str]) -> None:
    values = bme68x.compensate(WORDS, field(**parts), bme68x.LOW)
    assert {name for name, value in values.items() if value is Absent.NOT_AVAILABLE} == absent


def test_a_cold_plate_is_no_gas_reading() -> None:
    values = bme68x.compensate(WORDS, field(gas="83a6"), bme68x.LOW)
    assert values["gas.resistance"] is Absent.WARMING_UP
    assert isinstance(values["temperature"], float)


def test_resistances_fall_with_the_count_and_halve_with_the_range() -> None:
    for count in range(0, 1024, 31):
        low = [bme68x.low_resistance(WORDS, count, span) for span in range(16)]
        high = [bme68x.high_resistance(count, span) for span in range(16)]
        assert all(isinstance(ohm, float) and 0 < ohm < 2e8 for ohm in (*low, *high))
        assert low[0] == pytest.approx(2 * float(str(low[1])), rel=0.02)
        assert high[0] == 2 * high[1]
    assert bme68x.high_resistance(512, 0) == 64e6


def test_the_heater_is_told_by_the_calibration() -> None:
    # the maker's integer formula gives 114 for this calibration, one step lower
    assert bme68x.heater(WORDS, 320) in (114, 115)
    assert bme68x.heater(WORDS, 200) < bme68x.heater(WORDS, 320) < bme68x.heater(WORDS, 400)
    assert [bme68x.heating(ms) for ms in (1, 63, 100, 150, 4032, 9000)] == [
        1,
        63,
        0x59,
        0x65,
        0xFF,
        0xFF,
    ]


def test_the_heater_is_set_before_the_measurement_and_waited_for() -> None:
    conversation, seen, queue = DRIVERS[0].measure(0x76), [], list(REPLIES)
    step = next(conversation)
    while True:
        seen.append(step)
        answer = b"" if isinstance(step, Write | Wait) else queue.pop(0)
        try:
            step = conversation.send(answer)
        except StopIteration:
            break
    written = [step.data.hex() for step in seen if isinstance(step, Write) and len(step.data) > 1]
    assert written == ["5a73", "6465", "7000", "7110", "7201", "7455"]
    (waited,) = [step.seconds for step in seen if isinstance(step, Wait)]
    assert (
        waited >= 0.150 + 0.043
    )  # heating, and 2 + 16 + 1 conversions of 1.963 ms with their overhead


def test_a_sensor_without_calibration_is_refused() -> None:
    for wrong in (
        (bytes(23), bytes(14), bytes(5)),
        (b"\xff" * 23, bytes(14), bytes(5)),
        (b"", b"", b""),
    ):
        with pytest.raises(FrameError):
            bme68x.calibration(*wrong)


def test_any_calibration_gives_numbers() -> None:
    for byte in range(256):
        first = bytes((byte,)) * 22 + bytes((byte ^ 1,))
        words = bme68x.calibration(first, bytes((byte,)) * 14, bytes((byte,)) * 5)
        values = bme68x.compensate(words, field(), bme68x.LOW)
        assert all(isinstance(v, Absent) or math.isfinite(float(v)) for v in values.values()), byte
        assert 0 <= bme68x.heater(words, 320) <= 255
