"""What a payload may be before anybody looks at its entities, and what shows only then."""

from __future__ import annotations

import pytest

from lamppost.errors import HubError
from lamppost_hub.delivery import Delivery, Payload


def given(raw: bytes) -> Delivery:
    return Delivery("gw-1", "e1", 0, 0, 9, 0, Payload(raw))


def test_entities_are_made_once() -> None:
    found = given(b'[{"id": "urn:x", "n": 1.5}]')
    assert found.entities == [{"id": "urn:x", "n": 1.5}]
    assert found.entities is found.entities


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b"[[]]",
        b'[{"a": 1}',
        b'[{"a": 1}] x',
        b'[{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b"[{1: 2}]",
    ],
)
def test_what_is_no_array_of_objects_is_refused_at_once(raw: bytes) -> None:
    with pytest.raises(HubError) as refused:
        given(raw)
    assert (refused.value.code, refused.value.retry) == ("sink.payload", False)


@pytest.mark.parametrize("raw", [b'[{"a": NaN}]', b'[{"a": "\xff"}]', b'[{"a": "\\ud800"}]'])
def test_the_rest_is_refused_when_it_is_decoded_at_the_latest(raw: bytes) -> None:
    with pytest.raises(HubError) as refused:
        given(raw).entities  # noqa: B018
    assert refused.value.code == "sink.payload"
