"""What a sink is, and which one a setting asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from lamppost.errors import HubError, SiteError
from lamppost_hub.database import Database, Schema
from lamppost_hub.delivery import Delivery


class Sink(Protocol):
    """Takes deliveries, one gateway's in order; those of several gateways may overlap."""

    async def write(self, delivery: Delivery) -> None:
        """Take a delivery: durable when it returns. Writing the same one again changes nothing.

        Raises HubError `sink.…` or `broker.…`; `retry` tells whether waiting can help. Without `retry` the delivery
        is a dead letter until an operator has it tried again.
        """
        ...

    async def close(self) -> None:
        """Give files and connections back; nothing is written after it."""
        ...


def open_sink(
    setting: str,
    folder: Path,
    *,
    monotonic: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
    memory: Callable[[str, Schema], Database] | None = None,
) -> Sink:
    """Open `embedded`, `jsonl:PATH`, `ngsi-ld:URL` or `postgres:URL`; relative paths stand in `folder`.

    What a context broker was sent is remembered in `memory`, a database that all receivers share, or in a file.

    Raises SiteError `sink.setting` for anything else. Blocks for the disk; call it before the loop is busy.
    """
    kind, _, rest = setting.partition(":")
    if kind == "embedded" and not rest:
        from lamppost_hub.sinks.embedded import EmbeddedSink

        return EmbeddedSink.open(folder / "sink.sqlite")
    if kind == "jsonl" and rest:
        from lamppost_hub.sinks.jsonl import JsonlSink

        return JsonlSink.open(folder / rest)
    if kind == "ngsi-ld" and rest:
        from lamppost_hub.sinks.ngsi_ld import NgsiLdSink, read_settings

        settings = read_settings(rest, folder)
        return NgsiLdSink.open(settings, folder, monotonic=monotonic, sleep=sleep, shared=memory)
    if kind == "postgres" and rest:
        from lamppost_hub.sinks.postgres import PostgresSink

        try:
            return PostgresSink.open(rest, folder / "keys" / "pgpass")
        except SiteError as error:
            raise SiteError(str(error), code="sink.setting", hint=error.hint) from error
    raise SiteError(
        f"no such sink: {setting}",
        code="sink.setting",
        hint="give embedded, jsonl:PATH, ngsi-ld:URL or postgres:URL",
    )


def disk(what: object, error: Exception) -> HubError:
    """A sink's own file cannot be written or read."""
    return HubError(
        f"{what}: {error}",
        code="sink.disk",
        hint="check free space, permissions and the kernel log of the sink's disk",
        retry=True,
    )
