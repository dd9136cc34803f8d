"""Does the broker hold it? Comparing what was to be written with what a broker tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from lamppost.ngsild.plan import Entity, instances_of, moment
from lamppost.ngsild.vocabulary import LIVE

HEAD = frozenset({"id", "type"})
# Brokers answer with the core context's short name where it has one.
_SHORT = {"http://purl.org/dc/terms/description": "description"}

Instant = tuple[int, str]  # (moment in microseconds, datasetId or "")


def instants(attribute: Any) -> set[Instant]:
    """The times of an attribute's instances; those without one are left out."""
    return {
        (moment(i["observedAt"]), i.get("datasetId", ""))
        for i in instances_of(attribute)
        if isinstance(i, dict) and "observedAt" in i
    }


def lasting(attribute: Any) -> list[Any]:
    """The instances of an attribute that are no live values: those stand for no window."""
    return [i for i in instances_of(attribute) if not (isinstance(i, dict) and LIVE in i)]


def attribute_of(entity: Entity, name: str) -> Any:
    """An attribute by its full IRI, whichever name the broker gave it; an empty array if it is not there."""
    return entity.get(name, entity.get(_SHORT.get(name, name), []))


def holds(current: Entity | None, wanted: Entity, *, exactly: bool = False) -> bool:
    """Whether the broker's state is at least as new as `wanted` in every timed attribute (or `exactly` as new).

    A live value is not the window of the same moment.
    """
    if current is None:
        return False
    for name, attribute in wanted.items():
        if name in HEAD:
            continue
        there = attribute_of(current, name)
        held = {dataset: at for at, dataset in sorted(instants(there))}
        windows = instants(lasting(there))
        if any(i in instants(there) - windows for i in instants(lasting(attribute))):
            return False
        for at, dataset in instants(attribute):
            known = held.get(dataset)
            if known is None or known < at or (exactly and known != at):
                return False
    return True


def veiled(current: Entity | None, wanted: Entity) -> bool:
    """Whether a live value newer than a window of `wanted` stands in its place: then the current state does not tell
    whether the window was ever written.
    """
    for name, attribute in wanted.items():
        if current is None or name in HEAD:
            continue
        there = attribute_of(current, name)
        alive = {dataset: at for at, dataset in instants(there) - instants(lasting(there))}
        if any(at < alive.get(dataset, at) for at, dataset in instants(lasting(attribute))):
            return True
    return False


def missing(history: Entity, wanted: Entity) -> Entity:
    """The instances of a temporal entity that `history` does not have; a live value in it is not the window's."""
    rest: Entity = {"id": wanted["id"], "type": wanted["type"]}
    for name, attribute in wanted.items():
        if name in HEAD:
            continue
        known = instants(lasting(attribute_of(history, name)))
        left = [i for i in attribute if instants(i).isdisjoint(known)]
        if left:
            rest[name] = left
    return rest


def overwritten(late: Entity, current: Entity) -> Entity | None:
    """The attributes of `current` that writing `late` to the current state replaces; None if there are none."""
    kept = {
        name: held
        for name in late
        if name not in HEAD and instants(held := attribute_of(current, name))
    }
    return {"id": late["id"], "type": late["type"], **kept} if kept else None


def count_instances(entity: Entity) -> int:
    """How many instances a temporal entity has."""
    return sum(len(attribute) for name, attribute in entity.items() if name not in HEAD)


def halves(entity: Entity) -> list[Entity]:
    """A temporal entity in two, by time; empty if it cannot be divided."""
    longest = max(len(attribute) for name, attribute in entity.items() if name not in HEAD)
    middle = longest // 2
    cuts = (slice(middle), slice(middle, None)) if longest > 1 else ()
    head = {"id": entity["id"], "type": entity["type"]}
    return [
        head | {n: a[cut] for n, a in entity.items() if n not in HEAD and a[cut]} for cut in cuts
    ]


def period(entity: Entity) -> tuple[str, str]:
    """Times just before the first and just after the last instance of a temporal entity."""
    times = [at for n, a in entity.items() if n not in HEAD for at, _ in instants(a)]
    return _text(min(times) - 1), _text(max(times) + 1)


def entry_errors(body: Any) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """(entity id, status, problem) of each entry of a 207, in the shapes that brokers give it."""
    errors = body.get("errors", []) if isinstance(body, dict) else []
    for entry in errors:
        if not isinstance(entry, dict):
            continue
        problem = entry.get("error", entry)
        if not isinstance(problem, dict):  # a text or a list of texts
            problem = {"detail": str(problem)}
        yield str(entry.get("entityId", entry.get("id", ""))), _status(problem), problem


def _status(problem: Mapping[str, Any]) -> int:
    """The entry's own status; without one, what the name of its error type means."""
    kind = str(problem.get("type", ""))
    guessed = 500 if kind.endswith(("InternalError", "TooManyRequests")) else 400
    try:
        return int(problem.get("status", guessed))
    except (TypeError, ValueError):
        return guessed


def _text(microseconds: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
