"""Live values → entities: the ids, attributes and units of windows, but nothing that counts a reading. Pure.

For a current state whose windows wait in a backlog (docs/formats/alert.md). The mapping is that of `entities`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from lamppost.model import Severity, Window
from lamppost.ngsild import vocabulary as v
from lamppost.ngsild.entities import entities_of
from lamppost.ngsild.normalized import Entity, prop, relationship, urn
from lamppost.ngsild.plan import as_live
from lamppost.ngsild.routes import routes_of
from lamppost.ngsild.site import SitePlan
from lamppost.ngsild.terms import AIR, DEVICE

_PERIOD = frozenset({AIR + "dateObservedFrom", AIR + "dateObservedTo"})


def live_entities(
    newest: Sequence[Window], plan: SitePlan, epoch: str, numbers: tuple[int, int]
) -> list[Entity]:
    """The entities of newest readings, each given as a window of one reading, all with the same start and end.

    The last entity names the numbers of the alert stream (first, last) that stand for no alert. Quantities that only
    a window has (rain in an interval) are left out.
    """
    routes = routes_of(plan)
    gauges = {(d.name, name) for d in plan.devices for name, _, kind in d.points if kind == "gauge"}
    shown = [
        structs.replace(
            w, mean=w.last
        )  # a gauge's value is as long as a mean is: a third of the bytes
        if isinstance(w.last, float) and (w.device, w.point) in gauges
        else w
        for w in newest
        if w.quality.severity is Severity.BAD
        or (route := routes.get((w.device, w.point))) is None
        or route.term.take != "delta"
    ]
    found = [_momentary(entity) for entity in entities_of(shown, replace(plan, datasets=False))]
    return [*found, _accounted(plan.gateway, epoch, numbers)]


def _momentary(entity: Entity) -> Entity:
    return {
        name: as_live(attribute)
        if isinstance(attribute, dict) and "observedAt" in attribute
        else attribute
        for name, attribute in entity.items()
        if name not in _PERIOD
    }


def _accounted(gateway: str, epoch: str, numbers: tuple[int, int]) -> Entity:
    return {
        "id": f"urn:ngsi-ld:Live:{gateway}:{epoch}",
        "type": v.LIVE_TYPE,
        v.NUMBERS: prop({"first": numbers[0], "last": numbers[1]}),
        v.GATEWAY: relationship(urn(DEVICE + "Device", gateway)),
    }
