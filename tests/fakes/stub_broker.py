"""A strict NGSI-LD broker for the tests: ETSI GS CIM 009, as far as Lamppost uses it, with the habits of three brokers.

`answer()` is the whole broker as a function of one request. Two ways in: `client()` gives an httpx client without a
socket, `serve()` a real port on loopback. Faults come from a script; each write takes the next one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

Entity = dict[str, Any]
Reply = tuple[int, Any]

ROOT = "/ngsi-ld/v1"
UPSERT, QUERY, TEMPORAL = (
    "/entityOperations/upsert",
    "/entityOperations/query",
    "/temporal/entities",
)
TOKEN = "/oauth2/token"
ERRORS = "https://uri.etsi.org/ngsi-ld/errors/"

LIVE = "urn:lamppost:live"
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+\Z")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\Z")
CORE_ATTRIBUTES = {"location", "observationSpace", "operationSpace", "scope"}
MEMBERS = {
    "Property": {"value"},
    "Relationship": {"object"},
    "GeoProperty": {"value"},
}
BESIDE = {"type", "observedAt", "unitCode", "datasetId"}


@dataclass(frozen=True)
class Habits:
    """How a broker differs from the next one."""

    name: str
    temporal: bool = True
    no_temporal_status: int = 404
    history_of_live: bool = True  # live writes become history too
    one_instance_as_object: bool = False  # in temporal answers
    deadlock_on_new_tenant: bool = False  # a first batch of several entities never answers
    unknown_tenant_is_404: bool = True
    short_description: bool = True  # answers with the core context's short name
    entry_error: Literal["problem", "status", "texts"] = "status"
    max_entities: int = 100
    max_bytes: int = 512 * 1024


ORION = Habits("Orion-LD", temporal=False, no_temporal_status=501, entry_error="problem")
ORION_TROE = Habits("Orion-LD with TRoE", entry_error="problem", one_instance_as_object=True)
SCORPIO = Habits("Scorpio", deadlock_on_new_tenant=True, entry_error="status")
STELLIO = Habits("Stellio", entry_error="texts", one_instance_as_object=True)
BROKERS = (ORION_TROE, SCORPIO, STELLIO)


@dataclass(frozen=True)
class Fault:
    """What happens to one write. `applied`: the broker does the work before it fails to say so."""

    status: int = 0  # 0: no answer at all
    applied: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    not_connected: bool = False


class Problem(Exception):
    """A request that the broker refuses."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"type": ERRORS + kind, "title": kind, "detail": detail}


class Hang(Exception):
    """The broker never answers."""


