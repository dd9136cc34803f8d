"""Every driver over its own vectors: whole, byte by byte, after junk, with a tail, and with every bit flipped."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from lamppost.cli.captured import answer
from lamppost_drivers.checksum import crc16_arc
from lamppost_drivers.contract import (
    Absent,
    Advertisement,
    BroadcastDriver,
    Driver,
    Exchange,
    ExchangeDriver,
    FrameError,
    Kind,
    PulseDriver,
    Read,
    Register,
    RegisterMap,
    StreamDriver,
    Values,
    Vector,
)
from lamppost_drivers.framing import FixedFraming
from lamppost_drivers.library import LIBRARY
from lamppost_drivers.registermap import decode_map, words_of
from lamppost_drivers.selftest import (
    UNCHECKED,
    decoded,
    discovered,
    equal,
    exchange,
    flips,
    problems,
    registers,
    same,
    stream,
)

JUNK = (
    b"\x00",
    b"\xff\xfe",
    b"/junk!",
    b"\x42\x4d\x00",
    b"\x7e\x7d",
    b"\x68\x05",
    b"R12",
    b"\xaa\xc0\xab",
    bytes(range(256)),
)
UNITS = {
    "V", "A", "W", "VA", "var", "/", "Hz", "kWh", "kvarh", "kVAh", "deg", "%", "ug/m3", "1/cm3", "Cel", "K", "%RH",
    "Pa",
    "ppm", "m3/h", "l/min", "m3", "m", "mm", "mm/h", "m/s", "m/s2", "deg/s", "S/m", "s", "h", "um", "lx", "dBA", "kg",
    "mA", "W/m2", "V/m", "Ohm", "1/min", "",
}  # fmt: skip

DRIVERS = tuple(LIBRARY[model] for model in LIBRARY.models())
STREAMS = [d for d in DRIVERS if isinstance(d, StreamDriver)]
EXCHANGES = [d for d in DRIVERS if isinstance(d, ExchangeDriver)]
MAPS = [d for d in DRIVERS if isinstance(d, RegisterMap)]
BROADCASTS = [d for d in DRIVERS if isinstance(d, BroadcastDriver)]
WITH_VECTORS = [d for d in DRIVERS if not isinstance(d, PulseDriver)]


def vectors(driver: Driver) -> tuple[Vector, ...]:
    return () if isinstance(driver, PulseDriver) else driver.vectors


def by_model(driver: Driver) -> str:
    return driver.model


@pytest.mark.parametrize("driver", WITH_VECTORS, ids=by_model)
def test_whole(driver: Driver) -> None:
    assert any(vector.expect is not None for vector in vectors(driver)), "no vector, no merge"
    declared = {point.name for point in driver.points}
    for vector in vectors(driver):
        if vector.expect is None:
            with pytest.raises(FrameError):
                decoded(driver, vector)
            continue
        got = decoded(driver, vector)
        assert same(got, vector.expect) == "", vector.note
        assert set(got) <= declared, "a value without a point"


@pytest.mark.parametrize("driver", DRIVERS, ids=by_model)
def test_points_are_named_as_the_field_does(driver: Driver) -> None:
    names = [point.name for point in driver.points]
    assert names
    assert len(names) == len(set(names))
    for point in driver.points:
        assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", point.name), point.name
        assert point.unit in UNITS, (point.name, point.unit)
        assert point.low < point.high or point.unit == "", point.name
        if (
            point.name.split(".")[0] in ("energy", "reactive_energy", "apparent_energy", "rain")
            and "rate" not in point.name
        ):
            assert point.kind is Kind.COUNTER, point.name
    assert driver.documentation.products
    assert driver.documentation.source


@pytest.mark.parametrize("driver", WITH_VECTORS, ids=by_model)
def test_expected_values_are_plausible(driver: Driver) -> None:
    points = {point.name: point for point in driver.points}
    for vector in vectors(driver):
        for name, value in (vector.expect or {}).items():
            if (
                isinstance(value, int | float)
                and points[name].unit
                and name not in ("status", "alarm")
            ):
                assert points[name].low <= value <= points[name].high, (name, value)


@pytest.mark.parametrize("driver", STREAMS, ids=by_model)
def test_stream_byte_by_byte_after_junk_and_with_a_tail(driver: StreamDriver) -> None:
    for vector in driver.vectors:
        expect = [vector.expect] if vector.expect is not None else []
        frame = vector.frame
        ways: list[list[bytes]] = [
            [bytes((byte,)) for byte in frame],
            [frame, frame[: len(frame) // 2]],
            [frame, b"\x00\x55"],
        ]
        ways += [[junk, frame] for junk in JUNK] + [[junk + frame + junk] for junk in JUNK]
        for chunks in ways:
            got = stream(driver, chunks)
            if vector.expect is not None and not got:
                got = stream(driver, [*chunks, frame])[
                    :1
                ]  # junk that looks like a header may cost one frame
            assert len(got) == len(expect)
            assert all(same(one, want) == "" for one, want in zip(got, expect, strict=True))


@pytest.mark.parametrize("driver", STREAMS, ids=by_model)
def test_stream_with_every_bit_flipped(driver: StreamDriver) -> None:
    for vector in driver.vectors:
        if vector.expect is None:
            continue
        (good,) = stream(driver, [vector.frame])
        for flipped in flips(vector.frame):
            for got in stream(driver, [flipped, vector.frame]):
                assert driver.model in UNCHECKED or got == good, flipped.hex()


@pytest.mark.parametrize("driver", EXCHANGES, ids=by_model)
def test_exchange_with_every_bit_flipped(driver: ExchangeDriver) -> None:
    for vector in driver.vectors:
        if vector.expect is None:
            continue
        good = exchange(driver, vector.reply)
        for index, reply in enumerate(vector.reply):
            for flipped in flips(reply):
                replies = (*vector.reply[:index], flipped, *vector.reply[index + 1 :])
                got = values_or_none(driver, replies)
                allowed = (
                    got is None or got == good or all(isinstance(v, Absent) for v in got.values())
                )
                assert allowed or driver.model in UNCHECKED, flipped.hex()


def values_or_none(driver: ExchangeDriver, replies: tuple[bytes, ...]) -> Values | None:
    try:
        return exchange(driver, replies)
    except FrameError:
        return None


@pytest.mark.parametrize("driver", EXCHANGES, ids=by_model)
def test_exchange_with_silence_and_cut_answers(driver: ExchangeDriver) -> None:
    for vector in driver.vectors:
        assert values_or_none(driver, ()) is None, "a silent device gave values"
        last = len(vector.reply) - 1
        for length in range(len(vector.reply[last])):
            cut = (*vector.reply[:last], vector.reply[last][:length])
            assert values_or_none(driver, cut) is None


@pytest.mark.parametrize("driver", [d for d in EXCHANGES if d.bus != "i2c"], ids=by_model)
def test_exchange_on_a_line_with_junk_and_tail(driver: ExchangeDriver) -> None:
    for vector in driver.vectors:
        if vector.expect is None:
            continue
        last = vector.reply[-1]
        for noisy in (b"\x00\x01" + last, last + b"\x00\x55"):
            assert same(exchange(driver, (*vector.reply[:-1], noisy)), vector.expect) == ""


@pytest.mark.parametrize("driver", MAPS, ids=by_model)
def test_map_in_pieces_and_with_more_around(driver: RegisterMap) -> None:
    for vector in driver.vectors:
        assert vector.expect is not None
        if driver.discover is None:
            pieces = {
                r.address: tuple(
                    word
                    for start, words in vector.registers.items()
                    for word in words[
                        max(0, r.address - start) : max(0, r.address - start) + r.words
                    ]
                    if start <= r.address < start + len(words)
                )
                for r in driver.registers
                if r.point.name in vector.expect
            }
            assert same(decode_map(driver, pieces), vector.expect) == ""
        around = {start: (*words, 0, 0) for start, words in vector.registers.items()}
        assert same(registers(driver, around), vector.expect) == ""


@pytest.mark.parametrize("driver", MAPS, ids=by_model)
def test_map_in_an_answer_with_every_bit_flipped(driver: RegisterMap) -> None:
    """As `lamppost device decode` sees it; on the gateway the link checks the same CRC."""
    for vector in driver.vectors[:1]:
        start, words = next(iter(vector.registers.items()))
        body = bytes((1, 3, 2 * len(words[:21]))) + b"".join(w.to_bytes(2) for w in words[:21])
        frame = body + crc16_arc(body, 0xFFFF).to_bytes(2, "little")
        row = {"model": driver.model, "input_hex": frame.hex(), "aux": {"start": start}}
        if driver.discover is None:
            assert "readings" in answer(row, LIBRARY.find)
        for flipped in flips(frame):
            said = answer({**row, "input_hex": flipped.hex()}, LIBRARY.find)
            assert "refused" in said, flipped.hex()


PARTS = {
    "int8.high": (0,), "uint8.high": (0,), "int8.low": (1,), "uint8.low": (1,), "uint16.middle": (1, 2),
}  # fmt: skip


def bytes_of(register: Register) -> Iterable[int]:
    """Which bytes, from the register's address on, are the value itself."""
    width = words_of(register.type, register.words)
    return PARTS.get(register.type, range(2 * width))


