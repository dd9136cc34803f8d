"""The segment as a pure model: silences, collisions, garbage, echo and delivery, at times we choose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from hwsim.device import Babbler, Device, Reply
from hwsim.wire import Wire

BYTE = 10 / 9600
SILENCE = 3.5 * BYTE


class Parrot(Device):
    """Answers every frame with `says`, after `delay`."""

    def __init__(self, says: bytes = b"answer", delay: float = 0.0) -> None:
        self.says, self.delay = says, delay
        self.heard: list[tuple[bytes, float]] = []

    def hear(self, frame: bytes, now: float) -> Iterable[Reply]:
        self.heard.append((frame, now))
        return [(self.delay, self.says)] if self.says else []


def wire(device: Device | None = None, **how: object) -> Wire:
    made = Wire(**how)  # type: ignore[arg-type]
    if device is not None:
        made.attach(device, 0.0)
    return made


def collect(line: Wire, until: float, speed: int = 9600) -> list[tuple[float, bytes]]:
    """All that reaches the driver, with its moment, jumping from deadline to deadline."""
    arrived = []
    while (at := line.deadline()) is not None and at <= until:
        if data := line.step(at, speed):
            arrived.append((at, data))
    return arrived


def near(moment: float) -> Any:
    return pytest.approx(moment)


def test_a_frame_ends_after_three_and_a_half_characters() -> None:
    parrot = Parrot(says=b"")
    line = wire(parrot)
    line.driver_wrote(b"12345678", 1.0, 9600)
    line.step(1.0 + 8 * BYTE + SILENCE - 1e-5, 9600)
    assert parrot.heard == []
    line.step(1.0 + 8 * BYTE + SILENCE + 1e-5, 9600)
    assert parrot.heard == [(b"12345678", near(1.0 + 8 * BYTE + SILENCE))]


def test_each_byte_of_an_answer_arrives_when_its_last_bit_has_passed() -> None:
    line = wire(Parrot(b"abc", delay=0.002))
    line.driver_wrote(b"12345678", 1.0, 9600)
    first = 1.0 + 8 * BYTE + SILENCE + 0.002
    assert collect(line, 2.0) == [
        (near(first + BYTE), b"a"),
        (near(first + 2 * BYTE), b"b"),
        (near(first + 3 * BYTE), b"c"),
    ]


@pytest.mark.parametrize(
    ("baud", "silence"), [(9600, 3.5 * 10 / 9600), (19200, 3.5 * 10 / 19200), (115200, 0.00175)]
)
def test_the_silence_is_fixed_above_19200(baud: int, silence: float) -> None:
    assert Wire(baud).silence == pytest.approx(silence)


def test_a_pause_inside_a_frame_does_not_end_it_and_is_counted() -> None:
    parrot = Parrot(says=b"")
    line = wire(parrot)
    line.driver_wrote(b"1234", 1.0, 9600)
    line.driver_wrote(b"5678", 1.0 + 4 * BYTE + 2 * BYTE, 9600)
    collect(line, 2.0)
    assert [frame for frame, _ in parrot.heard] == [b"12345678"]
    assert line.stats.splits == 1


@pytest.mark.parametrize(("characters", "violations"), [(3.4, 1), (3.6, 0)])
def test_a_request_too_soon_after_an_answer_is_a_violation(
    characters: float, violations: int
) -> None:
    line = wire(Parrot(b"abc"))
    line.driver_wrote(b"12345678", 1.0, 9600)
    ended = collect(line, 2.0)[-1][0]
    line.driver_wrote(b"12345678", ended + characters * BYTE, 9600)
    assert line.stats.violations == violations
    assert line.stats.smallest_gap == pytest.approx(characters * BYTE)
    assert line.stats.collisions == 0


def test_two_who_speak_at_once_destroy_one_another() -> None:
    line = wire(Parrot(b"abcdefgh"))
    line.driver_wrote(b"12345678", 1.0, 9600)
    heard = collect(line, 1.0 + 8 * BYTE + SILENCE + 4.5 * BYTE)
    line.driver_wrote(b"12345678", 1.0 + 8 * BYTE + SILENCE + 4.5 * BYTE, 9600)
    rest = b"".join(data for _, data in collect(line, 2.0))
    assert b"".join(data for _, data in heard) == b"abcd"
    assert rest[:4] != b"efgh"
    assert len(rest) >= 4
    assert line.stats.collisions == 1
    assert line.stats.violations == 1
    assert line.stats.smallest_gap is not None
    assert line.stats.smallest_gap < 0


def test_a_duplex_wire_has_no_collisions() -> None:
    line = wire(Parrot(b"abcdefgh"), half_duplex=False)
    line.driver_wrote(b"12345678", 1.0, 9600)
    collect(line, 1.0 + 8 * BYTE + SILENCE + 4.5 * BYTE)
    line.driver_wrote(b"1", 1.0 + 8 * BYTE + SILENCE + 4.5 * BYTE, 9600)
    assert b"".join(data for _, data in collect(line, 1.0 + 16.5 * BYTE + SILENCE)) == b"efgh"
    assert line.stats.collisions == 0


@pytest.mark.parametrize(("speed", "count"), [(4800, 4), (19200, 16), (9700, 8)])
def test_a_driver_at_another_speed_hears_garbage_of_the_right_length(
    speed: int, count: int
) -> None:
    line = wire()
    line.inject(b"abcdefgh", 1.0)
    heard = b"".join(data for _, data in collect(line, 2.0, speed))
    assert len(heard) == count
    assert (heard == b"abcdefgh") == (speed == 9700)


def test_units_hear_garbage_from_a_driver_at_another_speed() -> None:
    parrot = Parrot(says=b"")
    line = wire(parrot)
    line.driver_wrote(b"12345678", 1.0, 19200)
    collect(line, 2.0)
    assert parrot.heard[0][0] != b"12345678"


def test_without_a_speed_of_its_own_the_line_takes_the_drivers() -> None:
    line = wire(Parrot(b"x"), baud=None)
    line.driver_wrote(b"1234", 1.0, 2400)
    assert collect(line, 2.0, 2400) == [(near(1.0 + (4 + 3.5 + 1) * 10 / 2400), b"x")]


def test_echo_returns_the_drivers_own_bytes_as_they_pass() -> None:
    line = wire(echo=True)
    line.driver_wrote(b"12", 1.0, 9600)
    assert collect(line, 2.0) == [
        (near(1 + BYTE), b"1"),
        (near(1 + 2 * BYTE), b"2"),
    ]


def test_bit_errors_come_at_the_rate_asked_for_and_are_reproducible() -> None:
    def noisy() -> tuple[bytes, int]:
        line = wire(bit_error_rate=0.01, seed=7)
        line.inject(bytes(1000), 1.0)
        return b"".join(data for _, data in collect(line, 3.0)), line.stats.flipped_bits

    heard, flipped = noisy()
    assert 40 < flipped < 130
    assert sum(byte.bit_count() for byte in heard) == flipped
    assert noisy() == (heard, flipped)


def test_fifo_hands_over_full_pieces_and_the_rest_after_four_characters() -> None:
    line = wire(granularity="fifo4")
    line.inject(b"abcdef", 1.0)
    assert collect(line, 2.0) == [
        (near(1 + 4 * BYTE), b"abcd"),
        (near(1 + (6 + 4) * BYTE), b"ef"),
    ]


def test_dma_hands_over_full_pieces_and_the_rest_with_its_last_bit() -> None:
    line = wire(granularity="dma4")
    line.inject(b"abcdef", 1.0)
    assert collect(line, 2.0) == [(near(1 + 4 * BYTE), b"abcd"), (near(1 + 6 * BYTE), b"ef")]


def test_ftdi_hands_over_at_its_ticks() -> None:
    line = wire(granularity="ftdi16")
    line.inject(bytes(range(24)), 1.0)  # 25 ms; ticks every 16 ms
    got = collect(line, 2.0)
    assert [at for at, _ in got] == [near(at) for at in (1.008, 1.024, 1.040)]
    assert [len(data) for _, data in got] == [7, 16, 1]


def test_ftdi_does_not_wait_for_a_tick_with_a_full_packet() -> None:
    line = wire(baud=115200, granularity="ftdi16")
    line.inject(bytes(100), 1.0)
    got = collect(line, 2.0, 115200)
    assert [len(data) for _, data in got] == [62, 38]
    assert got[0][0] == pytest.approx(1 + 62 * 10 / 115200)


@pytest.mark.parametrize("bad", ["", "bytes", "fifo", "byte2", "16"])
def test_an_unknown_granularity_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="granularity"):
        Wire(granularity=bad)


def test_a_babbler_fills_the_line_and_spoils_requests() -> None:
    parrot = Parrot(says=b"")
    line = wire(parrot)
    line.attach(Babbler(seed=1), 0.0)
    collect(line, 1.0)
    line.driver_wrote(b"12345678", 1.0, 9600)
    heard = collect(line, 2.0)
    assert line.stats.busy == pytest.approx(2.0, abs=0.1)
    assert sum(len(data) for _, data in heard) == pytest.approx(960, abs=40)
    assert parrot.heard[0][0] != b"12345678"
    assert line.stats.collisions > 0


def test_use_of_a_driver_that_wastes_nothing_is_one() -> None:
    line, now = wire(Parrot(b"abcdefghij", delay=0.003)), 1.0
    for _ in range(20):
        line.driver_wrote(b"12345678", now, 9600)
        now = collect(line, now + 0.5)[-1][0] + SILENCE
    assert line.stats.occupied == pytest.approx(now - 1.0)
    assert line.stats.busy == pytest.approx(20 * 18 * BYTE)
    assert line.stats.violations == 0


def test_bytes_for_a_closed_port_are_lost() -> None:
    line = wire()
    line.inject(b"abc", 1.0)
    assert line.step(2.0, None) == b""
    assert line.stats.lost == 3


def test_requests_are_counted_by_unit() -> None:
    line, now = wire(), 1.0
    for unit in (1, 2, 1):
        line.driver_wrote(bytes((unit, 3, 0, 0)), now, 9600)
        now += 0.1
        line.step(now, 9600)
    assert line.stats.requests == {1: 2, 2: 1}
    assert line.stats.frames == 3
