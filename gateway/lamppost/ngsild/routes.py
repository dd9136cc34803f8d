"""Where each point of a site goes: terms and units, worked out once for a plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from lamppost.ngsild.normalized import urn
from lamppost.ngsild.site import DevicePlan, SitePlan
from lamppost.ngsild.terms import GENERIC, NUM_VALUE, Family, Term, families_of
from lamppost.ngsild.units import SYMBOLS, Conversion, code_of, conversion


@dataclass(frozen=True, slots=True)
class Route:
    """One point's way: the entity it goes to, the term there, and how its unit converts."""

    family: Family
    entity: str
    term: Term
    convert: Conversion
    symbol: str


Routes = dict[tuple[str, str], Route]


@lru_cache(maxsize=8)
def routes_of(plan: SitePlan) -> Routes:
    """The way of every point named in the plan, by (device, point)."""
    routes: Routes = {}
    for device in plan.devices:
        routes |= _device_routes(plan.gateway, device)
    return routes


def generic_route(gateway: str, device: str, point: str, symbol: str) -> Route:
    """A DeviceMeasurement of the point's own, in the driver's own unit; never refuses."""
    entity = urn(GENERIC.type, gateway, device, point)
    code = code_of(symbol)
    return Route(GENERIC, entity, Term(NUM_VALUE, (code,)), Conversion(code), symbol)


def _device_routes(gateway: str, device: DevicePlan) -> Routes:
    families = families_of(frozenset(name for name, _, _ in device.points))
    entities = _entity_ids(gateway, device.name, families)
    routes: Routes = {}
    taken: set[tuple[str, str, str]] = set()
    # The exact name of a phase goes before the plain name that stands for it on a single-phase meter.
    for name, symbol, _ in sorted(device.points, key=lambda p: (-p[0].count("."), p[0])):
        route = _typed_route(entities, name, symbol)
        slot = (route.entity, route.term.iri, route.term.member) if route else None
        if route is None or slot is None or slot in taken:
            route = generic_route(gateway, device.name, name, symbol)
        else:
            taken.add(slot)
        routes[device.name, name] = route
    return routes


def _typed_route(entities: dict[Family, str], name: str, symbol: str) -> Route | None:
    for family, entity in entities.items():
        if name not in family.terms:
            continue
        term = family.terms[name]
        if term is None or symbol not in SYMBOLS:
            return None
        for code in term.codes:
            convert = conversion(symbol, code)
            if convert is not None:
                return Route(family, entity, term, convert, symbol)
        return None
    return None


def _entity_ids(gateway: str, device: str, families: tuple[Family, ...]) -> dict[Family, str]:
    """`urn:ngsi-ld:<Type>:<gateway>:<device>`; a second family of one type adds its own name."""
    ids: dict[Family, str] = {}
    seen: set[str] = set()
    for family in families:
        parts = (gateway, device, family.name) if family.type in seen else (gateway, device)
        ids[family] = urn(family.type, *parts)
        seen.add(family.type)
    return ids
