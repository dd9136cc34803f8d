import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamppost.errors import LinkError
from lamppost.links import modbus
from lamppost.links.faults import CorruptError, RefusedError
from lamppost.links.modbus import Look, Request, adu_length, read_request, silence
from shared_folder import shared_folder, shared_path, vectors

ROWS = list(vectors("modbus/rtu_framing"))


EXPONENT_LOST = {
    "modbus-rtu-spec-examples-010300f300023438": -4.3959787e-11,
    "modbus-rtu-spec-examples-010300f4000285f9": -4.3959787e-11,
    "modbus-rtu-spec-examples-010400670002c014": 3.65e30,
}
"""Rows whose value was collected without its exponent: the source has it."""


def outcome(request_hex: str, answer: bytes) -> tuple[str, list[int]]:
    """What our own way through a line's bytes makes of them: nothing else decides in `rtu`."""
    frame = bytes.fromhex(request_hex)
    try:
        request = Request.of(frame[0], frame[1:-2])
        look = request.look(answer)
        if look.answer is None or (request.is_echo(answer) and len(answer) > request.length):
            return "reject", []
        return "good", list(request.values(look.answer))
    except (LinkError, ValueError):
        return "reject", []


def _orders(raw: bytes) -> list[bytes]:
    """ABCD, BADC, DCBA, CDAB."""
    swapped = b"".join(raw[i : i + 2][::-1] for i in range(0, len(raw), 2))
    return [raw, swapped, raw[::-1], swapped[::-1]]


@pytest.mark.shared
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['id']}-{row['input_hex'][:20]}")
def test_every_captured_frame_is_taken_or_refused_as_its_source_says(row: dict[str, Any]) -> None:
    expected = row["expected"]
    found, words = outcome(expected["request_hex"], bytes.fromhex(row["input_hex"]))
    assert found == expected["outcome"]
    if "value" not in expected or found == "reject":
        return
    value = EXPONENT_LOST.get(row["id"], expected["value"])
    raw = struct.pack(f">{len(words)}H", *words)
    candidates: list[float] = [*words, words[0] / 10, words[0] / 100]
    for order in _orders(raw):
        for code in {2: "hH", 4: "fi", 8: "dq"}.get(len(raw), ""):
            candidates += struct.unpack(f">{code}", order)
    assert any(value == pytest.approx(candidate, rel=1e-6) for candidate in candidates)


def test_the_captured_frames_are_all_there() -> None:
    shared_path("vectors/modbus/rtu_framing")
    assert shared_folder() is not None
    assert len(ROWS) == 60


REQUEST = read_request(3, "input", 10, 2)


def answer_to(request: Request, words: list[int]) -> bytes:
    body = request.head + struct.pack(f">{len(words)}H", *words)
    return body + crc16(body)


