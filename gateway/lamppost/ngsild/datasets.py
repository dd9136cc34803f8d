"""Aggregates as instances of their own instead of sub-properties (ETSI GS CIM 009 §4.5.5, multi-attributes). Pure.

The default instance keeps value, counts, quality and window; each aggregate becomes an instance whose `datasetId` is
the IRI that it has as a sub-property. A reader that asks for no dataset sees the value alone.
"""

from __future__ import annotations

from lamppost.ngsild import vocabulary as v
from lamppost.ngsild.normalized import Attribute, Entity, prop

_MOVED = (
    v.MIN,
    v.MAX,
    v.LAST,
    v.DELTA,
)  # `count` is copied: the default instance must account for its readings


def spread(entity: Entity) -> Entity:
    """The entity with the aggregates of its measured attributes as instances."""
    return {
        name: _instances(attribute)
        if isinstance(attribute, dict) and _measured(attribute)
        else attribute
        for name, attribute in entity.items()
    }


def _measured(attribute: Attribute) -> bool:
    return v.COUNT in attribute and v.QUALITY in attribute


def _instances(attribute: Attribute) -> list[Attribute]:
    default = {name: part for name, part in attribute.items() if name not in _MOVED}
    names = [name for name in (*_MOVED, v.COUNT) if name in attribute]
    return [default, *(_instance(attribute, name) for name in names)]


def _instance(attribute: Attribute, name: str) -> Attribute:
    made = prop(attribute[name]["value"])
    if "unitCode" in attribute and name != v.COUNT:
        made["unitCode"] = attribute["unitCode"]
    made["observedAt"] = attribute["observedAt"]
    made["datasetId"] = name
    return made
