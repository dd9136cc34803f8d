"""At which resolution readings go out whose samples the gateway had to give up. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from lamppost.ngsild import vocabulary as v
from lamppost.ngsild.normalized import Entity, prop, relationship, urn
from lamppost.ngsild.terms import DEVICE


def reduced_entities(
    gateway: str, epoch: str, ranges: Iterable[tuple[int, int, int, int]]
) -> list[Entity]:
    """One entity for each (first number, last number, readings in windows, width of the windows in nanoseconds).

    They count no readings: the windows themselves do. What of a range is in no window is in the batch's gaps.
    """
    return [
        {
            "id": f"urn:ngsi-ld:Reduced:{gateway}:{epoch}:{first}-{last}",
            "type": v.REDUCED_TYPE,
            v.REDUCED: prop(
                {"first": first, "last": last, "readings": readings, "seconds": width / 1e9}
            ),
            v.GATEWAY: relationship(urn(DEVICE + "Device", gateway)),
        }
        for first, last, readings, width in ranges
    ]
