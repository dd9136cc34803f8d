"""One opened batch on its way to the sinks, and what can be told of its entities without knowing what they measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from lamppost.errors import HubError
from lamppost.ngsild.broker import Entity, instances_of, moment

# docs/formats/batch.md: the vocabulary of the gateway that the hub counts and completes by.
COUNT = "urn:lamppost:count"
GAP = "urn:lamppost:gap"
REDUCED = "urn:lamppost:reduced"

_HEAD = frozenset({"id", "type", "@context"})


_shape = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


class Payload:
    """The JSON of a batch as it was signed. Its entities are made when they are first asked for, and kept.

    A tree of some 10,000 objects takes four times as long to make as to see that there is a JSON array of objects.
    """

    __slots__ = ("_entities", "_raw")

    def __init__(self, raw: bytes) -> None:
        """Raises HubError `sink.payload` for what is no JSON array of objects."""
        try:
            _shape(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise _refused(str(error)) from error
        self._raw = raw
        self._entities: list[Entity] | None = None

    @property
    def entities(self) -> list[Entity]:
        """The objects. Raises HubError `sink.payload` for text that is no UTF-8 or otherwise not RFC 8259."""
        if self._entities is None:
            try:
                self._entities = orjson.loads(self._raw)
            except orjson.JSONDecodeError as error:
                raise _refused(str(error)) from error
        return self._entities


def _refused(why: str) -> HubError:
    return HubError(
        f"the payload is refused: {why}",
        code="sink.payload",
        hint="a gateway signed what is no NGSI-LD batch: look at its version",
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch that the ledger holds. `span_first` to `span_last` are the reading numbers it answers for.

    `received_ns` is when the hub took it, UTC nanoseconds. `content` is the payload, decoded or not yet.
    """

    gateway: str
    epoch: str
    seq: int
    span_first: int
    span_last: int
    received_ns: int
    content: Payload | list[Entity]

    @property
    def entities(self) -> list[Entity]:
        """The payload, in its order. Raises HubError `sink.payload`."""
        return self.content.entities if isinstance(self.content, Payload) else self.content

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes two deliveries the same one."""
        return self.gateway, self.epoch, self.seq

    @property
    def readings(self) -> int:
        """How many readings the entities stand for."""
        return readings_in(self.entities)


@dataclass(frozen=True, slots=True)
class Instance:
    """One measured attribute of one window. `count` is how many readings it stands for."""

    entity: str
    attribute: str
    dataset: str
    count: int
    content: dict[str, Any]


def check(delivery: Delivery) -> None:
    """Whether the payload has the shape of docs/formats/batch.md; a gateway's signature does not promise that.

    Raises HubError `sink.payload`, without retry. Every sink asks before it takes anything.
    """
    for entity in delivery.entities:
        try:
            _check_entity(entity)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            name = entity.get("id") if isinstance(entity, dict) else entity
            raise HubError(
                f"an entity of batch {delivery.seq} of {delivery.gateway} is malformed: {str(name)[:200]}: {error!r}",
                code="sink.payload",
                hint="compare the versions of gateway and hub; the batch stays in the archive",
            ) from error


def _check_entity(entity: Entity) -> None:
    for name in ("id", "type"):
        if not isinstance(entity[name], str) or not entity[name]:
            raise ValueError(f"{name} is no text")
    for name, attribute in entity.items():
        if name in _HEAD:
            continue
        for content in instances_of(attribute):
            if not isinstance(content["type"], str) or not isinstance(
                content.get("datasetId", ""), str
            ):
                raise ValueError(f"{name} is not in normalized form")
            if "observedAt" in content:
                moment(content["observedAt"])
            if COUNT in content:
                _check_count(content)
    if GAP in entity:
        gap = entity[GAP]["value"]
        if not 0 <= _whole(gap["first"]) <= _whole(gap["last"]) or not isinstance(gap["why"], str):
            raise ValueError("not a gap")


def _check_count(content: dict[str, Any]) -> None:
    value = content[COUNT]["value"]
    for number in value.values() if isinstance(value, dict) else (value,):
        if _whole(number) < 0:
            raise ValueError("a count below zero")
    if "observedAt" not in content:
        raise ValueError("a count without a time")


def _whole(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number >= 2**63:
        raise TypeError("not a whole number")
    return number


def measured(entities: Iterable[Entity]) -> Iterator[Instance]:
    """Every attribute instance that counts readings, and the aggregates beside it, which count none."""
    for entity in entities:
        for name, attribute in entity.items():
            if name in _HEAD:
                continue
            for content in instances_of(attribute):
                if isinstance(content, dict) and (COUNT in content or _aside(content)):
                    dataset = str(content.get("datasetId", ""))
                    count = _number(content[COUNT]) if COUNT in content else 0
                    yield Instance(entity["id"], name, dataset, count, content)


def _aside(content: dict[str, Any]) -> bool:
    """An aggregate that stands beside its attribute's value as an instance of its own."""
    return "datasetId" in content and "observedAt" in content


def readings_in(entities: Iterable[Entity]) -> int:
    """The sum of all counts; equal to the number of readings that the batch answers for, less its gaps."""
    return sum(instance.count for instance in measured(entities))


def _number(count: dict[str, Any]) -> int:
    """A count is a number, or an object of numbers for the members of an object value."""
    value = count["value"]
    return sum(value.values()) if isinstance(value, dict) else int(value)
