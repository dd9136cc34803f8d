"""What must not leave with a personal device's windows, and what stands for its name outside. Pure.

A household's meter goes out under a pseudonym, without description and place; texts, meter identities and the newest
momentary value of a gauge are taken out. What a window stands for is still counted, reading by reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from lamppost.model import Window
from lamppost.ngsild import vocabulary as v
from lamppost.ngsild.normalized import Entity, prop
from lamppost.ngsild.site import SitePlan

_IDENTITY = frozenset({"serial", "id", "number", "meter", "customer", "equipment", "owner"})


@dataclass(frozen=True, slots=True)
class Personal:
    """`names` gives the pseudonym of each personal device, `width` the nanoseconds of their windows."""

    names: Mapping[str, str] = field(default_factory=dict)
    width: int = 0
    kinds: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.names)

    def outside(self, plan: SitePlan) -> SitePlan:
        """The plan as the hub may know it."""
        if not self.names:
            return plan
        devices = tuple(
            replace(d, name=self.names[d.name], description="", metering_since=None)
            if d.name in self.names
            else d
            for d in plan.devices
        )
        return replace(plan, devices=devices)

    def mask(self, window: Window) -> Window:
        """A window of a personal device as it may leave. A device no longer in the site gives only counts."""
        name = self.names.get(window.device)
        last = window.last
        if self.kinds.get((window.device, window.point)) != "counter" or isinstance(
            last, (str, bool)
        ):
            last = None
        if name is None or not _IDENTITY.isdisjoint(window.point.split(".")):
            return structs.replace(
                window,
                device=name or "p-gone",
                last=None,
                mean=None,
                low=None,
                high=None,
                delta=None,
            )
        return structs.replace(window, device=name, last=last)

    def placeless(self, entities: list[Entity]) -> list[Entity]:
        """The same entities, those of personal devices without a location."""
        if not self.names:
            return entities
        hidden = (*self.names.values(), "p-gone")
        for entity in entities:
            if any(name in entity["id"].split(":") for name in hidden):
                entity.pop("location", None)
        return entities


def carried_entities(gateway: str, epoch: str, before: int, after: int) -> Sequence[Entity]:
    """How many readings of earlier batches this one counts (`in`), and how many of its own a later one will (`out`)."""
    if not before and not after:
        return ()
    return (
        {
            "id": f"urn:ngsi-ld:Carried:{gateway}:{epoch}",
            "type": v.CARRIED_TYPE,
            v.CARRIED: prop({"in": before, "out": after}),
        },
    )
