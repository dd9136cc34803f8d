"""Does a payload fit its Smart Data Model? Key-values reduction, jsonschema without retrieval, PyLD without network.

The schemas describe key-values, so a normalized entity is reduced first. Names of Lamppost's own vocabulary are no part
of any model and are left out.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from shared_folder import shared_path

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+\Z")
OWN = "urn:lamppost:"
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"
INTEGRITY = "https://w3id.org/security/data-integrity/v2"


def local_name(iri: str) -> str:
    return iri[max(iri.rfind("/"), iri.rfind("#"), iri.rfind(":")) + 1 :]


def key_values(entity: dict[str, Any]) -> dict[str, Any]:
    """The simplified representation (ETSI GS CIM 009 §4.5.4) with short names."""
    reduced: dict[str, Any] = {"id": entity["id"], "type": local_name(entity["type"])}
    for name, attribute in entity.items():
        if name in ("id", "type") or name.startswith(OWN):
            continue
        if isinstance(attribute, list):  # of several instances the one without a datasetId
            (attribute,) = [instance for instance in attribute if "datasetId" not in instance]
        value = attribute["object"] if attribute["type"] == "Relationship" else attribute["value"]
        if isinstance(value, dict) and "@value" in value:
            value = value["@value"]
        reduced[local_name(name)] = value
    return reduced


@lru_cache(maxsize=1)
def _registry() -> Registry[Any]:
    resources = []
    for path in sorted(shared_path("sdm/refs").glob("*.json")):
        content = json.loads(path.read_bytes())
        resource = Resource.from_contents(content, default_specification=DRAFT202012)
        resources.append((content["$id"], resource))
        if path.name == "Environment-schema.json":  # some schemas name it by its raw address
            raw = (
                "https://raw.githubusercontent.com/smart-data-models/"
                "dataModel.Environment/master/Environment-schema.json"
            )
            resources.append((raw, resource))
    return Registry().with_resources(resources)  # nothing else can be reached


@lru_cache(maxsize=32)
def _validator(model: str) -> Draft202012Validator:
    schema = json.loads(shared_path(f"sdm/{model}/schema.json").read_bytes())
    checker = FormatChecker(["date-time"])
    checker.checks("uri")(lambda text: not isinstance(text, str) or bool(URI.match(text)))
    return Draft202012Validator(schema, registry=_registry(), format_checker=checker)


def problems(entity: dict[str, Any]) -> list[str]:
    """What the entity's own schema says against it; empty if it fits. Skips without the shared folder."""
    reduced = key_values(entity)
    errors = _validator(reduced["type"]).iter_errors(reduced)
    return sorted(f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in errors)


def subject_context(subject: str) -> dict[str, Any]:
    """The @context of a subject such as "Environment", as published."""
    path = shared_path(f"sdm/dataModel.{subject}-context.jsonld")
    context: dict[str, Any] = json.loads(path.read_bytes())["@context"]
    return context


def load_document(url: str, _options: object = None) -> dict[str, Any]:
    """A PyLD document loader that knows the two core contexts and nothing else."""
    files = {CORE: "ngsi-ld-core-context-v1.9.jsonld", INTEGRITY: "data-integrity-v2.jsonld"}
    folder: Path = shared_path("sdm/core-context")
    return {
        "contextUrl": None,
        "documentUrl": url,
        "contentType": "application/ld+json",
        "document": json.loads((folder / files[url]).read_bytes()),
    }


def expand(entity: dict[str, Any], *contexts: Any) -> dict[str, Any]:
    """PyLD's expansion with the core context last, as NGSI-LD asks; no network."""
    from pyld import jsonld

    document = {**entity, "@context": [*contexts, CORE]}
    (expanded,) = jsonld.expand(document, {"documentLoader": load_document})
    result: dict[str, Any] = expanded
    return result
