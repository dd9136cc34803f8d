"""The write plan: newest last, nothing twice in a request, sizes."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from lamppost.ngsild.plan import (
    MAX_BYTES,
    Entity,
    histories_of,
    moment,
    plan_writes,
    replays_of,
    requests_of,
)

A, B, FIXED = "urn:x:a", "urn:x:b", "urn:x:fixed"


def at(second: float) -> str:
    return f"2026-01-01T00:00:{second:09.6f}Z"


def reading(second: float, value: Any = None, dataset: str = "") -> dict[str, Any]:
    instance = {
        "type": "Property",
        "value": second if value is None else value,
        "observedAt": at(second),
    }
    return instance | ({"datasetId": dataset} if dataset else {})


def entity(identity: str = "urn:e:1", **attributes: Any) -> Entity:
    named = {{"a": A, "b": B, "fixed": FIXED}[n]: value for n, value in attributes.items()}
    return {"id": identity, "type": "urn:t", **named}


def test_moments_compare_whatever_their_digits() -> None:
    assert moment("1970-01-01T00:00:00.5Z") == 500_000
    assert moment("2026-01-01T00:00:01Z") < moment("2026-01-01T00:00:01.000001Z")
    assert moment("2026-01-01T00:00:01.1Z") == moment("2026-01-01T00:00:01.100000Z")


def test_the_newest_goes_live_and_the_older_to_the_history() -> None:
    fixed = {"type": "Property", "value": 1}
    batch = [entity(a=reading(s), fixed=fixed) for s in (2, 3, 1)]
    plan = plan_writes(batch, {})
    assert plan.live == [entity(a=reading(3), fixed=fixed)]
    assert plan.late == [entity(a=[reading(1), reading(2)])]
    assert plan.written == {"urn:e:1": {("urn:e:1", A, ""): moment(at(3))}}


def test_each_attribute_has_its_own_newest() -> None:
    plan = plan_writes([entity(a=reading(1), b=reading(5)), entity(a=reading(2))], {})
    assert plan.live == [entity(a=reading(2), b=reading(5))]
    assert plan.late == [entity(a=[reading(1)])]


def test_nothing_older_than_what_was_written_goes_live() -> None:
    known = {("urn:e:1", A, ""): moment(at(10))}
    plan = plan_writes([entity(a=reading(8)), entity(a=reading(9))], known)
    assert (plan.live, plan.written) == ([], {})
    assert plan.late == [entity(a=[reading(8), reading(9)])]


def test_what_was_written_is_not_written_again() -> None:
    known = {("urn:e:1", A, ""): moment(at(3))}
    plan = plan_writes([entity(a=reading(3))], known)
    assert (plan.live, plan.late, plan.repeated) == ([], [], 1)


def test_datasets_are_apart() -> None:
    batch = [entity(a=[reading(1), reading(1, 7, "urn:d:x")]), entity(a=reading(2))]
    (live,) = plan_writes(batch, {}).live
    assert sorted(i["observedAt"] for i in live[A]) == [at(1), at(2)]
    assert {i.get("datasetId") for i in live[A]} == {None, "urn:d:x"}


def test_an_entity_without_times_goes_live() -> None:
    only = entity(fixed={"type": "Property", "value": 1})
    assert plan_writes([only], {}).live == [only]


def test_requests_hold_at_most_a_hundred_entities_and_half_a_mebibyte() -> None:
    small = [entity(f"urn:e:{n}", a=reading(1)) for n in range(250)]
    assert [len(r) for r in requests_of(small)] == [100, 100, 50]
    large = [entity(f"urn:e:{n}", a=reading(1, "x" * 100_000)) for n in range(12)]
    requests = requests_of(large)
    assert [len(r) for r in requests] == [5, 5, 2]
    assert all(len(orjson.dumps(r)) <= MAX_BYTES for r in requests)
    giant = entity("urn:e:g", a=reading(1, "x" * MAX_BYTES))
    assert [len(r) for r in requests_of([small[0], giant, small[1]])] == [1, 1, 1]
    assert requests_of([]) == []


@pytest.mark.parametrize("length", [1, 499, 500, 501, 1700])
def test_histories_are_cut_at_five_hundred_instances(length: int) -> None:
    whole = entity(a=[reading(n / 1000) for n in range(length)], b=[reading(0)])
    parts = histories_of(whole)
    assert all(len(p.get(A, [])) <= 500 for p in parts)
    assert [i for p in parts for i in p.get(A, [])] == whole[A]
    assert [i for p in parts for i in p.get(B, [])] == whole[B]
    assert all(len(orjson.dumps(p)) <= MAX_BYTES for p in parts)


def test_histories_are_cut_at_half_a_mebibyte() -> None:
    parts = histories_of(entity(a=[reading(n, "x" * 20_000) for n in range(59)]))
    assert all(len(orjson.dumps(p)) <= MAX_BYTES for p in parts)
    assert sum(len(p[A]) for p in parts) == 59


def test_replays_go_up_in_time_and_hold_an_id_once() -> None:
    late = [
        entity("urn:e:1", a=[reading(1), reading(3)], b=[reading(2), reading(3)]),
        entity("urn:e:2", a=[reading(9)]),
    ]
    rounds = replays_of(late)
    assert [[e["id"][-1] for e in r] for r in rounds] == [["1", "2"], ["1"], ["1"]]
    assert rounds[2] == [entity("urn:e:1", a=reading(3), b=reading(3))]


def test_any_order_gives_the_same_plan() -> None:
    batch = [entity(f"urn:e:{n % 3}", a=reading(n), b=reading(n / 2)) for n in range(30)]
    first = plan_writes(batch, {})
    shuffled = batch[:]
    random.Random(7).shuffle(shuffled)
    again = plan_writes(shuffled, {})
    key = lambda e: e["id"]  # noqa: E731
    assert sorted(first.live, key=key) == sorted(again.live, key=key)
    assert sorted(first.late, key=key) == sorted(again.late, key=key)
