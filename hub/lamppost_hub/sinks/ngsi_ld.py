"""Deliveries into a context broker (Orion-LD, Scorpio, Stellio, any that conforms), each reading once.

The write plan is the gateway package's; here is what it remembers, durably, and how the broker is reached.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast, get_args
from urllib.parse import parse_qsl, urlsplit

import httpx

from lamppost.errors import HubError, SiteError
from lamppost.ngsild.broker import Api, Broker, ClientCredentials, History, Key, Outcome
from lamppost_hub.database import Database, Schema
from lamppost_hub.delivery import Delivery, check
from lamppost_hub.sinks.worker import Worker
from lamppost_hub.sqlite import SqliteDatabase

MEMORY = "ngsi-ld-{}.sqlite"  # each broker and tenant has been sent other things
NAMESPACE = "lamppost_broker"  # with the same mark, in PostgreSQL
TIMEOUT = 30.0
KEPT_JOBS = 64  # finished deliveries remembered for each stream; the hub repeats only its last few

_SCHEMA = """
CREATE TABLE newest (
  entity TEXT NOT NULL, attribute TEXT NOT NULL, dataset TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (entity, attribute, dataset)) WITHOUT ROWID;
CREATE TABLE parts (job TEXT NOT NULL, part TEXT NOT NULL, PRIMARY KEY (job, part)) WITHOUT ROWID;
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY, job TEXT NOT NULL UNIQUE, gateway TEXT NOT NULL, done INTEGER NOT NULL);
CREATE INDEX jobs_done ON jobs (gateway, done, number)
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a broker is reached. Paths, never secrets: the client's secret stands in a file of its own."""

    url: str
    tenant: str = ""
    history: History = "temporal"
    ca: str = ""
    certificate: str = ""
    key: str = ""
    token_url: str = ""
    client: str = ""
    secret_file: str = ""
    scope: str = ""


class NgsiLdSink:
    """One broker and tenant."""

    def __init__(self, broker: Broker, memory: BrokerMemory, client: httpx.AsyncClient) -> None:
        self._broker = broker
        self._memory = memory
        self._client = client

    @classmethod
    def open(
        cls,
        settings: Settings,
        folder: Path,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        transport: httpx.AsyncBaseTransport | None = None,
        shared: Callable[[str, Schema], Database] | None = None,
    ) -> NgsiLdSink:
        """Open the memory, in `folder` or `shared`, and make the client; the broker is asked at the first write.

        Raises SiteError `sink.setting` for certificates and secrets that cannot be read, StoreError for the memory.
        """
        client = httpx.AsyncClient(
            base_url=settings.url,
            verify=_tls(settings),
            auth=_auth(settings, monotonic),
            timeout=TIMEOUT,
            transport=transport,
        )
        memory = BrokerMemory.open(settings, folder, shared)
        api = Api(client, tenant=settings.tenant, sleep=sleep)
        return cls(Broker(api, memory, history=settings.history), memory, client)

    async def write(self, delivery: Delivery) -> None:
        """Write a delivery; the broker has answered for all of it when this returns.

        Raises HubError: `broker.…` as the broker's writer does, and `sink.refused`, without retry, where it refused
        some entities for good. Tried again, exactly those are sent again.
        """
        check(delivery)
        job = "/".join((delivery.gateway, delivery.epoch, str(delivery.seq)))
        if await self._memory.finished(job):
            return
        outcome = await self._broker.write(delivery.entities, job)
        if outcome.refused:
            raise _refused(outcome)

    async def close(self) -> None:
        """Close the connections and the memory."""
        await self._client.aclose()
        await self._memory.close()


