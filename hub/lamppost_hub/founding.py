"""Making a hub, and letting gateways in: keys, certificates, bundles, reset records."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

from lamppost.envelope import codec, sign1
from lamppost.envelope.enrolment import EnrolmentRequest
from lamppost.envelope.identity import BUNDLE_SCHEMA
from lamppost.envelope.keys import (
    DecryptionKey,
    FileSigner,
    create_encryption_key,
    create_signing_key,
)
from lamppost.envelope.seal import is_alert
from lamppost_hub.ca import Authority, Issued
from lamppost_hub.checkpoint import Checkpoints
from lamppost_hub.clock import Clock
from lamppost_hub.database import Database, Schema
from lamppost_hub.files import private_folder
from lamppost_hub.folder import HubFolder, Settings
from lamppost_hub.intake import HubKeys
from lamppost_hub.ledger import Ledger
from lamppost_hub.publish.newest import newest_root
from lamppost_hub.registry import Registry
from lamppost_hub.schema import NAMESPACE, SCHEMA
from lamppost_hub.sqlite import SqliteDatabase

DEVICE_ROOT, DEVICE_CA, SERVER_CA = "device-root", "device-ca", "server-ca"
RESET_TYPE = "application/vnd.lamppost.reset+cbor"


def open_database(folder: HubFolder) -> Database:
    """hub.sqlite, or the PostgreSQL database that hub.toml names, which is connected when it is first used.

    Raises StoreError as `SqliteDatabase.open`, SiteError where there is no hub.
    """
    return _database(folder, folder.settings())


def _database(folder: HubFolder, settings: Settings) -> Database:
    if not settings.database:
        return SqliteDatabase.open(folder.database, SCHEMA)
    return _postgres(folder, settings, NAMESPACE, SCHEMA)


def _postgres(folder: HubFolder, settings: Settings, namespace: str, schema: Schema) -> Database:
    from lamppost_hub.postgres import PostgresDatabase  # late: most hubs do without

    return PostgresDatabase(
        settings.database, namespace, schema, password_file=folder.password_file
    )


def shared_memory(folder: HubFolder) -> Callable[[str, Schema], Database] | None:
    """How a sink gets tables of its own (namespace, schema) beside the ledger; None where that is a file."""
    settings = folder.settings()
    return functools.partial(_postgres, folder, settings) if settings.database else None


def found(
    folder: HubFolder, settings: Settings, clock: Clock, *, offline: Path | None = None
) -> None:
    """Make a hub: authorities, certificates, keys, database; hub.toml is written last and makes it one.

    The keys of the device root and the server CA go to `offline` (DIR/offline unless named): they are needed again
    only by `renew_authorities`, and belong on a stick in a safe.
    """
    folder.create(settings)
    utc, keys = clock.utc(), private_folder(offline or folder.offline)
    Authority.create(folder.ca, DEVICE_ROOT, utc, keys=keys, below=1)
    Authority.create(folder.ca, SERVER_CA, utc, keys=keys)
    _certify(folder, settings, keys, utc)
    if not folder.signing_keys():  # keys of an init that was cut short are as good as any
        create_signing_key(folder.keys / "signing-1.pem")
    if not folder.encryption_keys():
        create_encryption_key(folder.keys / "encryption-1.pem")
    database = _database(folder, settings)
    with database.transaction():  # the tables are made, or the database refuses now and not later
        pass
    database.close()
    folder.write_settings(settings)


def renew_authorities(folder: HubFolder, clock: Clock, *, offline: Path | None = None) -> None:
    """With the offline keys: another issuing CA, broker's certificate and first receiver's certificate.

    What the old ones signed stays valid to its end. Raises TrustError `ca.unreadable` without the offline keys.
    """
    _certify(folder, folder.settings(), offline or folder.offline, clock.utc())


def _certify(folder: HubFolder, settings: Settings, offline: Path, utc: int) -> None:
    servers = Authority.load(folder.ca, SERVER_CA, keys=offline)
    root = Authority.load(folder.ca, DEVICE_ROOT, keys=offline)
    servers.issue_server(folder.tls, [settings.host], utc)
    root.issue_authority(folder.ca, DEVICE_CA, utc).issue_receiver(folder.tls, 1, utc)


def receiver_certificate(folder: HubFolder, number: int, clock: Clock) -> Issued:
    """Make (or renew) the client certificate of the n-th receiver."""
    return Authority.load(folder.ca, DEVICE_CA).issue_receiver(folder.tls, number, clock.utc())


def load_keys(folder: HubFolder) -> HubKeys:
    """The newest signing key, and every decryption key: a retired one is opened until its file is taken away."""
    opening = [DecryptionKey.load(path) for path in folder.encryption_keys()]
    signer = FileSigner.load(folder.signing_keys()[-1])
    return HubKeys(folder.settings().id, signer, {key.kid: key for key in opening})


def open_checkpoints(folder: HubFolder, database: Database) -> Checkpoints:
    """The hub's checkpoints, signed with its newest key. Raises TrustError `trust.key-…`."""
    signers = [FileSigner.load(path) for path in folder.signing_keys()]
    known = [signer.public for signer in signers]
    return Checkpoints(database, folder.checkpoints, folder.settings().id, signers[-1], known)


