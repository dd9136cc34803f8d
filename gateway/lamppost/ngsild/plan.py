"""What to write how: the newest of each attribute by the live way, everything older by the history's. Pure.

No broker orders writes by `observedAt`: an older sample overwrites a newer current value. So what was last written
is remembered per (entity, attribute, dataset), and only newer samples go to the current state.

Live values (docs/formats/alert.md) are for the current state alone: one that is not newer is passed over. What is
remembered of one is the microsecond before it, because the window that ends with the same reading replaces it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import orjson

from lamppost.ngsild.vocabulary import LIVE, OF_WINDOWS

Entity: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str, str]  # (entity id, attribute, datasetId or "")

MAX_ENTITIES = 100
MAX_BYTES = 512 * 1024
MAX_INSTANCES = 500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FRAME = 2  # [ and ] around a request, and a comma for each entity


@dataclass(slots=True)
class Plan:
    """`live`: each id once, with its newest attributes. `late`: each id once, attributes as arrays of instances,
    oldest first. `written`: what the live writes make the newest. `repeated`: instances that were newest already.
    """

    live: list[Entity] = field(default_factory=list)
    late: list[Entity] = field(default_factory=list)
    written: dict[str, dict[Key, int]] = field(default_factory=dict)
    repeated: int = 0


def moment(observed_at: str) -> int:
    """RFC 3339 text as microseconds since 1970, so that times compare whatever their number of digits."""
    return (datetime.fromisoformat(observed_at) - _EPOCH) // _MICROSECOND


def plan_writes(entities: Iterable[Entity], newest: Mapping[Key, int]) -> Plan:
    """Sort the entities of a batch, in which ids may repeat; `newest` is what was last written, in microseconds."""
    plan = Plan()
    for identity, parts in _by_id(entities).items():
        fixed, series = _series(identity, parts)
        head: Entity = {"id": identity, "type": parts[0]["type"]}
        live: Entity = {}
        late: Entity = {}
        written: dict[Key, int] = {}
        for key, instances in series.items():
            known = newest.get(key)
            fresh, older, repeated = _split(instances, known)
            plan.repeated += repeated
            if fresh is not None and LIVE in fresh[1] and fresh[0] - 1 == known:
                plan.repeated += 1  # what is remembered of itself
            elif fresh is not None:
                at, instance = fresh
                written[key] = at
                if LIVE in instance:
                    written |= {k: at - 1 for k in newest if k[2] and k[:2] == key[:2]}
                    written[key] = at - 1
                _append(live, key[1], instance)
            if kept := [i for i in older if LIVE not in i]:
                late.setdefault(key[1], []).extend(kept)
        if live or not series:
            plan.live.append({**head, **live, **fixed})
            plan.written[identity] = written
        if late:
            plan.late.append({**head, **late})
    return plan


def as_live(instance: Mapping[str, Any]) -> dict[str, Any]:
    """A window's instance as a live value: nothing of it counts readings or spans a time."""
    kept = {name: part for name, part in instance.items() if name not in OF_WINDOWS}
    return {**kept, LIVE: {"type": "Property", "value": True}}


def history_of(entity: Entity) -> Entity:
    """An entity that was to go to the current state, as a late one: its windows as arrays, nothing without a time."""
    series = {
        name: [i for i in instances_of(a) if "observedAt" in i and LIVE not in i]
        for name, a in entity.items()
        if name not in ("id", "type", "@context")
    }
    kept = {name: windows for name, windows in series.items() if windows}
    return {"id": entity["id"], "type": entity["type"], **kept}


def requests_of(entities: Sequence[Entity]) -> list[list[Entity]]:
    """Entities in requests of at most 100 and 512 KiB; one that is larger goes alone."""
    requests: list[list[Entity]] = []
    size = MAX_BYTES + 1
    for entity in entities:
        length = len(orjson.dumps(entity)) + 1
        if size + length > MAX_BYTES or len(requests[-1]) >= MAX_ENTITIES:
            requests.append([])
            size = _FRAME
        requests[-1].append(entity)
        size += length
    return requests


def histories_of(entity: Entity) -> list[Entity]:
    """A temporal entity in parts of at most 500 instances an attribute and 512 KiB, oldest instances first."""
    head = {"id": entity["id"], "type": entity["type"]}
    series = {name: value for name, value in entity.items() if name not in head}
    longest = max(map(len, series.values()))
    average = len(orjson.dumps(entity)) / longest
    step = max(1, min(MAX_INSTANCES, int(MAX_BYTES * 0.9 / average)))
    parts = []
    for first in range(0, longest, step):
        cut = {name: value[first : first + step] for name, value in series.items()}
        parts.append({**head, **{name: value for name, value in cut.items() if value}})
    return parts


def replays_of(late: Sequence[Entity]) -> list[list[Entity]]:
    """Late instances as rounds of live writes, oldest first: a round holds each id at most once."""
    rounds: list[list[Entity]] = []
    for entity in late:
        steps: dict[int, Entity] = {}
        for name, instances in entity.items():
            if name in ("id", "type"):
                continue
            for instance in instances:
                step = steps.setdefault(
                    moment(instance["observedAt"]), {"id": entity["id"], "type": entity["type"]}
                )
                _append(step, name, instance)
        for index, at in enumerate(sorted(steps)):
            if index == len(rounds):
                rounds.append([])
            rounds[index].append(steps[at])
    return rounds


def name_of(request: Entity | list[Entity]) -> str:
    """A short name for exactly this content."""
    return hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def instances_of(attribute: Any) -> list[dict[str, Any]]:
    """The instances of an attribute, which is an object or an array of objects."""
    return list(attribute) if isinstance(attribute, list) else [attribute]


def _by_id(entities: Iterable[Entity]) -> dict[str, list[Entity]]:
    grouped: dict[str, list[Entity]] = {}
    for entity in entities:
        grouped.setdefault(entity["id"], []).append(entity)
    return grouped


def _series(
    identity: str, parts: Sequence[Entity]
) -> tuple[Entity, dict[Key, dict[int, dict[str, Any]]]]:
    """Attributes without a time (the last one given stays), and instances by moment for each key."""
    fixed: Entity = {}
    series: dict[Key, dict[int, dict[str, Any]]] = {}
    for part in parts:
        for name, attribute in part.items():
            if name in ("id", "type", "@context"):
                continue
            for instance in instances_of(attribute):
                observed_at = instance.get("observedAt")
                if observed_at is None:
                    fixed[name] = attribute
                else:
                    key = (identity, name, instance.get("datasetId", ""))
                    series.setdefault(key, {})[moment(observed_at)] = instance
    return fixed, series


def _split(
    instances: Mapping[int, dict[str, Any]], known: int | None
) -> tuple[tuple[int, dict[str, Any]] | None, list[dict[str, Any]], int]:
    """(the newest if it is newer than what is known, the others oldest first, how many were the known one)."""
    order = sorted(at for at in instances if at != known)
    fresh = None
    if order and (known is None or order[-1] > known):
        at = order.pop()
        fresh = (at, instances[at])
    return fresh, [instances[at] for at in order], len(instances) - len(order) - bool(fresh)


def _append(entity: Entity, name: str, instance: dict[str, Any]) -> None:
    """Add an instance; a second one (another datasetId) makes the attribute an array."""
    if name not in entity:
        entity[name] = instance
    elif isinstance(entity[name], list):
        entity[name].append(instance)
    else:
        entity[name] = [entity[name], instance]