class BrokerMemory:
    """`lamppost.ngsild.broker.Memory` in a database, durable at every return."""

    def __init__(self, database: Database, what: object) -> None:
        self._database = database
        self._worker = Worker(what)

    @classmethod
    def open(
        cls,
        settings: Settings,
        folder: Path,
        shared: Callable[[str, Schema], Database] | None = None,
    ) -> BrokerMemory:
        """Open or create the memory of one broker and tenant. Raises StoreError."""
        mark = sha256(f"{settings.url}#{settings.tenant}".encode()).hexdigest()[:12]
        if shared is not None:
            return cls(shared(f"{NAMESPACE}_{mark}", Schema(_SCHEMA)), "what the broker was sent")
        path = folder / MEMORY.format(mark)
        return cls(SqliteDatabase.open(path, Schema(_SCHEMA)), path)

    async def newest(self, identities: Sequence[str]) -> Mapping[Key, int]:
        """The moments last written for these entities."""

        def look() -> dict[Key, int]:
            sql = "SELECT attribute, dataset, at FROM newest WHERE entity = ?"
            return {
                (identity, attribute, dataset): at
                for identity in identities
                for attribute, dataset, at in self._database.rows(sql, identity)
            }

        return await self._worker.run(look)

    async def advance(self, written: Mapping[Key, int]) -> None:
        """Remember newer moments."""

        def remember() -> None:
            with self._database.transaction():
                for key, at in written.items():
                    self._database.run(
                        "INSERT INTO newest VALUES (?, ?, ?, ?)"
                        " ON CONFLICT (entity, attribute, dataset) DO UPDATE SET at ="
                        " CASE WHEN excluded.at > newest.at THEN excluded.at ELSE newest.at END",
                        *key,
                        at,
                    )

        if written:
            await self._worker.run(remember)

    async def open_job(self, job: str) -> frozenset[str] | None:
        """Begin a job."""

        def begin() -> frozenset[str] | None:
            new = self._database.run(
                "INSERT INTO jobs (job, gateway, done) VALUES (?, ?, 0) ON CONFLICT DO NOTHING",
                job,
                _stream_of(job),
            )
            if new:
                return None
            rows = self._database.rows("SELECT part FROM parts WHERE job = ?", job)
            return frozenset(part for (part,) in rows)

        return await self._worker.run(begin)

    async def part_done(self, job: str, part: str) -> None:
        """Remember a part."""
        await self._worker.run(
            lambda: self._database.run(
                "INSERT INTO parts VALUES (?, ?) ON CONFLICT DO NOTHING", job, part
            )
        )

    async def close_job(self, job: str) -> None:
        """Forget the parts; that the job is done is remembered for the stream's last few."""

        def end() -> None:
            with self._database.transaction():
                self._database.run("DELETE FROM parts WHERE job = ?", job)
                self._database.run("UPDATE jobs SET done = 1 WHERE job = ?", job)
                self._database.run(
                    "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs WHERE gateway = ? AND done = 1"
                    " ORDER BY number DESC LIMIT 1000000 OFFSET ?)",
                    _stream_of(job),
                    KEPT_JOBS,
                )

        await self._worker.run(end)

    async def finished(self, job: str) -> bool:
        """Whether the job was done before."""
        found = await self._worker.run(
            lambda: self._database.row("SELECT done FROM jobs WHERE job = ?", job)
        )
        return found is not None and found[0] == 1

    async def close(self) -> None:
        """Close the file."""
        await self._worker.close(self._database.close)


def _stream_of(job: str) -> str:
    """Gateway and epoch: what is written ahead of the readings must not make their jobs forgotten."""
    return job.rpartition("/")[0]


def read_settings(text: str, folder: Path) -> Settings:
    """`URL?tenant=…&history=…&ca=…&certificate=…&key=…&token_url=…&client=…&secret_file=…&scope=…`.

    Relative paths stand in `folder`. Raises SiteError `sink.setting`.
    """
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - set(Settings.__slots__) | ({"url"} & set(options)))
    if parts.scheme not in ("http", "https") or not parts.hostname or unknown:
        raise _setting(
            f"not a broker: {unknown or text}", "give ngsi-ld:https://HOST:PORT?tenant=NAME"
        )
    if options.get("history", "temporal") not in get_args(History):
        raise _setting(f"history = {options['history']}", "give temporal, replay or latest")
    for name in ("ca", "certificate", "key", "secret_file"):
        if options.get(name):
            options[name] = str(folder / options[name])
    history = cast(History, options.pop("history", "temporal"))
    url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return Settings(url=url, history=history, **options)


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key or None)
    except (OSError, ssl.SSLError) as error:
        raise _setting(
            f"TLS files: {error}", "check ca, certificate and key of the sink"
        ) from error
    return context


def _auth(settings: Settings, monotonic: Callable[[], float]) -> httpx.Auth | None:
    if not settings.token_url:
        return None
    try:
        secret = Path(settings.secret_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _setting(f"secret_file: {error}", "write the client's secret into a file") from error
    return ClientCredentials(settings.token_url, settings.client, secret, monotonic, settings.scope)


def _setting(message: str, hint: str) -> SiteError:
    return SiteError(message, code="sink.setting", hint=hint)


def _refused(outcome: Outcome) -> HubError:
    first = outcome.refused[0]
    return HubError(
        f"the broker refused {len(outcome.refused)} entities, first {first.entity['id']}:"
        f" {first.status} {dict(first.problem)}",
        code="sink.refused",
        hint="mend what the problem details name, then: lamppost-hub dead-letter retry",
    )
