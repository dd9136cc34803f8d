"""One opened batch on its way to the sinks, and what can be told of its entities without knowing what they measure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lamppost.ngsild.broker import Entity, instances_of

# docs/formats/batch.md: the vocabulary of the gateway that the hub counts and completes by.
COUNT = "urn:lamppost:count"
GAP = "urn:lamppost:gap"

_HEAD = frozenset({"id", "type", "@context"})


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch that the ledger holds. `span_first` to `span_last` are the reading numbers it answers for.

    `received_ns` is when the hub took it, UTC nanoseconds. `entities` is the payload, in its order.
    """

    gateway: str
    epoch: str
    seq: int
    span_first: int
    span_last: int
    received_ns: int
    entities: list[Entity]

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


def measured(entities: Iterable[Entity]) -> Iterator[Instance]:
    """Every attribute instance that counts readings."""
    for entity in entities:
        for name, attribute in entity.items():
            if name in _HEAD:
                continue
            for content in instances_of(attribute):
                if isinstance(content, dict) and COUNT in content:
                    dataset = str(content.get("datasetId", ""))
                    yield Instance(entity["id"], name, dataset, _number(content[COUNT]), content)


def readings_in(entities: Iterable[Entity]) -> int:
    """The sum of all counts; equal to the number of readings that the batch answers for, less its gaps."""
    return sum(instance.count for instance in measured(entities))


def _number(count: dict[str, Any]) -> int:
    """A count is a number, or an object of numbers for the members of an object value."""
    value = count["value"]
    return sum(value.values()) if isinstance(value, dict) else int(value)