@pytest.mark.parametrize("driver", MAPS, ids=by_model)
def test_map_registers_do_not_overlap_by_mistake(driver: RegisterMap) -> None:
    taken: dict[tuple[str, int], str] = {}
    blocks = driver.vectors[0].registers
    found = discovered(driver.discover(), blocks) if driver.discover else driver
    assert found.registers
    for register in found.registers:
        for byte in bytes_of(register):
            place = (register.table, 2 * register.address + byte)
            assert place not in taken, f"{register.point.name} lies over {taken[place]}"
            taken[place] = register.point.name


@pytest.mark.parametrize("driver", BROADCASTS, ids=by_model)
def test_broadcast_cut_at_every_byte(driver: BroadcastDriver) -> None:
    for vector in driver.vectors:
        for cut in cuts(vector.advertisement):
            try:
                got = driver.decode(cut, vector.key)
            except FrameError:
                continue
            for name, value in got.items():  # a format without a length ends where its bytes end
                assert equal(value, (vector.expect or got).get(name, value)), name


def cuts(advertisement: Advertisement | None) -> Iterator[Advertisement]:
    assert advertisement is not None
    for company, data in advertisement.manufacturer.items():
        for length in range(len(data)):
            yield replace(advertisement, manufacturer={company: data[:length]})
    for uuid, data in advertisement.service.items():
        for length in range(len(data)):
            yield replace(advertisement, service={uuid: data[:length]})


