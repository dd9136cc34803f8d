"""A sample as bytes and back: nothing changes on the way, and nothing else is read."""

from __future__ import annotations

import math
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamppost.model import GOOD, Instant, Quality, Reading, Sample, Scalar, Severity
from lamppost.packing import pack, unpack

BOOT = "0a8a0a51-5c5e-4b9e-9a3c-0d9b7d1f2a10"
QUANTITIES = (
    "voltage",
    "current",
    "power.active",
    "power.apparent",
    "power.reactive",
    "power.factor",
)
POINTS = [f"{q}.l{i}" for q in QUANTITIES for i in (1, 2, 3)] + ["frequency", "energy.import"]


def sample(*values: Scalar | None, quality: Quality = GOOD, names: list[str] = POINTS) -> Sample:
    readings = tuple(Reading(n, v, quality) for n, v in zip(names, values, strict=False))
    return Sample("meter-07", Instant(BOOT, 123_456_789_012_345), readings)


def same(one: Sample, other: Sample) -> bool:
    """Equal, with types and NaN bits taken seriously."""

    def bits(value: Scalar | None) -> object:
        return struct.pack("<d", value) if type(value) is float else (type(value), value)

    def flat(s: Sample) -> object:
        return (s.device, s.at, [(r.point, bits(r.value), r.quality) for r in s.readings])

    return flat(one) == flat(other)


def test_a_meter_of_20_registers_takes_at_most_14_bytes_a_reading() -> None:
    registers = struct.unpack("<20f", struct.pack("<20f", *[230.1 + i / 7 for i in range(20)]))
    assert len(pack(sample(*registers))) <= 14 * 20
    assert len(pack(sample(*[230.1 + i / 7 for i in range(20)]))) <= 18 * 20


def test_quality_costs_nothing_where_it_is_good() -> None:
    same_quality = Quality(Severity.GOOD, "good")
    assert pack(sample(1.0, 2.0, quality=same_quality)) == pack(sample(1.0, 2.0))
    worse = sample(1.0, 2.0, quality=Quality(Severity.BAD, "no_response"))
    assert len(pack(worse)) > len(pack(sample(1.0, 2.0)))
    assert unpack(pack(worse)) == worse


EDGES: list[Scalar | None] = [
    0.0, -0.0, 1, True, False, None, "", "text", "ü", math.inf, -math.inf, 1e-310, 0.1, 16_777_217,
    2**63, 2**64, -(2**63) - 1, 2**200, -(2**200), 1.5,
]  # fmt: skip


def test_every_value_comes_back_with_its_type() -> None:
    for value in EDGES:
        assert same(unpack(pack(sample(value))), sample(value))
    names = [f"p{i}" for i in range(len(EDGES))]
    assert same(unpack(pack(sample(*EDGES, names=names))), sample(*EDGES, names=names))


def test_the_bits_of_a_nan_are_kept() -> None:
    (odd,) = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))
    assert same(unpack(pack(sample(odd, 1.0))), sample(odd, 1.0))


scalars: st.SearchStrategy[Scalar | None] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.floats(width=32), st.text(max_size=8)
)
qualities = st.one_of(
    st.just(GOOD), st.builds(Quality, st.sampled_from(Severity), st.text(max_size=9))
)
readings = st.builds(Reading, st.text(max_size=12), scalars, qualities)
instants = st.builds(
    Instant, st.one_of(st.uuids().map(str), st.text(max_size=9)), st.integers(-(2**63), 2**63 - 1)
)
samples = st.builds(
    Sample, st.text(max_size=9), instants, st.lists(readings, max_size=8).map(tuple)
)


@settings(max_examples=400, deadline=None)
@given(samples)
def test_any_sample_comes_back_as_it_was(some: Sample) -> None:
    assert same(unpack(pack(some)), some)


@settings(max_examples=100, deadline=None)
@given(samples, st.data())
def test_a_changed_payload_is_refused_or_is_another_sample_written_properly(
    some: Sample, data: st.DataObject
) -> None:
    payload = bytearray(pack(some))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    try:
        read = unpack(bytes(payload))
    except ValueError:
        return
    assert pack(read) == payload


def test_a_shortened_or_lengthened_payload_is_refused() -> None:
    for whole in (pack(sample(1.0, 2.0)), pack(sample(1, "x", None)), pack(sample())):
        for length in range(len(whole)):
            with pytest.raises(ValueError):
                unpack(whole[:length])
        for tail in (b"\0", b"\x90", b"\xc0", whole):
            with pytest.raises(ValueError):
                unpack(whole + tail)


def test_other_ways_to_write_the_same_are_refused() -> None:
    whole = pack(sample(1, 2))
    head, rest = whole[:12], whole[12:]
    length = struct.unpack_from("<H", head, 2)[0]
    boot, device, names = msgspec.msgpack.decode(rest[:length])
    long_boot = msgspec.msgpack.encode([BOOT, device, names])
    assert len(boot) == 16
    forged = head[:2] + struct.pack("<H", len(long_boot)) + head[4:] + long_boot + rest[length:]
    with pytest.raises(ValueError, match="another way"):
        unpack(forged)
    with pytest.raises(ValueError, match="form 2"):
        unpack(b"\x02" + whole[1:])
    with pytest.raises(ValueError, match="column kind 9"):
        unpack(whole[:1] + b"\x09" + whole[2:])


def test_what_cannot_be_kept_is_refused() -> None:
    odd: list[object] = [b"bytes", [1], 1j, object()]
    for value in odd:
        with pytest.raises(ValueError):
            pack(sample(value))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        pack(Sample("d", Instant(BOOT, 2**63), ()))
    with pytest.raises(ValueError):
        pack(sample(*[1.0] * 2, names=["x" * 70_000, "y"]))
