"""TUF's roles as this hub makes them: keys, lifetimes, empty metadata, signatures. Pure but for key files."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from securesystemslib.signer import Key, Signature, Signer, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    Root,
    Signed,
    Snapshot,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from lamppost.envelope.keys import FileSigner
from lamppost.envelope.public import PublicKey
from lamppost_hub.publish.refusal import PublishError

THRESHOLD = 2
ROOT_KEYS = 3
TOP = ("root", "targets", "snapshot", "timestamp")
ONLINE = ("snapshot", "timestamp")
DAYS: Mapping[str, int] = MappingProxyType(
    {"root": 730, "targets": 180, "snapshot": 30, "timestamp": 7}
)
ISSUED, HALTED, OWNER = "x-lamppost-issued", "x-lamppost-halted", "x-lamppost-owner"


class FileKey(Signer):
    """TUF's view of one of our key files (Ed25519, PKCS#8)."""

    def __init__(self, signer: FileSigner) -> None:
        self._signer = signer
        self._key = public(signer.public)

    @property
    def public_key(self) -> Key:
        """As it stands in metadata."""
        return self._key

    @classmethod
    def from_priv_key_uri(cls, *_: Any, **__: Any) -> FileKey:
        """Not by URI: keys are named by their files."""
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        """Over canonical JSON."""
        return Signature(self._key.keyid, self._signer.sign(payload).hex())


def public(key: PublicKey, owner: str = "") -> SSlibKey:
    """A verify key for metadata. Raises PublishError `publish.too-few-keys` for one that is not Ed25519."""
    if key.kind != "ed25519":
        raise PublishError("publish.too-few-keys", f"{owner or 'a key'} is not Ed25519")
    lines = [line for line in key.pem().splitlines() if not line.startswith("-")]
    raw = base64.b64decode("".join(lines))[-32:]
    named = {OWNER: owner} if owner else {}
    keyid = hashlib.sha256(raw).hexdigest()
    return SSlibKey(keyid, "ed25519", "ed25519", {"public": raw.hex()}, named)


def owner(key: Key) -> str:
    """Whose key it is, as its file was named, and the beginning of its id."""
    name = key.unrecognized_fields.get(OWNER, "")
    return f"{name} ({key.keyid[:8]})" if name else key.keyid[:8]


def new_root(keys: Sequence[SSlibKey], online: SSlibKey, utc: int) -> Root:
    """Version 1: root and targets by two of `keys`, snapshot and timestamp by the online key."""
    root = Root(version=1, consistent_snapshot=True)
    appoint(root, keys, online)
    renew(root, "root", utc)
    return root


def appoint(root: Root, keys: Sequence[SSlibKey], online: SSlibKey) -> None:
    """These keys, and no others, from now on."""
    for role in TOP:
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
    for role in ("root", "targets"):
        for key in keys:
            root.add_key(key, role)
        root.roles[role].threshold = THRESHOLD
    for role in ONLINE:
        root.add_key(online, role)


def empty(role: str) -> Signed:
    """Metadata of version 0, to be renewed before anybody sees it."""
    if role == "snapshot":
        return Snapshot(version=1, meta={})
    if role == "timestamp":
        return Timestamp(version=1)
    return Targets(version=1, delegations=Delegations({}, {}) if role == "targets" else None)


def delegate(targets: Targets, group: str, approvers: Sequence[SSlibKey]) -> None:
    """Give a group its own terminating role for `<group>/*/*`, signed by two of these approvers."""
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    before = targets.delegations.roles.pop(group, None)
    targets.delegations.roles[group] = DelegatedRole(
        group, [], THRESHOLD, terminating=True, paths=[f"{group}/*/*"]
    )
    for key in approvers:
        targets.add_key(key, group)
    used = {k for role in targets.delegations.roles.values() for k in role.keyids}
    for keyid in before.keyids if before else ():
        if keyid not in used:
            del targets.delegations.keys[keyid]


def summary(signed: Signed) -> list[str]:
    """Who may do what by this root or these targets, for people who sign it."""
    if isinstance(signed, Root):
        judged = [(role, signed.roles[role], signed.keys) for role in TOP]
    else:
        delegated = signed.delegations if isinstance(signed, Targets) else None
        judged = (
            [
                (f"group {name}", role, delegated.keys)
                for name, role in (delegated.roles or {}).items()
            ]
            if delegated
            else []
        )
    return [
        f"  {name}: {role.threshold} of {', '.join(owner(keys[k]) for k in role.keyids)}"
        for name, role, keys in judged
    ]


def renew(signed: Signed, role: str, utc: int) -> None:
    """A fresh date of issue and end, whole seconds."""
    now = dt.datetime.fromtimestamp(utc // 10**9, dt.UTC)
    signed.expires = now + dt.timedelta(days=DAYS.get(role, DAYS["targets"]))
    signed.unrecognized_fields[ISSUED] = utc // 10**9


def unsigned(signed: Signed) -> bytes:
    """Metadata that waits for its signatures."""
    return write(Metadata(signed))


def write(metadata: Metadata[Any]) -> bytes:
    """As it is served."""
    found: bytes = metadata.to_bytes(JSONSerializer(compact=False))
    return found


def signed_with(signed: Signed, signer: FileSigner) -> bytes:
    """Metadata signed by one key, such as the online one."""
    metadata: Metadata[Any] = Metadata(signed)
    metadata.sign(FileKey(signer))
    return write(metadata)


def read(data: bytes) -> Metadata[Any]:
    """Any role's metadata. Raises PublishError `publish.damaged`."""
    from tuf.api.serialization import DeserializationError

    try:
        return Metadata.from_bytes(data)
    except DeserializationError as error:
        raise PublishError("publish.damaged", f"no TUF metadata: {error}") from error
