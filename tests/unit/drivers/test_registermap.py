"""Registers become values: types, word orders, scales, absent values, powers of ten, coils."""

from __future__ import annotations

import struct

import pytest

from lamppost_drivers.contract import Absent, FrameError, Point, Register, Scalar
from lamppost_drivers.registermap import TYPES, WORD_ORDERS, Decoder, decode, words_of


def register(type_: str, name: str = "x", address: int = 0, **more: object) -> Register:
    settings: dict[str, object] = {
        "table": "holding",
        "word_order": "big",
        "words": words_of(type_, 2),
    } | more
    return Register(Point(name, "/", 0, 1), address, type_, **settings)  # type: ignore[arg-type]


def value(read: list[int], type_: str, **more: object) -> Scalar | Absent:
    return decode([register(type_, **more)], {0: read})["x"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("type_", "words", "expect"),
    [
        ("int16", [0xFFFE], -2),
        ("uint16", [0xFFFE], 65534),
        ("int32", [0xFFFF, 0xFFFE], -2),
        ("uint32", [0x0001, 0x0000], 65536),
        ("int64", [0, 0, 0, 7], 7),
        ("uint64", [0xFFFF] * 4, 2**64 - 1),
        ("float16", [0x3C00], 1.0),
        ("float32", [0x42C8, 0x0000], 100.0),
        ("float64", [0x4059, 0, 0, 0], 100.0),
        ("bcd16", [0x1234], 1234),
        ("bcd32", [0x0012, 0x3456], 123456),
        ("int8.high", [0xFF01], -1),
        ("uint8.low", [0x12FF], 255),
    ],
)
def test_types(type_: str, words: list[int], expect: float) -> None:
    assert value(words, type_) == expect


def test_word_orders_name_how_abcd_stands_on_the_wire() -> None:
    wires = {
        "big": [0x0102, 0x0304],
        "little": [0x0304, 0x0102],
        "BADC": [0x0201, 0x0403],
        "DCBA": [0x0403, 0x0201],
    }
    assert set(wires) == set(WORD_ORDERS)
    for order, words in wires.items():
        assert value(words, "uint32", word_order=order) == 0x01020304


@pytest.mark.parametrize(
    ("raw", "scale", "expect"),
    [(2302, 0.1, 230.2), (3, 0.1, 0.3), (1, 0.001, 0.001), (7, 10.0, 70)],
)
def test_a_decimal_scale_is_rounded_correctly(raw: int, scale: float, expect: float) -> None:
    assert value([raw], "uint16", scale=scale) == expect


def test_offset_comes_after_scale() -> None:
    assert value([2931], "uint16", scale=0.1, offset=-273.0) == pytest.approx(20.1)
    assert value([5], "uint16", offset=2.0) == 7


@pytest.mark.parametrize("words", [[0x7FC0, 0], [0xFFC0, 0], [0x7F80, 0], [0xFF80, 0]])
def test_what_is_no_number_is_not_available(words: list[int]) -> None:
    assert value(words, "float32") is Absent.NOT_AVAILABLE


def test_a_scale_that_leaves_the_floats_is_not_available() -> None:
    (high, low) = struct.unpack(">2H", struct.pack(">f", 3e38))
    assert value([high, low], "float32", scale=1e300) is Absent.NOT_AVAILABLE


def test_absent_values_may_be_written_as_bits_or_as_numbers() -> None:
    assert value([0x8000], "int16", absent=(0x8000,)) is Absent.NOT_AVAILABLE
    assert value([0x8000], "int16", absent=(-32768,)) is Absent.NOT_AVAILABLE
    assert value([0xFFFF], "uint16", absent=(0xFFFF,)) is Absent.NOT_AVAILABLE
    assert value([0x7FFF], "int16", absent=(0x8000,)) == 32767


def test_bcd_with_a_letter_is_not_available() -> None:
    assert value([0x12A4], "bcd16") is Absent.NOT_AVAILABLE


def test_text_is_trimmed_and_must_be_ascii() -> None:
    assert value([0x4142, 0x4300], "text") == "ABC"
    assert value([0, 0], "text") is Absent.NOT_AVAILABLE
    assert value([0xC3BC, 0], "text") is Absent.NOT_AVAILABLE


def test_a_power_of_ten_may_stand_in_another_register() -> None:
    assert value([2302, 7, 0xFFFF], "uint16", words=3, scale_at=2) == 230.2
    assert value([23, 7, 2], "uint16", words=3, scale_at=2) == 2300
    assert value([23, 7, 0x8000], "uint16", words=3, scale_at=2) is Absent.NOT_AVAILABLE


def test_a_ratio_is_a_percentage_unless_a_hundred_would_not_fit() -> None:
    assert value([985, 0xFFFF], "ratio16", words=2, scale_at=1) == 0.985  # 98.5 %
    assert value([985, 0xFFFD], "ratio16", words=2, scale_at=1) == 0.985  # 0.985
    assert (
        value([0x8000, 0xFFFF], "ratio16", words=2, scale_at=1, absent=(0x8000,))
        is Absent.NOT_AVAILABLE
    )


def test_coils_are_bits() -> None:
    assert decode([register("bool", address=9, table="coil")], {8: [0, 1]}) == {"x": True}


def test_a_block_that_is_too_short_or_no_word_is_refused() -> None:
    decoder = Decoder([register("uint32", address=10)], 8)
    assert decoder.span == 4
    assert decoder.decode([0, 0, 1, 2]) == {"x": 65538}
    with pytest.raises(FrameError):
        decoder.decode([0, 0, 1])
    with pytest.raises(FrameError):
        decoder.decode([0, 0, 1, 0x10000])
    with pytest.raises(ValueError, match="before the block"):
        Decoder([register("uint16", address=1)], 2)


def test_only_registers_that_lie_whole_in_a_block_are_decoded() -> None:
    registers = [register("uint16", "a", 0), register("uint32", "b", 1), register("uint16", "c", 9)]
    assert decode(registers, {0: [5, 0], 9: [7]}) == {"a": 5, "c": 7}


def test_mixed_orders_and_overlaps_in_one_block() -> None:
    registers = [
        register("uint32", "a", 0),
        register("uint32", "b", 0, word_order="little"),
        register("uint32", "c", 0, word_order="DCBA"),
        register("uint8.high", "d", 1),
    ]
    assert decode(registers, {0: [0x0102, 0x0304]}) == {
        "a": 0x01020304,
        "b": 0x03040102,
        "c": 0x04030201,
        "d": 3,
    }


def test_every_type_has_words() -> None:
    assert all(words_of(type_) == words for type_, (_, words) in TYPES.items())
