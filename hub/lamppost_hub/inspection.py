"""What an audit is given: which archive, whose keys, which words of the hub from elsewhere, how many processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lamppost.envelope.keys import FileSigner, PublicKey
from lamppost_hub.archive import Archive, DatabaseArchive, FileArchive, Head
from lamppost_hub.audit import Report, audit
from lamppost_hub.audit_bodies import Verifier, Workers
from lamppost_hub.database import Database
from lamppost_hub.folder import HubFolder
from lamppost_hub.founding import open_database
from lamppost_hub.proof import read_witness
from lamppost_hub.registry import Registry

SMALL = 32 << 20  # bytes of archive below which other processes are not worth their start


@dataclass(frozen=True, slots=True)
class Order:
    """How to audit. Empty `keys` or `hub_keys`: those that the archive names. Times: UTC ns, when received."""

    keys: tuple[PublicKey, ...] = ()
    hub_keys: tuple[PublicKey, ...] = ()
    against: tuple[Path, ...] = ()
    since: int = 0
    until: int = 1 << 63
    workers: int | None = None


def head_of(folder: HubFolder, database: Database, gateway: str) -> Head:
    """The keys that this hub has for a gateway, and its own. Raises TrustError `registry.unknown-gateway`."""
    hub_keys = tuple(FileSigner.load(path).public for path in folder.signing_keys())
    return Head(folder.settings().id, gateway, Registry(database).keys_of(gateway), hub_keys)


@contextmanager
def hub_archive(folder: HubFolder, gateway: str) -> Iterator[DatabaseArchive]:
    """The archive of one gateway in a hub's folder, as it is at this moment; the receiver goes on meanwhile."""
    database = open_database(folder)
    try:
        head = head_of(folder, database, gateway)
        with database.snapshot():
            yield DatabaseArchive(database, head)
    finally:
        database.close()


def audit_folder(folder: HubFolder, gateway: str, order: Order) -> tuple[Report, Head]:
    """Audit a hub's own folder; the notes in DIR/checkpoints count, whether the database knows them or not."""
    notes = tuple(sorted((folder.checkpoints / gateway).glob("*.note")))
    with hub_archive(folder, gateway) as archive:
        row = archive.database.row(
            "SELECT coalesce(sum(length(body)), 0) FROM entries WHERE gateway ="
            " (SELECT number FROM gateways WHERE id = ?)",
            gateway,
        )
        return _run(archive, order, int(row[0]) if row else 0, notes), archive.head


def audit_file(path: Path, order: Order) -> tuple[Report, Head]:
    """Audit an exported archive. Raises TrustError as `audit`, OSError."""
    with path.open("rb") as file:
        archive = FileArchive(file)
        return _run(archive, order, path.stat().st_size), archive.head


def _run(archive: Archive, order: Order, size: int, notes: Sequence[Path] = ()) -> Report:
    head = archive.head
    hub_keys = order.hub_keys or head.hub_keys
    witnesses = [
        read_witness(path.read_bytes(), path.name, head.hub, head.gateway, hub_keys)
        for path in (*notes, *order.against)
    ]
    count = order.workers
    if count is None:
        count = 0 if size < SMALL else min(8, len(os.sched_getaffinity(0)))
    keys = order.keys or head.gateway_keys
    workers = Workers(Verifier(head.hub, head.gateway, keys, order.since, order.until), count)
    try:
        return audit(archive, workers, hub_keys, witnesses)
    finally:
        workers.close()
