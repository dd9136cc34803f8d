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
from typing import TypeAlias

from lamppost.model import GOOD, Gap, Severity, TimeQuality, Window
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
_TRUST = (TimeQuality.SYNCED, TimeQuality.HOLDOVER, TimeQuality.UNSYNCED)

_Value: TypeAlias = float | int | str
_Place: TypeAlias = tuple[str, int, int]  # (entity, start, end)
_Part: TypeAlias = tuple[Route, Window, _Value]


@dataclass(slots=True)
class _Filling:
    """One entity while its windows come in. `parts` are by IRI and member of the attribute, as `empty` are."""

    route: Route
    device: str
    point: str
    start: int
    end: int
    observed: int
    parts: dict[str, dict[str, _Part]] = field(default_factory=dict)
    empty: dict[tuple[str, str], tuple[Route, Window]] = field(default_factory=dict)


_stated = lru_cache(maxsize=1024, typed=True)(prop)
"""A Property that many attributes say alike (a count, a reason, a window's end); nobody may change it."""


@lru_cache(maxsize=256)
def _one_good(members: tuple[str, ...]) -> Attribute:
    """What a good reading for each member says beside the values; nobody may change what is in it."""
    ones: object = dict.fromkeys(members, 1) if members else 1
    reasons: object = dict.fromkeys(members, GOOD.reason) if members else GOOD.reason
    return {v.COUNT: prop(ones), v.QUALITY: prop(reasons)}


def entities_of(
    windows: Sequence[Window], plan: SitePlan, gaps: Sequence[Gap] = (), *, epoch: str = ""
) -> list[Entity]:
    """The entities of a batch, in the order of their first windows, then one for each gap.

    Points that the plan does not name, quantities that no model knows, units that do not fit and values that the
    model's schema forbids (frost on a battery, a negative level) become DeviceMeasurement entities.
    """
    routes = routes_of(plan)
    filling: dict[_Place, list[_Filling]] = {}
    order: list[_Filling] = []
    for window in windows:
        key = (window.device, window.point)
        route = routes.get(key) or generic_route(plan.gateway, *key, "")
        value = _value(window, route)
        if value is not None and not _allowed(value, route):
            route = generic_route(plan.gateway, *key, route.symbol)
            value = _value(window, route)
        _place(filling, order, route, window, value)
    fixed = whereabouts(plan)
    since = {device.name: device.metering_since for device in plan.devices}
    entities = [_entity(f, plan.gateway, fixed, since.get(f.device)) for f in order]
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
    filling: dict[_Place, list[_Filling]],
    order: list[_Filling],
    route: Route,
    window: Window,
    value: _Value | None,
) -> None:
    place = (route.entity, window.start, window.end)
    alike = filling.get(place)
    if alike is None:
        alike = filling[place] = []
    for into in alike:
        if _taken(into, route, window, value):
            return
    # The first, or the same point twice in one window (batches of two configurations): an entity of its own.
    into = _Filling(route, window.device, window.point, window.start, window.end, window.observed)
    _taken(into, route, window, value)
    alike.append(into)
    order.append(into)


def _taken(into: _Filling, route: Route, window: Window, value: _Value | None) -> bool:
    """Put the window into the entity; False where its place is occupied."""
    member = route.term.member
    iri = TEXT_VALUE if isinstance(value, str) else route.term.iri
    parts = into.parts.get(iri)
    if (parts is not None and member in parts) or (into.empty and (iri, member) in into.empty):
        return False
    if window.observed > into.observed:
        into.observed = window.observed
    if value is None:
        into.empty[iri, member] = (route, window)
    elif parts is None:
        into.parts[iri] = {member: (route, window, value)}
    else:
        parts[member] = (route, window, value)
    return True


def _value(window: Window, route: Route) -> _Value | None:
    """What stands for the window in its attribute; text only where the route is generic."""
    term = route.term
    if term.take == "delta" and (window.delta is not None or window.mean is None):
        return None if window.delta is None else _scaled(window.delta, route.convert.factor)
    raw = window.mean if term.take != "last" and window.mean is not None else window.last
    if raw is None:
        return None
    if isinstance(raw, (bool, str)):
        return str(raw).lower() if isinstance(raw, bool) else raw
    number = _convert(raw, route)
    if term.whole:
        return round(number)
    if term.turn:
        return number % 360
    return number if raw is window.last else _rounded(number)


