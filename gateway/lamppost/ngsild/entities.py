"""Windows → normalized NGSI-LD entities (ETSI GS CIM 009 v1.9.1 §4.5), and gaps with them. Pure.

One entity for each (entity type, device, window): complete in itself, as a broker would hold it after that window.
The same id comes back for the next window; `plan` sorts that out before anything is sent. Names are full IRIs.

Counting: every measured attribute has a sub-property `urn:lamppost:count`: a number, or for a per-phase object an
object of numbers with the same keys. The sum over all attributes of all entities is the number of readings that the
windows stand for; nothing else bears that name. A window without a value has no attribute (NGSI-LD knows no null) but
a Property `urn:lamppost:quality:<attribute>` with the reason as its value, the time, and the count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import TypeAlias

from lamppost.model import Gap, Severity, TimeQuality, Window
from lamppost.ngsild import vocabulary as v
from lamppost.ngsild.datasets import spread
from lamppost.ngsild.devices import device_entities, model_entities
from lamppost.ngsild.normalized import (
    Attribute,
    Entity,
    date_prop,
    local_name,
    observed,
    prop,
    relationship,
    urn,
    utc_text,
    whereabouts,
)
from lamppost.ngsild.routes import Route, generic_route, routes_of
from lamppost.ngsild.site import DevicePlan, DeviceState, SitePlan
from lamppost.ngsild.terms import (
    AIR,
    CONTROLLED_PROPERTY,
    DEVICE,
    GENERIC,
    GREEN,
    TEXT_VALUE,
    UNIT,
)

__all__ = [
    "DevicePlan",
    "DeviceState",
    "Entity",
    "SitePlan",
    "device_entities",
    "entities_of",
    "gap_entities",
    "model_entities",
]

_OFTEN = frozenset({v.COUNT, v.UNCERTAIN, v.BAD, v.QUALITY})
_RANGE = frozenset({v.MIN, v.MAX, v.LAST})
_observed_at = attrgetter("observed")
_TRUST = (TimeQuality.SYNCED, TimeQuality.HOLDOVER, TimeQuality.UNSYNCED)


@dataclass(slots=True)
class _Filling:
    """One entity while its windows come in: attributes by IRI, each a list of (route, window, value)."""

    route: Route
    device: str
    point: str
    start: int
    end: int
    observed: int
    parts: dict[str, list[tuple[Route, Window, float | int | str]]] = field(default_factory=dict)
    empty: list[tuple[Route, Window]] = field(default_factory=list)
    taken: set[tuple[str, str]] = field(default_factory=set)  # (IRI, member)


_stated = lru_cache(maxsize=1024, typed=True)(prop)
"""A Property that many attributes say alike (a count, a reason, a window's end); nobody may change it."""

_Key: TypeAlias = tuple[str, int, int, int]  # (entity, start, end, how often before)


def entities_of(
    windows: Sequence[Window], plan: SitePlan, gaps: Sequence[Gap] = (), *, epoch: str = ""
) -> list[Entity]:
    """The entities of a batch, in the order of their first windows, then one for each gap.

    Points that the plan does not name, quantities that no model knows, units that do not fit and values that the
    model's schema forbids (frost on a battery, a negative level) become DeviceMeasurement entities.
    """
    routes = routes_of(plan)
    filling: dict[_Key, _Filling] = {}
    for window in windows:
        key = (window.device, window.point)
        route = routes.get(key) or generic_route(plan.gateway, *key, "")
        value = _value(window, route)
        if value is not None and not _allowed(value, route):
            route = generic_route(plan.gateway, *key, route.symbol)
            value = _value(window, route)
        _place(filling, route, window, value)
    fixed = whereabouts(plan)
    since = {device.name: device.metering_since for device in plan.devices}
    entities = [_entity(f, plan.gateway, fixed, since.get(f.device)) for f in filling.values()]
    if plan.datasets:
        entities = [spread(entity) for entity in entities]
    return entities + gap_entities(plan.gateway, gaps, epoch)


def gap_entities(gateway: str, gaps: Iterable[Gap], epoch: str = "") -> list[Entity]:
    """Recorded absences as entities of type `urn:lamppost:Gap`; they count no readings."""
    return [
        {
            "id": f"urn:ngsi-ld:Gap:{gateway}:{epoch + ':' if epoch else ''}"
            f"{gap.span.first}-{gap.span.last}",
            "type": v.GAP_TYPE,
            v.GAP: prop({"first": gap.span.first, "last": gap.span.last, "why": gap.why}),
            v.GATEWAY: relationship(urn(DEVICE + "Device", gateway)),
        }
        for gap in gaps
    ]


def _place(
    filling: dict[_Key, _Filling],
    route: Route,
    window: Window,
    value: float | int | str | None,
) -> None:
    slot = (TEXT_VALUE if isinstance(value, str) else route.term.iri, route.term.member)
    again = 0  # the same point twice in one window (batches of two configurations): an entity of its own
    while (
        into := filling.get((route.entity, window.start, window.end, again))
    ) and slot in into.taken:
        again += 1
    if into is None:
        into = filling[route.entity, window.start, window.end, again] = _Filling(
            route, window.device, window.point, window.start, window.end, window.observed
        )
    into.taken.add(slot)
    if window.observed > into.observed:
        into.observed = window.observed
    if value is None:
        into.empty.append((route, window))
    elif (parts := into.parts.get(slot[0])) is not None:
        parts.append((route, window, value))
    else:
        into.parts[slot[0]] = [(route, window, value)]


def _value(window: Window, route: Route) -> float | int | str | None:
    """What stands for the window in its attribute; text only where the route is generic."""
    take = route.term.take
    if take == "delta" and (window.delta is not None or window.mean is None):
        return None if window.delta is None else _scaled(window.delta, route.convert.factor)
    raw = window.mean if take != "last" and window.mean is not None else window.last
    if raw is None:
        return None
    if isinstance(raw, (bool, str)):
        return str(raw).lower() if isinstance(raw, bool) else raw
    number = _convert(raw, route)
    if route.term.whole:
        return round(number)
    if route.term.turn:
        return number % 360
    return number if raw is window.last else _rounded(number)


def _allowed(value: float | int | str, route: Route) -> bool:
    if isinstance(value, str):
        return route.family is GENERIC
    term = route.term
    return (term.low is None or value >= term.low) and (term.high is None or value <= term.high)


def _convert(raw: float, route: Route) -> float:
    convert = route.convert
    if convert.factor == 1.0 and convert.offset == 0.0:
        return raw
    return float(f"{raw * convert.factor + convert.offset:.12g}")


def _scaled(raw: float, factor: float) -> float:
    return float(f"{raw * factor:.12g}")


@lru_cache(maxsize=64)
def _rounded(mean: float) -> float:
    """Nine digits: what an average of measured values can bear, and a third of the bytes."""
    return float(f"{mean:.9g}")


def _entity(filling: _Filling, gateway: str, fixed: Entity, since: int | None) -> Entity:
    family = filling.route.family
    device = urn(DEVICE + "Device", gateway, filling.device)
    entity: Entity = {"id": filling.route.entity, "type": family.type}
    for iri, parts in filling.parts.items():
        entity[iri] = _measured(parts) if parts[0][0].term.member else _single(*parts[0])
    for route, window in filling.empty:
        entity[_quality_name(route)] = _valueless(window)
    entity |= observed(filling.observed)
    if family.period:
        moment = utc_text(filling.observed)
        entity[AIR + "dateObservedFrom"] = date_prop(filling.start, moment)
        entity[AIR + "dateObservedTo"] = date_prop(filling.end, moment)
    entity[family.ref] = relationship([device] if family.ref_many else device)
    for iri, text in family.fixed.items():
        entity[iri] = prop(text)
    if family is GENERIC:
        entity[CONTROLLED_PROPERTY] = prop(filling.point)
        entity[UNIT] = prop(filling.route.symbol)
    if since is not None and family.type.startswith(GREEN):
        entity[GREEN + "dateEnergyMeteringStarted"] = date_prop(since)
    return entity | fixed


def _quality_name(route: Route) -> str:
    member = route.term.member
    return v.QUALITY_OF + local_name(route.term.iri) + (f".{member}" if member else "")


def _single(route: Route, window: Window, value: float | int | str) -> Attribute:
    attribute = prop(value)
    if route.convert.code and not isinstance(value, str):
        attribute["unitCode"] = route.convert.code
    attribute["observedAt"] = utc_text(window.observed)
    for name, part in _aggregates(route, window).items():
        if name in _OFTEN:
            attribute[name] = _stated(part)
        elif not _says_again(name, part, window, value):
            attribute[name] = prop(part)
    attribute.update(_bounds(window, window.time_quality))
    return attribute


def _measured(parts: Sequence[tuple[Route, Window, float | int | str]]) -> Attribute:
    """A per-phase object: its value and every aggregate are objects with the same keys, L1 first."""
    ordered = sorted(parts, key=lambda part: part[0].term.member)
    attribute = prop({route.term.member: value for route, _, value in ordered})
    if ordered[0][0].convert.code:
        attribute["unitCode"] = ordered[0][0].convert.code
    newest = max([window for _, window, _ in ordered], key=_observed_at)
    attribute["observedAt"] = utc_text(newest.observed)
    gathered: dict[str, dict[str, object]] = {}
    needed: set[str] = set()
    for route, window, value in ordered:
        for name, part in _aggregates(route, window).items():
            members = gathered.get(name)
            if members is None:
                members = gathered[name] = {}
            members[route.term.member] = part
            if name not in needed and not _says_again(name, part, window, value):
                needed.add(name)
    for name, members in gathered.items():
        if name in needed:
            attribute[name] = prop(members)
    worst = max([window.time_quality for _, window, _ in ordered], key=_TRUST.index)
    attribute.update(_bounds(newest, worst))
    return attribute


def _valueless(window: Window) -> Attribute:
    """Why there is no value; a window of good readings without a number says not_available."""
    good = window.quality.severity is Severity.GOOD
    attribute = prop("not_available" if good else window.quality.reason)
    attribute["observedAt"] = utc_text(window.observed)
    attribute |= {name: prop(number) for name, number in _counts(window).items()}
    return attribute | _bounds(window, window.time_quality)


def _counts(window: Window) -> dict[str, int]:
    counts = {v.COUNT: window.count}
    if window.uncertain:
        counts[v.UNCERTAIN] = window.uncertain
    if window.bad:
        counts[v.BAD] = window.bad
    return counts


def _aggregates(route: Route, window: Window) -> dict[str, object]:
    parts: dict[str, object] = {}
    if window.low is not None and window.high is not None and route.term.take != "last":
        parts[v.MIN] = _convert(window.low, route)
        parts[v.MAX] = _convert(window.high, route)
    last = window.last
    if isinstance(last, (bool, str)):
        parts[v.LAST] = last
    elif last is not None and route.term.take != "last":
        parts[v.LAST] = _convert(last, route)
    if window.delta is not None:
        parts[v.DELTA] = _scaled(window.delta, route.convert.factor)
    parts |= _counts(window)
    parts[v.QUALITY] = window.quality.reason
    return parts


def _says_again(name: str, part: object, window: Window, value: float | int | str) -> bool:
    """Of a window of one reading, range and newest value say its value once more: they are left out."""
    if window.count != 1 or name not in _RANGE or isinstance(part, bool):
        return False
    return part == value or (isinstance(part, (int, float)) and _rounded(part) == value)


def _bounds(window: Window, trust: TimeQuality) -> Attribute:
    bounds = {
        v.WINDOW_START: _stated(utc_text(window.start)),
        v.WINDOW_END: _stated(utc_text(window.end)),
    }
    if trust is not TimeQuality.SYNCED:
        bounds[v.TIME_QUALITY] = prop(trust.value)
    return bounds
