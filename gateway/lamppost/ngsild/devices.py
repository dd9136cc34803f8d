"""Device, DeviceModel and Alert entities: what the gateway is, what hangs on it, what alarms. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lamppost.model import TimeQuality
from lamppost.ngsild import vocabulary as v
from lamppost.ngsild.normalized import (
    Attribute,
    Entity,
    date_prop,
    prop,
    relationship,
    urn,
    utc_text,
    whereabouts,
)
from lamppost.ngsild.site import DevicePlan, DeviceState, SitePlan
from lamppost.ngsild.terms import ALERT, DEVICE, controlled_property, families_of
from lamppost.ngsild.units import code_of

_DEVICE = DEVICE + "Device"
_MODEL = DEVICE + "DeviceModel"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rule that fired: which one, on which device, since when (UTC nanoseconds), and in what words.

    `severity`, `category` and `sub_category` are words of the Alert model ("critical", "naturalDisaster", "flood" …);
    `until` ends the alarm. `value` is the number that decided, in `unit`, of `point`; `trust` is that of the newer of
    the two times. `unsent` counts raises that were held back, `why` says what else than a reading ended it.
    """

    rule: str
    device: str
    issued: int
    severity: str
    text: str
    category: str = "environment"
    sub_category: str = ""
    until: int | None = None
    point: str = ""
    value: float | None = None
    unit: str = ""
    trust: TimeQuality = TimeQuality.SYNCED
    unsent: int = 0
    why: str = ""


def device_entities(
    plan: SitePlan,
    states: Mapping[str, DeviceState],
    at_ns: int,
    configuration: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
) -> list[Entity]:
    """A Device for the gateway, `urn:ngsi-ld:Device:<gateway>`, then one for each device, or for those in `only`.

    `states` is by device name, the gateway's own under "" (it is "ok" if not named; a device not named gets no
    deviceState). `at_ns` is when the states were seen. `configuration` is what the gateway runs, in a few words.
    """
    gateway = _gateway(plan, states.get("", DeviceState("ok")), at_ns)
    if configuration:
        gateway[v.CONFIGURATION] = {**prop(dict(configuration)), "observedAt": utc_text(at_ns)}
    return [gateway] + [
        _device(plan, device, states.get(device.name), at_ns)
        for device in plan.devices
        if only is None or device.name in only
    ]


def model_entities(plan: SitePlan) -> list[Entity]:
    """A DeviceModel for each model in use. Brand and maker are the first word of the model's first product."""
    return [_model(device) for device in {d.model: d for d in plan.devices if d.model}.values()]


def alert_entity(plan: SitePlan, alarm: Alarm) -> Entity:
    """The Alert of one alarm; the same rule on the same device keeps its id, so that the end replaces the start."""
    moment = utc_text(alarm.until if alarm.until is not None else alarm.issued)
    entity: Entity = {
        "id": urn(ALERT + "Alert", plan.gateway, alarm.device, alarm.rule),
        "type": ALERT + "Alert",
        ALERT + "alertSource": relationship(urn(_DEVICE, plan.gateway, alarm.device)),
        ALERT + "category": prop(alarm.category),
        ALERT + "severity": {**prop(alarm.severity), "observedAt": moment},
        ALERT + "dateIssued": date_prop(alarm.issued, moment),
        v.COMMON + "validFrom": date_prop(alarm.issued, moment),
        v.ALERT_STATE: _alert_state(alarm, moment),
    }
    if alarm.text:
        entity[v.DESCRIPTION] = {**prop(alarm.text), "observedAt": moment}
    if alarm.sub_category:
        entity[ALERT + "subCategory"] = prop(alarm.sub_category)
    if alarm.until is not None:
        entity[ALERT + "validTo"] = date_prop(alarm.until, moment)
    return entity | whereabouts(plan)


def _alert_state(alarm: Alarm, moment: str) -> Attribute:
    """Raised or cleared, and by what; it counts the one number of the alert stream that the entity stands for."""
    state = prop("raised" if alarm.until is None else "cleared")
    state |= {"observedAt": moment, v.COUNT: prop(1)}
    if alarm.value is not None:
        value = prop(alarm.value)
        code = code_of(alarm.unit)
        state[v.VALUE] = {**value, "unitCode": code} if code else value
    if alarm.point:
        state[v.POINT] = prop(alarm.point)
    if alarm.unsent:
        state[v.UNSENT] = prop(alarm.unsent)
    if alarm.why:
        state[v.WHY] = prop(alarm.why)
    if alarm.trust is not TimeQuality.SYNCED:
        state[v.TIME_QUALITY] = prop(alarm.trust.value)
    return state


def _gateway(plan: SitePlan, state: DeviceState, at_ns: int) -> Entity:
    names = (name for device in plan.devices for name, _, _ in device.points)
    entity: Entity = {"id": urn(_DEVICE, plan.gateway), "type": _DEVICE}
    entity[DEVICE + "controlledProperty"] = prop(_controlled(names))
    entity[DEVICE + "deviceCategory"] = prop(["network"])
    entity |= _state(state, at_ns)
    if plan.description:
        entity[v.DESCRIPTION] = prop(plan.description)
    return entity | {v.NAME: prop(plan.gateway)} | whereabouts(plan)


def _device(plan: SitePlan, device: DevicePlan, state: DeviceState | None, at_ns: int) -> Entity:
    names = [name for name, _, _ in device.points]
    entity: Entity = {"id": urn(_DEVICE, plan.gateway, device.name), "type": _DEVICE}
    entity[DEVICE + "controlledProperty"] = prop(_controlled(names))
    entity[DEVICE + "deviceCategory"] = prop([_category(names)])
    entity |= _state(state, at_ns) if state else {}
    if device.model:
        entity[DEVICE + "refDeviceModel"] = relationship(urn(_MODEL, device.model))
    if device.description:
        entity[v.DESCRIPTION] = prop(device.description)
    entity[v.NAME] = prop(device.name)
    entity[v.POINTS] = prop(names)
    entity[v.GATEWAY] = relationship(urn(_DEVICE, plan.gateway))
    return entity | whereabouts(plan)


def _model(device: DevicePlan) -> Entity:
    names = [name for name, _, _ in device.points]
    product = device.products or device.model
    brand = product.split()[0]
    return {
        "id": urn(_MODEL, device.model),
        "type": _MODEL,
        DEVICE + "category": prop([_category(names)]),
        DEVICE + "controlledProperty": prop(_controlled(names)),
        DEVICE + "brandName": prop(brand),
        DEVICE + "manufacturerName": prop(brand),
        DEVICE + "modelName": prop(device.model),
        v.DESCRIPTION: prop(product),
    }


def _state(state: DeviceState, at_ns: int) -> Entity:
    known: Entity = {DEVICE + "deviceState": {**prop(state.state), "observedAt": utc_text(at_ns)}}
    if state.last is not None:
        moment = utc_text(state.last)
        known[DEVICE + "dateLastValueReported"] = date_prop(state.last, moment)
    return known


def _controlled(points: Iterable[str]) -> list[str]:
    """The schema's words for these points, each once, in alphabetical order; points without a word are left out."""
    return sorted({controlled_property(point) for point in points} - {""})


def _category(points: Iterable[str]) -> str:
    families = families_of(frozenset(points))
    return "meter" if any(family.category == "meter" for family in families) else "sensor"
