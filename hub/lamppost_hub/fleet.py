"""The fleet as the hub's own records show it: ledger, counters, queues and the embedded sink. Reads only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lamppost.envelope.seal import is_alert
from lamppost_hub.books import DUPLICATES, UNKNOWN, Books
from lamppost_hub.database import Database
from lamppost_hub.express import AlertQueue, express_name
from lamppost_hub.folder import HubFolder
from lamppost_hub.ledger import Ledger, Stream
from lamppost_hub.queue import Queue
from lamppost_hub.registry import Gateway, Registry
from lamppost_hub.states import UNCLAIMED, said, standing
from lamppost_hub.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Fleet:
    """What `fleet show --json` prints; the members of its objects are listed in docs/reference/hub-cli.md."""

    gateways: list[dict[str, Any]]
    unknown: dict[str, int]
    sink: dict[str, Any]
    queues: dict[str, int]
    dead_letters: int

    def verdict(self, root: str) -> tuple[str, bool]:
        """The most important finding with the command to type next, and whether all is well."""
        for gateway in self.gateways:
            name = gateway["gateway"]
            pending = [e["epoch"] for e in gateway["epochs"] if e["state"] == "epoch-pending"]
            if gateway["state"] == "quarantined":
                what = f"{name} is quarantined: two senders with one identity; find the other card"
                then = f"lamppost-hub quarantine list {root}"
                if pending:
                    then = f"lamppost-hub enrol approve-epoch {root} {name} {pending[-1]}"
                what += f", then: {then}"
                return what, False
            if pending and gateway["state"] == "active":
                command = f"lamppost-hub enrol approve-epoch {root} {name} {pending[-1]}"
                return f"{name} begins again and waits; if its card was replaced: {command}", False
        if self.dead_letters:
            return (
                f"{self.dead_letters} dead letters; type: lamppost-hub dead-letter list {root}",
                False,
            )
        batches = sum(gateway["batches"] for gateway in self.gateways)
        return f"{len(self.gateways)} gateways, {batches} batches", True


def look(database: Database, folder: HubFolder) -> Fleet:
    """Gather everything. Raises StoreError."""
    counters = Books(database).counters()
    streams: dict[str, list[Stream]] = {}
    for stream in Ledger(database).streams():
        streams.setdefault(stream.gateway, []).append(stream)
    queue = Queue(database)
    gateways = [
        _gateway(gateway, streams.get(gateway.id, []), counters.get(gateway.id, {}))
        for gateway in Registry(database).gateways()
    ]
    return Fleet(
        gateways=gateways,
        unknown=counters.get(UNKNOWN, {}),
        sink=_sink(folder),
        queues=_backlogs(queue, AlertQueue(database)),
        dead_letters=sum(letter.state == "parked" for letter in queue.dead_letters()),
    )


def _backlogs(queue: Queue, express: AlertQueue) -> dict[str, int]:
    """Batches that wait, by sink; alerts of a sink only where some wait."""
    sinks = queue.sinks()
    alerts = {express_name(name): express.backlog(express_name(name)) for name in sinks}
    readings = {name: queue.backlog(name) for name in sinks}
    return readings | {name: count for name, count in alerts.items() if count}


def roll(database: Database, utc: int) -> list[dict[str, Any]]:
    """Every gateway, enrolled or only given a token, with its state at `utc` (ns). Raises StoreError."""
    words = said(database)
    found = []
    for gateway in Registry(database).gateways():
        last = words.get(gateway.id)
        beat = last.beat if last else None
        found.append(
            {
                "gateway": gateway.id,
                "state": standing(gateway.state, gateway.seen, last, utc),
                "heard_ns": max(gateway.seen, last.received if last else 0),
                "disconnected_ns": last.gone if last else 0,
                "heartbeat": asdict(beat) if beat else None,
                "version": beat.version if beat else "",
                "serial": beat.serial if beat else 0,
                "wrong": list(beat.wrong) if beat else [],
                "not_after_ns": gateway.not_after,
            }
        )
    known = {row["gateway"] for row in found}
    waiting = [token.gateway for token in Tokens(database).open() if token.gateway not in known]
    return found + [{**_UNCLAIMED, "gateway": name} for name in waiting]


_UNCLAIMED: dict[str, Any] = {
    "state": UNCLAIMED,
    "heard_ns": 0,
    "disconnected_ns": 0,
    "heartbeat": None,
    "version": "",
    "serial": 0,
    "wrong": [],
    "not_after_ns": 0,
}


def _gateway(gateway: Gateway, streams: list[Stream], counters: dict[str, int]) -> dict[str, Any]:
    return {
        "gateway": gateway.id,
        "state": gateway.state,
        "batches": sum(stream.size for stream in streams),
        "alerts": sum(stream.readings for stream in streams if is_alert(stream.epoch)),
        "readings": sum(stream.readings for stream in streams if not is_alert(stream.epoch)),
        "readings_in_gaps": sum(s.missing for s in streams if not is_alert(s.epoch)),
        "bytes": sum(stream.bytes for stream in streams),
        "seen_ns": gateway.seen,
        "not_after_ns": gateway.not_after,
        "duplicates": counters.get(DUPLICATES, 0),
        "refused": {name: count for name, count in counters.items() if name != DUPLICATES},
        "epochs": [
            {
                "epoch": stream.epoch,
                "state": stream.state,
                "batches": stream.size,
                "readings": stream.readings,
                "readings_in_gaps": stream.missing,
                "received_ns": stream.received,
            }
            for stream in streams
        ],
    }


def _sink(folder: HubFolder) -> dict[str, Any]:
    if not folder.embedded_sink.exists():
        return {"present": False, "readings": 0, "reduced": 0, "duplicates": 0, "entities": {}}
    from lamppost_hub.sinks.store import EmbeddedStore

    with EmbeddedStore.open(folder.embedded_sink) as store:
        return {
            "present": True,
            "readings": store.readings(),
            "reduced": store.reduced(),
            "duplicates": store.duplicates(),
            "entities": store.types(),
        }