def approve(
    folder: HubFolder, database: Database, request: EnrolmentRequest, clock: Clock, *, replace: bool
) -> tuple[Issued, bytes]:
    """Enrol the gateway of a verified request; returns its certificate and the bundle to bring to it.

    Raises as `Authority.issue_gateway` and `Registry.enrol`.
    """
    utc = clock.utc()
    devices = Authority.load(folder.ca, DEVICE_CA)
    issued = devices.issue_gateway(request.gateway, request.csr_pem.encode(), utc)
    registry = Registry(database)
    with database.transaction():
        registry.enrol(
            request.gateway, request.envelope_key, issued, utc, board=request.board, replace=replace
        )
        registry.seals_for(request.gateway, DecryptionKey.load(folder.encryption_keys()[-1]).kid)
    return issued, _bundle(folder, request.gateway, issued)


def _bundle(folder: HubFolder, gateway: str, issued: Issued) -> bytes:
    signing = [FileSigner.load(path).public.pem() for path in reversed(folder.signing_keys())]
    opening = [DecryptionKey.load(path).public.pem() for path in reversed(folder.encryption_keys())]
    bundle: dict[str, str | list[str]] = {
        "schema": BUNDLE_SCHEMA,
        "gateway": gateway,
        "hub": folder.settings().id,
        "certificate": issued.pem.decode("ascii")
        + (folder.ca / f"{DEVICE_CA}.pem").read_text("ascii"),
        "server_ca": (folder.ca / f"{SERVER_CA}.pem").read_text("ascii"),
        "hub_signing": signing,
        "hub_encryption": opening,  # the newest first: the gateway seals for that one
    }
    if (root := newest_root(folder.publish)) is not None:
        bundle["tuf_root"] = root.decode()
    return (json.dumps(bundle, indent=1) + "\n").encode()


def approve_epoch(
    folder: HubFolder, database: Database, gateway: str, epoch: str, clock: Clock
) -> None:
    """Open a pending epoch with a signed reset record that names the head of every stream of its kind before it.

    Raises TrustError `ledger.no-such-epoch`.
    """
    ledger = Ledger(database)
    with database.transaction():
        Registry(database).hold([gateway])
        before = [
            {"epoch": stream.epoch, "size": stream.size, "head": stream.head}
            for stream in ledger.streams(gateway)
            if stream.state != "epoch-pending" and is_alert(stream.epoch) == is_alert(epoch)
        ]
        header = {sign1.CONTENT_TYPE: RESET_TYPE, sign1.CWT_CLAIMS: {sign1.SUB: gateway}}
        content = {"epoch": epoch, "before": before, "approved": clock.utc() // 1_000_000_000}
        signer = FileSigner.load(folder.signing_keys()[-1])
        ledger.approve_epoch(gateway, epoch, sign1.sign1(signer, header, codec.encode(content)))


def read_request_file(path: Path) -> bytes:
    """The bytes of an enrolment request, at most a little more than the largest valid one."""
    with path.open("rb") as file:
        return file.read(1 << 15)