def _allowed(value: _Value, route: Route) -> bool:
    if isinstance(value, str):
        return route.family is GENERIC
    if (
        isinstance(value, int) and value.bit_length() > 63
    ):  # a rounded number that JSON readers refuse
        return route.family is GENERIC
    term = route.term
    return (term.low is None or value >= term.low) and (term.high is None or value <= term.high)


def _convert(raw: float, route: Route) -> float:
    convert = route.convert
    if type(raw) is int and raw.bit_length() > 63:  # JSON readers refuse it, and so does our writer
        raw = float(raw)
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
    interval = {
        v.WINDOW_START: _stated(utc_text(filling.start)),
        v.WINDOW_END: _stated(utc_text(filling.end)),
    }
    for iri, parts in filling.parts.items():
        lone = parts.get("")
        entity[iri] = _single(lone, interval) if lone else _measured(parts, interval)
    for route, window in filling.empty.values():
        entity[_quality_name(route)] = _valueless(window, interval)
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
    entity |= fixed
    return entity


def _quality_name(route: Route) -> str:
    member = route.term.member
    return v.QUALITY_OF + local_name(route.term.iri) + (f".{member}" if member else "")


def _single(part: _Part, interval: Attribute) -> Attribute:
    route, window, value = part
    attribute = prop(value)
    if route.convert.code and not isinstance(value, str):
        attribute["unitCode"] = route.convert.code
    attribute["observedAt"] = utc_text(window.observed)
    if _lone(part):
        attribute |= _one_good(())
        attribute |= interval
        return attribute
    single = window.count == 1
    for name, said in _aggregates(route, window).items():
        if name in _OFTEN:
            attribute[name] = _stated(said)
        elif not (single and _says_again(name, said, value)):
            attribute[name] = prop(said)
    attribute |= interval
    return _trusted(attribute, window.time_quality)


def _measured(parts: dict[str, _Part], interval: Attribute) -> Attribute:
    """A per-phase object: its value and every aggregate are objects with the same keys, L1 first."""
    names = sorted(parts)
    ordered = [parts[name] for name in names]
    attribute = prop({name: part[2] for name, part in zip(names, ordered, strict=True)})
    code = ordered[0][0].convert.code
    if code:
        attribute["unitCode"] = code
    attribute["observedAt"] = utc_text(max([window.observed for _, window, _ in ordered]))
    if all(map(_lone, ordered)):
        attribute |= _one_good(tuple(names))
        attribute |= interval
        return attribute
    gathered: dict[str, dict[str, object]] = {}
    needed: set[str] = set()
    for member, (route, window, value) in zip(names, ordered, strict=True):
        single = window.count == 1
        for name, said in _aggregates(route, window).items():
            members = gathered.get(name)
            if members is None:
                members = gathered[name] = {}
            members[member] = said
            if name not in needed and not (single and _says_again(name, said, value)):
                needed.add(name)
    for name, members in gathered.items():
        if name in needed:
            attribute[name] = prop(members)
    attribute |= interval
    worst = max({window.time_quality for _, window, _ in ordered}, key=_TRUST.index)
    return _trusted(attribute, worst)


def _lone(part: _Part) -> bool:
    """Whether it is one good reading whose value has been said, so that every attribute like it says the rest alike."""
    route, window, _ = part
    return (
        window.good == 1
        and window.last is window.mean is window.low is window.high
        and window.quality is GOOD
        and window.time_quality is TimeQuality.SYNCED
        and window.delta is None
        and not window.uncertain
        and not window.bad
        and not route.term.whole
        and not route.term.turn
    )


def _valueless(window: Window, interval: Attribute) -> Attribute:
    """Why there is no value; a window of good readings without a number says not_available."""
    good = window.quality.severity is Severity.GOOD
    attribute = prop("not_available" if good else window.quality.reason)
    attribute["observedAt"] = utc_text(window.observed)
    attribute |= {name: prop(number) for name, number in _counts(window).items()}
    attribute |= interval
    return _trusted(attribute, window.time_quality)


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


def _says_again(name: str, part: object, value: _Value) -> bool:
    """Of a window of one reading, range and newest value say its value once more: they are left out."""
    if name not in _RANGE or isinstance(part, bool):
        return False
    return part == value or (isinstance(part, (int, float)) and _rounded(part) == value)


def _trusted(attribute: Attribute, trust: TimeQuality) -> Attribute:
    """The attribute, with what is to be said of a time that is not synced."""
    if trust is not TimeQuality.SYNCED:
        attribute[v.TIME_QUALITY] = prop(trust.value)
    return attribute