@pytest.mark.parametrize("driver", BROADCASTS, ids=by_model)
def test_encrypted_broadcast_with_every_bit_flipped(driver: BroadcastDriver) -> None:
    for vector in driver.vectors:
        if not vector.key or vector.expect is None:
            continue
        assert vector.advertisement is not None
        for uuid, data in vector.advertisement.service.items():
            for flipped in flips(data):
                if flipped[0] & 1 == 0:
                    continue  # it says that it is plain: nothing is left to check
                with pytest.raises(FrameError):
                    driver.decode(
                        replace(vector.advertisement, service={uuid: flipped}), vector.key
                    )


def test_pulse_drivers_agree_with_their_units() -> None:
    pulses = [driver for driver in DRIVERS if isinstance(driver, PulseDriver)]
    assert {"s0-1000", "water-pulse-10l", "gas-pulse-10l", "yf-s201", "rain-tip-0-2mm"} <= {
        p.model for p in pulses
    }
    per_hour = {
        ("kWh", "W"): 3_600_000,
        ("m3", "m3/h"): 3600,
        ("m3", "l/min"): 60_000,
        ("mm", "mm/h"): 3600,
    }
    for driver in pulses:
        assert driver.rate is not None
        factor = per_hour[driver.total.unit, driver.rate.unit]
        assert math.isclose(driver.rate_per_hertz, driver.per_pulse * factor, rel_tol=1e-9), (
            driver.model
        )


@pytest.mark.parametrize("driver", DRIVERS, ids=by_model)
def test_selftest_finds_nothing(driver: Driver) -> None:
    assert list(problems(driver)) == []


def test_selftest_finds_what_is_broken() -> None:
    sds = LIBRARY["sds011"]
    assert isinstance(sds, StreamDriver)
    good = sds.vectors[0]
    assert "no vector with values" in list(problems(replace(sds, vectors=())))
    wrong = replace(sds, vectors=(replace(good, expect={"pm25": 1.0}),))
    assert any("12.3 is not 1.0" in line for line in problems(wrong))
    assert any(
        "must be refused" in line
        for line in problems(replace(sds, vectors=(good, replace(good, expect=None))))
    )
    assert any(
        "refused" in line for line in problems(replace(sds, vectors=(replace(good, frame=b"x"),)))
    )
    unchecked = replace(
        sds,
        framing=FixedFraming(b"\xaa\xc0", 10, lambda frame: True),
        decode=lambda f: {"pm25": f[2]},
    )
    lines = list(problems(replace(unchecked, vectors=(replace(good, expect={"pm25": 123}),))))
    assert any("bit 16 flipped" in line for line in lines)
    assert any(
        "no point declares" in line for line in problems(replace(sds, points=sds.points[:1]))
    )
    sht = LIBRARY["sht4x"]
    assert isinstance(sht, ExchangeDriver)

    def careless(address: int) -> Exchange:
        raw = yield Read(6)
        return {"temperature": raw[0], "humidity": raw[3]}

    loose = replace(
        sht,
        measure=careless,
        vectors=(Vector("x", {"temperature": 1}, reply=(bytes((1, 0, 0, 2, 0, 0)),)),),
    )
    assert any("of answer 0 flipped" in line for line in problems(loose))