@dataclass
class Store:
    """One tenant: current state by id, attribute and dataset; every instance that the history was given."""

    current: dict[str, dict[str, dict[str, Entity]]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    history: dict[str, dict[str, list[Entity]]] = field(default_factory=dict)


class StubBroker:
    """The broker. `refuse`: ids that a batch reports as bad; `stumble`: ids that fail once with an internal error."""

    def __init__(self, habits: Habits = ORION_TROE, token: str = "") -> None:
        self.habits = habits
        self.token = token
        self.clients: dict[str, str] = {}  # client ids and secrets of the token endpoint
        self.tenants: dict[str, Store] = {}
        self.faults: list[Fault] = []
        self.refuse: set[str] = set()
        self.stumble: set[str] = set()
        self.requests: list[tuple[str, str, int]] = []  # (method, path, status)
        self.bytes = 0

    # -- what tests ask ------------------------------------------------------------------------------------------

    def store(self, tenant: str = "") -> Store:
        return self.tenants.setdefault(tenant, Store())

    def value(self, identity: str, attribute: str, tenant: str = "") -> Any:
        return self.store(tenant).current[identity][attribute][""]["value"]

    def moments(self, identity: str, attribute: str, tenant: str = "") -> list[str]:
        """The times in the history of an attribute, as they came; live values are none of it."""
        found = self.store(tenant).history.get(identity, {}).get(attribute, [])
        return [i["observedAt"] for i in found if LIVE not in i]

    def repeated(self) -> int:
        """How many instances the history was given more than once; a live value is not its window."""
        seen = Counter(
            (tenant, identity, name, i.get("datasetId", ""), i["observedAt"], LIVE in i)
            for tenant, store in self.tenants.items()
            for identity, attributes in store.history.items()
            for name, instances in attributes.items()
            for i in instances
            if "observedAt" in i
        )
        return sum(times - 1 for times in seen.values())

    # -- one request ---------------------------------------------------------------------------------------------

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; raises Hang where there is no answer, httpx.ConnectError without connection."""
        lowered = {name.lower(): value for name, value in headers.items()}
        path = unquote(urlsplit(target).path)
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        self.bytes += len(body)
        writing = method == "POST" and path in (ROOT + UPSERT, ROOT + TEMPORAL)
        fault = self.faults.pop(0) if writing and self.faults else None
        if fault and fault.not_connected:
            raise httpx.ConnectError("refused")
        reply: Reply = (500, None)
        if fault is None or fault.applied:
            reply = self._reply(method, path, query, lowered, body)
        if fault is not None:
            self.requests.append((method, path, fault.status))
            if fault.status == 0:
                raise Hang
            return fault.status, dict(fault.headers), b""
        self.requests.append((method, path, reply[0]))
        text = b"" if reply[1] is None else json.dumps(reply[1]).encode()
        return reply[0], {"Content-Type": "application/json"}, text

    def _reply(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        try:
            if path == TOKEN and method == "POST":
                return self._give_token(headers, body)
            if self.token and headers.get("authorization") != f"Bearer {self.token}":
                raise Problem(401, "Unauthorized", "no valid token")
            tenant = headers.get("ngsild-tenant", "")
            if path == ROOT + UPSERT and method == "POST":
                return self._upsert(tenant, query, headers, body)
            if path == ROOT + QUERY and method == "POST":
                return self._query(tenant, query, headers, body)
            if path.startswith(ROOT + TEMPORAL):
                return self._temporal(method, path, tenant, query, headers, body)
            raise Problem(404, "ResourceNotFound", f"no such resource: {path}")
        except Problem as problem:
            return problem.status, problem.body

    def _give_token(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """RFC 6749 §4.4: client credentials by HTTP Basic."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        client, _, secret = (
            base64.b64decode(given if kind == "Basic" else "").decode().partition(":")
        )
        if not self.clients.get(client) or self.clients[client] != secret:
            return 401, {"error": "invalid_client"}
        if parse_qs(body.decode()).get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        return 200, {"access_token": self.token, "token_type": "Bearer", "expires_in": 300}

    def _known(self, tenant: str) -> Store:
        if tenant and tenant not in self.tenants and self.habits.unknown_tenant_is_404:
            raise Problem(404, "NonexistentTenant", tenant)
        return self.store(tenant)

    def _upsert(
        self, tenant: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        entities = _body(headers, body, self.habits.max_bytes)
        if not isinstance(entities, list) or not entities:
            raise Problem(400, "BadRequestData", "a batch is an array with entities in it")
        if len(entities) > self.habits.max_entities:
            raise Problem(413, "RequestTooLarge", "too many entities")
        if query.get("options") != "update":
            raise Problem(400, "BadRequestData", "this stub refuses to replace whole entities")
        for entity in entities:
            check_entity(entity, headers)
        ids = [entity["id"] for entity in entities]
        if len(set(ids)) != len(ids):
            raise Problem(400, "BadRequestData", "an id is twice in the batch")
        if (
            self.habits.deadlock_on_new_tenant
            and tenant not in self.tenants
            and len(ids) > 1
            and tenant
        ):
            raise Hang
        store = self.store(tenant)
        errors = [self._entry_error(i, 400, "BadRequestData") for i in ids if i in self.refuse]
        errors += [self._entry_error(i, 500, "InternalError") for i in ids if i in self.stumble]
        failed = (self.refuse | self.stumble) & set(ids)
        self.stumble -= failed
        created = [i for i in ids if i not in store.current and i not in failed]
        for entity in entities:
            if entity["id"] not in failed:
                self._put(store, entity)
        if errors:
            return 207, {"success": [i for i in ids if i not in failed], "errors": errors}
        return (201, created) if created else (204, None)

    def _entry_error(self, identity: str, status: int, kind: str) -> Entity:
        problem: dict[str, Any] = {"type": ERRORS + kind, "title": kind, "detail": "no"}
        if self.habits.entry_error == "status":
            problem["status"] = status
        if self.habits.entry_error == "texts" and status < 500:
            return {"entityId": identity, "error": ["attribute is not acceptable"]}
        return {"entityId": identity, "error": problem}

    def _put(self, store: Store, entity: Entity) -> None:
        store.types[entity["id"]] = entity["type"]
        attributes = store.current.setdefault(entity["id"], {})
        for name, value in entity.items():
            if name in ("id", "type"):
                continue
            for instance in value if isinstance(value, list) else [value]:
                attributes.setdefault(name, {})[instance.get("datasetId", "")] = instance
                if self.habits.history_of_live and "observedAt" in instance:
                    self._remember(store, entity["id"], name, instance)

    def _remember(self, store: Store, identity: str, name: str, instance: Entity) -> None:
        store.history.setdefault(identity, {}).setdefault(name, []).append(instance)

    def _query(
        self, tenant: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> Reply:
        asked = _body(headers, body, self.habits.max_bytes)
        if not isinstance(asked, dict) or asked.get("type") != "Query":
            raise Problem(400, "BadRequestData", "not a Query")
        wanted = [(selector["id"], selector["type"]) for selector in asked["entities"]]
        store = self._known(tenant)
        found = [i for i, kind in wanted if store.types.get(i) == kind and i in store.current]
        return 200, [self._shown(store, i) for i in found[: int(query.get("limit", "20"))]]

    def _shown(self, store: Store, identity: str) -> Entity:
        shown: Entity = {"id": identity, "type": store.types[identity]}
        for name, datasets in store.current[identity].items():
            instances = list(datasets.values())
            shown[self._name(name)] = instances[0] if len(instances) == 1 else instances
        return shown

    def _name(self, name: str) -> str:
        core = "http://purl.org/dc/terms/description"
        return "description" if name == core and self.habits.short_description else name

    def _temporal(
        self,
        method: str,
        path: str,
        tenant: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        if not self.habits.temporal:
            raise Problem(self.habits.no_temporal_status, "OperationNotSupported", "no history")
        if method == "GET":
            return self._read_history(self._known(tenant), path[len(ROOT + TEMPORAL) + 1 :], query)
        entity = _body(headers, body, self.habits.max_bytes)
        check_entity(entity, headers, temporal=True)
        if entity["id"] in self.refuse:
            raise Problem(400, "BadRequestData", "refused")
        store = self.store(tenant)
        created = entity["id"] not in store.history
        store.types.setdefault(entity["id"], entity["type"])
        for name, instances in entity.items():
            for instance in instances if name not in ("id", "type") else ():
                self._remember(store, entity["id"], name, instance)
        return (201, None) if created else (204, None)

    def _read_history(self, store: Store, identity: str, query: Mapping[str, str]) -> Reply:
        if identity not in store.history:
            raise Problem(404, "ResourceNotFound", identity)
        if query.get("timerel") != "between" or query.get("timeproperty") != "observedAt":
            raise Problem(400, "BadRequestData", "this stub knows only between observedAt")
        first, last = _digits(query["timeAt"]), _digits(query["endTimeAt"])
        shown: Entity = {"id": identity, "type": store.types[identity]}
        for name, instances in store.history[identity].items():
            kept = [i for i in instances if first <= _digits(i["observedAt"]) <= last]
            if kept:
                alone = self.habits.one_instance_as_object and len(kept) == 1
                shown[self._name(name)] = kept[0] if alone else kept
        return 200, shown

    # -- ways in -------------------------------------------------------------------------------------------------

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An httpx client that speaks to this broker without a socket."""
        return httpx.AsyncClient(base_url="http://broker.test", transport=_Wire(self), **options)

    @contextlib.contextmanager
    def serve(
        self, port: int = 0, *, pair: tuple[Path, Path] | None = None, client_ca: Path | None = None
    ) -> Iterator[str]:
        """The broker on loopback, in a thread, on a free port unless one is given; gives its URL.

        With `pair` (certificate, key) over TLS, with `client_ca` only for clients that this authority knows.
        """
        import uvicorn

        tls: dict[str, Any] = {}
        if pair:
            tls = {"ssl_certfile": pair[0], "ssl_keyfile": pair[1]}
        if client_ca:
            tls |= {"ssl_ca_certs": client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
            config = uvicorn.Config(
                self.application,
                interface="asgi3",
                log_level="critical",
                lifespan="off",
                loop="asyncio",
                timeout_graceful_shutdown=1,
                **tls,
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(
                target=server.run, kwargs={"sockets": [listener]}, daemon=True
            )
            thread.start()
            try:
                yield f"{'https' if pair else 'http'}://localhost:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join()

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        """The broker as an ASGI application. No answer is a connection that stays silent until the client goes."""
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event.get("body", b""), event.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        target = scope["raw_path"].decode() + "?" + scope["query_string"].decode()
        try:
            status, answered, content = self.answer(scope["method"], target, headers, body)
        except (Hang, httpx.ConnectError):
            while (await receive())["type"] != "http.disconnect":
                await asyncio.sleep(0)
            return
        raw = [(name.lower().encode(), value.encode()) for name, value in answered.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})


class _Wire(httpx.AsyncBaseTransport):
    def __init__(self, broker: StubBroker) -> None:
        self._broker = broker

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        target = request.url.raw_path.decode()
        try:
            status, headers, content = self._broker.answer(
                request.method, target, dict(request.headers), body
            )
        except Hang as silence:
            raise httpx.ReadTimeout("no answer", request=request) from silence
        return httpx.Response(status, headers=headers, content=content)


def check_entity(entity: Any, headers: Mapping[str, str], *, temporal: bool = False) -> None:
    """Raises Problem for an entity that a strict broker without our context could not understand."""
    if not isinstance(entity, dict):
        raise Problem(400, "BadRequestData", "an entity is an object")
    if "@context" in entity and not headers.get("content-type", "").startswith(
        "application/ld+json"
    ):
        raise Problem(400, "BadRequestData", "@context in application/json")
    if not URI.match(str(entity.get("id", ""))):
        raise Problem(400, "BadRequestData", "id is not a URI")
    if not URI.match(str(entity.get("type", ""))):
        raise Problem(400, "BadRequestData", "type is not a full IRI, and no context was given")
    for name, attribute in entity.items():
        if name not in ("id", "type", "@context"):
            _check_instances(name, attribute, temporal)


def _check_instances(name: str, attribute: Any, temporal: bool) -> None:
    if name not in CORE_ATTRIBUTES and not URI.match(name):
        raise Problem(400, "BadRequestData", f"{name} is not a full IRI")
    if temporal and not isinstance(attribute, list):
        raise Problem(400, "BadRequestData", f"{name} is no array of instances")
    instances: Sequence[Any] = attribute if isinstance(attribute, list) else [attribute]
    if temporal and len(instances) > 500:
        raise Problem(413, "RequestTooLarge", "more than 500 instances")
    datasets = [i.get("datasetId", "") for i in instances if isinstance(i, dict)]
    if not temporal and len(set(datasets)) != len(instances):
        raise Problem(400, "BadRequestData", f"{name} has a datasetId twice")
    for instance in instances:
        check_attribute(name, instance)
        if temporal and "observedAt" not in instance:
            raise Problem(400, "BadRequestData", f"{name} without observedAt in a history")


def check_attribute(name: str, attribute: Any) -> None:
    """Raises Problem for an attribute that is not in normalized form."""
    if not isinstance(attribute, dict) or attribute.get("type") not in MEMBERS:
        raise Problem(400, "BadRequestData", f"{name} is not in normalized form")
    members = MEMBERS[attribute["type"]]
    if not members <= set(attribute):
        raise Problem(400, "BadRequestData", f"{name} lacks {members}")
    if any(attribute[member] is None for member in members):
        raise Problem(400, "BadRequestData", f"{name} is null")
    if attribute["type"] == "Relationship":
        targets = attribute["object"]
        for target in targets if isinstance(targets, list) else [targets]:
            if not URI.match(str(target)):
                raise Problem(400, "BadRequestData", f"{name} points to no URI")
    if "observedAt" in attribute and not MOMENT.match(str(attribute["observedAt"])):
        raise Problem(400, "BadRequestData", f"observedAt of {name}: {attribute['observedAt']}")
    if not isinstance(attribute.get("unitCode", ""), str) or attribute.get("unitCode") == "":
        raise Problem(400, "BadRequestData", f"unitCode of {name}")
    for sub, value in attribute.items():
        if sub in BESIDE | members:
            continue
        if not URI.match(sub):
            raise Problem(400, "BadRequestData", f"{sub} in {name} is not a full IRI")
        check_attribute(f"{sub} in {name}", value)


def _body(headers: Mapping[str, str], body: bytes, limit: int) -> Any:
    kind = headers.get("content-type", "").partition(";")[0]
    if kind not in ("application/json", "application/ld+json"):
        raise Problem(415, "UnsupportedMediaType", kind)
    if kind == "application/ld+json" and "link" in headers:
        raise Problem(400, "BadRequestData", "Link header beside application/ld+json")
    if len(body) > limit:
        raise Problem(413, "RequestTooLarge", f"{len(body)} bytes")
    try:
        content = json.loads(body)
    except ValueError as error:
        raise Problem(400, "InvalidRequest", str(error)) from error
    if kind == "application/ld+json":
        for entity in content if isinstance(content, list) else [content]:
            if "@context" not in entity:
                raise Problem(400, "BadRequestData", "application/ld+json without @context")
    return content


def _digits(text: str) -> str:
    """A moment with six fraction digits, so that text compares as time."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<6}"
