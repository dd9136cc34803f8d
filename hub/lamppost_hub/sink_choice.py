"""Which sinks the operator chose, under the name by which their bookmarks are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lamppost.errors import SiteError
from lamppost_hub.clock import Clock
from lamppost_hub.database import Database, Schema
from lamppost_hub.sinks import Sink, open_sink

_LANES = {"ngsi-ld": 4}  # gateways written at a time; the others have one disk and one thread


@dataclass(frozen=True, slots=True)
class ChosenSink:
    """An open sink. `name` keys its cursors: another name is another sink, which gets the whole archive."""

    name: str
    sink: Sink
    lanes: int


def sink_name(setting: str) -> str:
    """The setting without what may change while the sink stays the same one (certificates, client, plan)."""
    kind, _, rest = setting.partition(":")
    if kind not in ("ngsi-ld", "postgres"):
        return setting
    parts = urlsplit(rest)
    tenant = parse_qs(parts.query).get("tenant", [""])[0]
    host = parts.netloc.rpartition("@")[2]
    return f"{kind}:{parts.scheme}://{host}{parts.path.rstrip('/')}" + (
        f"#{tenant}" if tenant else ""
    )


def is_bound(setting: str) -> bool:
    """Whether the sink is a file of this machine, which one process alone may write."""
    return setting.partition(":")[0] in ("embedded", "jsonl")


def open_sinks(
    settings: tuple[str, ...],
    folder: Path,
    clock: Clock,
    memory: Callable[[str, Schema], Database] | None = None,
) -> list[ChosenSink]:
    """Open all of them; `memory` as in `open_sink`.

    Raises SiteError `sink.setting`, StoreError or HubError where one cannot be opened.
    """
    names = [sink_name(setting) for setting in settings]
    if len(set(names)) != len(names):
        raise SiteError("a sink is given twice", code="sink.setting", hint="give each --sink once")
    return [
        ChosenSink(
            name,
            open_sink(setting, folder, monotonic=clock.monotonic, sleep=clock.sleep, memory=memory),
            _LANES.get(setting.partition(":")[0], 1),
        )
        for name, setting in zip(names, settings, strict=True)
    ]
