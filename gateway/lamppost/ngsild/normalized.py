"""The normalized form of NGSI-LD (ETSI GS CIM 009 §4.5): attributes as dicts, times as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

from lamppost.ngsild.site import SitePlan
from lamppost.ngsild.vocabulary import DATA_PROVIDER, DATE_OBSERVED, SOURCE

Attribute: TypeAlias = dict[str, Any]
Entity: TypeAlias = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_FIRST_MICROSECOND = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def utc_text(ns: int) -> str:
    """UTC nanoseconds as RFC 3339 with Z and at most 6 fraction digits, cut, not rounded.

    Years outside 1 to 9999 cannot be written; the nearest moment that can be is given.
    """
    microseconds = min(max(ns // 1000, _FIRST_MICROSECOND), _LAST_MICROSECOND)
    text = (_EPOCH + timedelta(microseconds=microseconds)).isoformat()[:-6]
    return (text.rstrip("0") if "." in text else text) + "Z"


def prop(value: Any) -> Attribute:
    """A Property without time or unit."""
    return {"type": "Property", "value": value}


def date_prop(ns: int, observed: str = "") -> Attribute:
    """A Property whose value is a moment."""
    attribute = prop({"@type": "DateTime", "@value": utc_text(ns)})
    if observed:
        attribute["observedAt"] = observed
    return attribute


def relationship(target: str | list[str]) -> Attribute:
    """A Relationship to one entity, or to those of a list where the model wants a list."""
    return {"type": "Relationship", "object": target}


@lru_cache(maxsize=4096)
def urn(entity_type: str, *parts: str) -> str:
    """`urn:ngsi-ld:<Type>:<part>:…` from a type's full IRI."""
    return ":".join(("urn:ngsi-ld", local_name(entity_type), *parts))


def local_name(iri: str) -> str:
    """What follows the last "/", "#" or ":" of an IRI."""
    return iri[max(iri.rfind("/"), iri.rfind("#"), iri.rfind(":")) + 1 :]


def whereabouts(plan: SitePlan) -> Entity:
    """The attributes that every entity of a site has: location, source, provider; those that are known."""
    known: Entity = {}
    if plan.place is not None:
        point = {"type": "Point", "coordinates": list(plan.place)}
        known["location"] = {"type": "GeoProperty", "value": point}
    if plan.source:
        known[SOURCE] = prop(plan.source)
    if plan.data_provider:
        known[DATA_PROVIDER] = prop(plan.data_provider)
    return known


def observed(ns: int) -> Entity:
    """dateObserved, itself observed at that moment, so that an older one never replaces a newer."""
    return {DATE_OBSERVED: date_prop(ns, utc_text(ns))}
