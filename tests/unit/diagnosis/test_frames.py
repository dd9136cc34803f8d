"""What a Modbus line brought: frames by their CRC, echo, breaks, rubbish, a second answer, an answer too late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.modbus import crc16, framed
from lamppost.diagnosis.facts import Trial
from lamppost.diagnosis.wire import frames, orders
from lamppost.diagnosis.wire.line import Heard
from lamppost_drivers.library import find

REQUEST = frames.read_frame(2, 4, 0, 2)
ANSWER = framed(2, b"\x04\x04\x43\x66\x80\x00")


def judged(data: bytes, at: float = 0.01) -> Trial:
    heard = Heard(((at, data),) if data else ())
    return frames.judged(REQUEST, heard, "9600 8N1", 0.3)


@given(st.binary(min_size=1, max_size=60))
def test_the_check_is_that_of_the_standard(data: bytes) -> None:
    assert frames.crc(data) == crc16(data).to_bytes(2, "little")


@pytest.mark.parametrize(
    ("data", "outcome", "extra", "echo"),
    [
        (b"", "silent", 0, False),
        (ANSWER, "good", 0, False),
        (b"\x00" + ANSWER, "good", 0, False),
        (REQUEST, "silent", 0, True),
        (REQUEST + ANSWER, "good", 0, True),
        (ANSWER + ANSWER, "good", 1, False),
        (ANSWER[:-1], "damaged", 0, False),
        (ANSWER[:-1] + b"\xff", "damaged", 0, False),
        (b"\x00\x00\x00", "silent", 0, False),
        (framed(2, b"\x84\x02"), "refused", 0, False),
        (framed(3, b"\x04\x02\x00\x01"), "silent", 1, False),
        (ANSWER + b"\x55\xaa\x12\x34", "good", 1, False),
    ],
)
def test_what_came(data: bytes, outcome: str, extra: int, echo: bool) -> None:
    trial = judged(data)
    assert (trial.outcome, len(trial.extra), trial.echo) == (outcome, extra, echo)
    if outcome == "good":
        assert trial.values == [0x4366, 0x8000]


def test_an_answer_past_the_time_out_is_late() -> None:
    assert judged(ANSWER, 0.5).outcome == "late"


@given(st.binary(max_size=300))
def test_rubbish_is_never_a_good_answer_of_another_length(data: bytes) -> None:
    trial = judged(data)
    assert trial.outcome in ("silent", "damaged", "good", "refused")
    split = frames.split(data)
    assert sum(map(len, split.frames)) + len(split.rubbish) == len(data)


@pytest.mark.parametrize("at", range(len(ANSWER) * 8))
def test_no_flipped_bit_passes(at: int) -> None:
    spoilt = bytearray(ANSWER)
    spoilt[at // 8] ^= 1 << at % 8
    assert judged(bytes(spoilt)).outcome != "good"


def test_word_orders_of_a_voltage() -> None:
    register = orders.telling(find("sdm120"))  # type: ignore[arg-type]
    assert register is not None
    assert register.point.unit == "Hz"
    found = orders.readings(register, [0x4248, 0x0000])
    assert found["big"] == 50.0
    assert [name for name, value in found.items() if 45 <= value <= 65] == ["big"]
    swapped = orders.readings(register, [0x0000, 0x4248])
    assert swapped["little"] == 50.0
