"""The strict reader: one form for every value, bounded before anything is built."""

from __future__ import annotations

import tracemalloc
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamppost.envelope import codec
from lamppost.envelope.refusal import EnvelopeError
from unit.envelope.world import refused

# RFC 8949 appendix A, the kinds that are ours
RFC_8949 = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (None, "f6"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("IETF", "6449455446"),
    ("ü", "62c3bc"),
    ([], "80"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    ({}, "a0"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
]


@pytest.mark.parametrize(("value", "encoded"), RFC_8949)
def test_examples_of_rfc_8949(value: Any, encoded: str) -> None:
    assert codec.encode(value).hex() == encoded
    assert codec.decode(bytes.fromhex(encoded)) == value


def test_keys_sort_by_bytes_and_not_by_length_first() -> None:
    # RFC 8949 §4.2.1's own example, of the kinds that are ours: 10, 100, -1, "z", "aa"
    value = {"aa": 0, "z": 0, -1: 0, 100: 0, 10: 0}
    assert codec.encode(value).hex() == "a50a0018640020006" + "17a0062616100"
    assert codec.encode(value) != cbor2.dumps(value, canonical=True)
    with refused("envelope.malformed"):
        codec.decode(cbor2.dumps(value, canonical=True))


scalars = (
    st.none()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.binary(max_size=40)
    | st.text(max_size=20)
)
keys = st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=9) | st.text(max_size=9)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read(value: Any) -> None:
    encoded = codec.encode(value)
    try:
        assert codec.decode(encoded) == value
    except EnvelopeError as error:
        assert "nested" in str(error)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_with_one_form_or_the_one_error(data: bytes) -> None:
    try:
        value = codec.decode(data)
    except EnvelopeError:
        return
    assert codec.encode(value) == data


def test_a_tag_stands_around_the_whole_and_holds_lists_and_dicts() -> None:
    value = codec.decode(codec.tag_around(18, [b"", {1: {2: [3]}}]))
    assert type(value.value) is list
    assert type(value.value[1]) is dict
    assert type(value.value[1][1][2]) is list
    assert codec.decode(codec.tag_around(55799, 1)).tag == 55799


@pytest.mark.parametrize(
    "encoded", ["c249010000000000000000", "c074323031332d30332d32315432303a30343a30305a"]
)
def test_an_outer_tag_stays_a_tag_whatever_it_means(encoded: str) -> None:
    value = codec.decode(bytes.fromhex(encoded))
    assert type(value) is cbor2.CBORTag
    assert type(value.value) in (bytes, str)


NOT_DETERMINISTIC = {
    "empty": "",
    "longer integer": "1817",
    "longer length": "580161",
    "longer array": "980101",
    "longer tag": "d81200",
    "longer than 4 bytes": "1b00000000ffffffff",
    "indefinite array": "9f01ff",
    "indefinite bytes": "5f4101ff",
    "indefinite map": "bf0101ff",
    "break alone": "ff",
    "duplicate key": "a201010102",
    "keys out of order": "a202000100",
    "array as key": "a1800",
    "map as key": "a1a000",
    "null as key": "a1f600",
    "trailing": "0000",
    "trailing after a tag": "d28000",
    "false": "f4",
    "true": "f5",
    "undefined": "f7",
    "simple value 4": "e4",
    "simple value 32": "f820",
    "half float": "f90000",
    "float": "fa00000000",
    "double": "fb0000000000000000",
    "true as key": "a1f500",
    "bignum inside": "81c249010000000000000000",
    "negative bignum inside": "81c349010000000000000000",
    "date inside": "81c074323031332d30332d32315432303a30343a30305a",
    "shared list that holds itself": "d81c81d81d00",
    "shared inside": "82d81c8100d81d00",
    "string reference": "d9010082d81900",
    "inner tag": "81d200",
    "tag in a tag": "d2d200",
    "not UTF-8": "62c328",
    "surrogate": "63eda080",
    "huge array": "9b00ffffffffffffff",
    "huge map": "bb7fffffffffffffff",
    "huge bytes": "5b7fffffffffffffff",
    "huge text": "7bffffffffffffffff",
    "head cut": "19",
    "head cut at 8": "1b00000000",
    "reserved 28": "1c",
    "reserved 31": "1f",
    "tag alone": "d2",
    "tag head cut": "d8",
}


@pytest.mark.parametrize("encoded", NOT_DETERMINISTIC.values(), ids=NOT_DETERMINISTIC)
def test_other_forms_are_refused(encoded: str) -> None:
    data = bytes.fromhex(encoded if len(encoded) % 2 == 0 else encoded + "0")
    with refused("envelope.malformed"):
        codec.decode(data)
    if data:  # the same inside an array, where another path reads it
        with refused("envelope.malformed"):
            codec.decode(b"\x82" + data + b"\x00")


def test_deep_and_wide_are_refused_in_constant_memory() -> None:
    deep = b"\x81" * 500_000 + b"\x00"
    wide = b"\x9a" + (1_000_000).to_bytes(4, "big") + b"\x80" * 1_000_000
    maps = b"\xa1\x00" * 200_000 + b"\x00"
    tracemalloc.start()
    for data in (deep, wide, maps):
        with refused("envelope.malformed"):
            codec.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_depth_and_items_at_their_limits() -> None:
    def nested(depth: int) -> bytes:
        return b"\x81" * depth + b"\x00"

    assert codec.decode(nested(codec.MAX_DEPTH)) is not None
    with refused("envelope.malformed"):
        codec.decode(nested(codec.MAX_DEPTH + 1))
    assert len(codec.decode(codec.encode([0] * (codec.MAX_ITEMS - 1)))) == codec.MAX_ITEMS - 1
    with refused("envelope.malformed"):
        codec.decode(codec.encode([0] * codec.MAX_ITEMS))


def test_size_limit_comes_first() -> None:
    with refused("envelope.too-big"):
        codec.decode(b"\xff" * (codec.MAX + 1))
    with refused("envelope.too-big"):
        codec.decode(b"\x42aa", limit=2)
    assert codec.decode(b"\x42aa", limit=3) == b"aa"


@pytest.mark.parametrize(
    "value", [True, 1.0, cbor2.undefined, cbor2.CBORSimpleValue(4), object(), {None: 1}, {(): 1}]
)
def test_other_kinds_are_not_written(value: Any) -> None:
    for nested in (value, [value], {1: value}):
        with pytest.raises(TypeError):
            codec.encode(nested)


@pytest.mark.parametrize("number", [1 << 64, -(1 << 64) - 1])
def test_numbers_past_64_bits_are_not_written(number: int) -> None:
    with pytest.raises(ValueError):
        codec.encode({1: number})
    with pytest.raises(ValueError):
        codec.encode({number: 1})


def test_tagged_demands_tag_and_shape() -> None:
    assert codec.tagged(codec.tag_around(18, [1, 2]), 18, 2) == [1, 2]
    for wrong in (
        codec.encode([1, 2]),
        codec.tag_around(17, [1, 2]),
        codec.tag_around(18, [1]),
        codec.tag_around(18, {}),
    ):
        with refused("envelope.malformed"):
            codec.tagged(wrong, 18, 2)