def crc16(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


def test_a_request_is_what_the_standard_prints() -> None:
    # Modbus application protocol 1.1b3, clauses 6.3 and 6.1: the PDUs of the examples
    assert read_request(17, "holding", 107, 3).pdu == bytes.fromhex("03006b0003")
    assert read_request(17, "coil", 19, 19).pdu == bytes.fromhex("0100130013")
    assert read_request(17, "coil", 19, 19).head == b"\x11\x01\x03"
    frame = read_request(17, "holding", 107, 3).frame
    assert frame == b"\x11\x03\x00\x6b\x00\x03" + crc16(frame[:-2])


@pytest.mark.parametrize(("address", "count"), [(0, 0), (0, 126), (65536, 1), (-1, 1)])
def test_what_modbus_cannot_say_is_refused(address: int, count: int) -> None:
    with pytest.raises(ValueError):
        read_request(1, "holding", address, count)


@given(st.binary(max_size=2), st.binary(max_size=6), st.data())
def test_the_answer_is_found_whole_in_pieces_and_between_strangers(
    before: bytes, after: bytes, data: st.DataObject
) -> None:
    answer = answer_to(REQUEST, [0x4366, 0x8000])
    line = before + answer + after
    for end in range(len(line) + 1):
        look = REQUEST.look(line[:end])
        if look.answer is not None:
            assert REQUEST.values(look.answer) == [0x4366, 0x8000]
            assert end >= len(before) + len(answer)
            break
        assert look.missing > 0
        if not before:
            assert end + look.missing <= len(answer)
    else:
        # Only junk that itself looks like the head of a longer answer may hide it until more comes.
        assert before


@given(st.integers(0, 8 * 9 - 1))
def test_no_single_bit_flip_passes(bit: int) -> None:
    answer = bytearray(answer_to(REQUEST, [0x4366, 0x8000]))
    answer[bit // 8] ^= 1 << bit % 8
    assert REQUEST.look(bytes(answer)).answer is None


def test_a_damaged_answer_is_told_from_a_missing_one() -> None:
    answer = answer_to(REQUEST, [1, 2])
    assert not REQUEST.look(answer[:-1]).damaged
    assert REQUEST.look(answer[:-1] + b"\x00").damaged


def test_answers_of_another_unit_function_or_count_are_not_ours() -> None:
    for other in (
        read_request(4, "input", 10, 2),
        read_request(3, "holding", 10, 2),
        read_request(3, "input", 10, 1),
    ):
        assert REQUEST.look(answer_to(other, [1] * other.count)).answer is None
    late = answer_to(read_request(4, "input", 10, 2), [7, 7])
    look = REQUEST.look(late + answer_to(REQUEST, [1, 2]))
    assert look.answer is not None
    assert REQUEST.values(look.answer) == [1, 2]


def test_what_stands_before_an_answer_must_be_explained() -> None:
    answer = answer_to(REQUEST, [1, 2])
    assert REQUEST.look(b"\x00\xff" + answer).answer is not None
    assert REQUEST.look(b"\x00\xff\x00" + answer) == Look(None, 5, True)
    assert REQUEST.look(REQUEST.frame + answer).answer is None


def test_an_exception_is_refused_with_its_number() -> None:
    body = b"\x03\x84\x02"
    look = REQUEST.look(body + crc16(body))
    assert look.answer is not None
    with pytest.raises(RefusedError, match="illegal data address") as refused:
        REQUEST.values(look.answer)
    assert refused.value.number == 2
    assert refused.value.code == "link.refused"
    assert "unit 3" in str(refused.value)


def test_our_own_request_is_no_answer() -> None:
    assert REQUEST.look(REQUEST.frame).answer is None
    assert REQUEST.is_echo(REQUEST.frame + b"\0")


def test_bits_come_as_many_as_asked() -> None:
    request = read_request(1, "discrete", 196, 22)
    look = request.look(bytes.fromhex("010203acdb352288"))
    assert look.answer is not None
    bits = request.values(look.answer)
    assert len(bits) == 22
    assert bits[:8] == [0, 0, 1, 1, 0, 1, 0, 1]


def test_tcp_frames() -> None:
    adu = modbus.adu(REQUEST.unit, REQUEST.pdu, 0x1234)
    assert adu[2:] == REQUEST.tail
    assert adu == bytes.fromhex("123400000006 03 04000a0002")
    assert adu_length(adu) == len(adu)
    assert adu_length(adu[:5]) == 0
    answer = bytes.fromhex("123400000007 03 04044366 8000")
    assert REQUEST.values(REQUEST.pdu_of(answer)) == [0x4366, 0x8000]
    with pytest.raises(CorruptError):
        REQUEST.pdu_of(answer[:6] + b"\x04" + answer[7:])
    with pytest.raises(CorruptError):
        REQUEST.values(bytes.fromhex("0402436680"))
    with pytest.raises(CorruptError):
        adu_length(b"HTTP/1.1 400")


def test_silence_is_three_and_a_half_characters_up_to_19200_baud() -> None:
    assert silence(9600, 10 * 10**9 // 9600) == pytest.approx(3_645_833, abs=4)
    assert silence(19200, 11 * 10**9 // 19200) == pytest.approx(2_005_208, abs=4)
    assert silence(38400, 10 * 10**9 // 38400) == 1_750_000
