"""What gateways say of their configuration: read from the newest batches of the ledger, signed by each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import open_body
from lamppost_hub.database import Database
from lamppost_hub.registry import Registry

ATTRIBUTE = "urn:lamppost:configuration"
LOOKED_AT = 6  # batches of a gateway, the newest first: alerts do not carry it


@dataclass(frozen=True, slots=True)
class Report:
    """A gateway's own words. `outcome` is what became of `tried`, the newest serial it dealt with; times UTC ns."""

    gateway: str
    state: str = ""
    serial: int = 0
    rollout: str = ""
    tried: int = 0
    outcome: str = ""
    code: str = ""
    reason: str = ""
    fault: str = ""
    waits: str = ""
    received: int = 0


def reports(database: Database, hub: str) -> dict[str, Report]:
    """The newest report of each enrolled gateway; one that has not said anything is left out."""
    registry = Registry(database)
    found = {}
    for gateway in registry.gateways():
        rows = database.rows(
            "SELECT received, body FROM entries WHERE gateway = ? ORDER BY position DESC LIMIT ?",
            gateway.number,
            LOOKED_AT,
        )
        for received, body in rows:
            try:
                opened = open_body(bytes(body), aud=hub, signer_of=registry.signer_of)
                said = _said(json.loads(opened.payload), gateway.id)
            except (EnvelopeError, ValueError):
                continue
            if said is not None:
                found[gateway.id] = read(gateway.id, said, received)
                break
    return found


def read(gateway: str, said: Mapping[str, Any], received: int = 0) -> Report:
    """A report out of the attribute's value; what is missing or odd is left empty."""
    last = said.get("last")
    last = last if isinstance(last, Mapping) else {}
    return Report(
        gateway=gateway,
        state=_text(said, "state"),
        serial=_number(said, "serial"),
        rollout=_text(said, "rollout"),
        tried=_number(last, "serial"),
        outcome=_text(last, "outcome"),
        code=_text(last, "code"),
        reason=_text(last, "reason"),
        fault=_text(said, "fault"),
        waits=_text(said, "waits"),
        received=received,
    )


def _said(entities: Any, gateway: str) -> Mapping[str, Any] | None:
    if not isinstance(entities, list):
        return None
    for entity in entities:
        if isinstance(entity, Mapping) and entity.get("id") == f"urn:ngsi-ld:Device:{gateway}":
            attribute = entity.get(ATTRIBUTE)
            value = attribute.get("value") if isinstance(attribute, Mapping) else None
            return value if isinstance(value, Mapping) else None
    return None


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    return value[:300] if isinstance(value, str) else ""


def _number(said: Mapping[str, Any], key: str) -> int:
    value = said.get(key)
    return value if type(value) is int and value >= 0 else 0
