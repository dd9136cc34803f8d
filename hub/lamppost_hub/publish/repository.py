"""The TUF repository of a hub: what is released, what waits for signatures, and how one becomes the other.

    publish/repository/metadata/   N.root.json, N.targets.json, N.GROUP.json, N.snapshot.json, timestamp.json
    publish/repository/targets/    GROUP/GATEWAY/SHA256.site.toml
    publish/pending/ROLE/          role.json and, of a group, now/GATEWAY.toml and before/GATEWAY.toml

A release writes contents first and timestamp.json last: whoever fetches meanwhile sees the old state or the new one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from lamppost.envelope.keys import FileSigner
from lamppost.envelope.public import PublicKey
from lamppost_hub.files import durable_write, private_folder
from lamppost_hub.publish import roles
from lamppost_hub.publish.refusal import PublishError, PublishRefused
from lamppost_hub.publish.schedule import Steps, too_late

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SITE = "site.toml"
KEPT_HALTED = 100


@dataclass(frozen=True, slots=True)
class Terms:
    """What is signed beside the sites of one roll-out. Within `soak` seconds of the last step a halt undoes it."""

    steps: Steps
    soak: int = 86400
    urgent: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """One gateway's configuration as released. Times in `steps` and `until` are UTC seconds."""

    group: str
    gateway: str
    serial: int
    rollout: str
    steps: Steps
    until: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A role that waits for signatures: how many more, and whose would count."""

    role: str
    version: int
    missing: int
    signed: tuple[str, ...]
    may_sign: tuple[str, ...]


class Repository:
    """Everything below DIR/publish. Not for two processes at once; `lock` in the CLI sees to it."""

    def __init__(self, folder: Path, online: Sequence[Path]) -> None:
        self.folder = folder
        self._online = tuple(online)
        self.released = folder / "repository"
        self.pending = folder / "pending"
        self._metadata = self.released / "metadata"

    # -- making it ---------------------------------------------------------------------------------

    def create(self, keys: Mapping[str, PublicKey], online: PublicKey, utc: int) -> None:
        """Root and targets, version 1, waiting for two of the root keys.

        Raises PublishError `publish.exists`, `publish.too-few-keys`.
        """
        if self._versions("root"):
            raise PublishError("publish.exists", f"{self.folder} holds a repository")
        root = roles.new_root(_three(keys), roles.public(online, "hub"), utc)
        targets = roles.empty("targets")
        roles.renew(targets, "targets", utc)
        self._propose("root", root)
        self._propose("targets", targets)

    def new_root(
        self, keys: Mapping[str, PublicKey] | None, online: PublicKey | None, utc: int
    ) -> None:
        """The next root: later end and, where given, other keys. Two of the old and two of the new keys must sign."""
        root = self._root()
        if keys is not None or online is not None:
            now = [_ours(root.keys[k]) for k in root.roles["root"].keyids]
            signs = _ours(root.keys[root.roles["timestamp"].keyids[0]])
            chosen = _three(keys) if keys is not None else now
            roles.appoint(root, chosen, roles.public(online, "hub") if online else signs)
        root.version += 1
        roles.renew(root, "root", utc)
        self._propose("root", root)

    def group(self, group: str, approvers: Mapping[str, PublicKey], utc: int) -> None:
        """Give a group its approvers, or others; targets then waits for two of the root keys."""
        _checked_name(group)
        if len(approvers) < roles.THRESHOLD:
            raise PublishError("publish.too-few-keys", "a group needs two approvers or more")
        targets = self._next_targets()
        keys = [roles.public(key, name) for name, key in approvers.items()]
        roles.delegate(targets, group, keys)
        roles.renew(targets, "targets", utc)
        self._propose("targets", targets)

    def renew(self, role: str, utc: int) -> None:
        """The same content with a later end: targets, or a group."""
        if role == "targets":
            signed: Targets = self._next_targets()
        else:
            self._approvers(role)
            signed = self._next_group(role)
        roles.renew(signed, role, utc)
        self._propose(role, signed)

    # -- configurations ----------------------------------------------------------------------------

    def stage(self, group: str, sites: Mapping[str, bytes], terms: Terms, utc: int) -> list[str]:
        """Sites by gateway, to be signed by two approvers of the group; returns the gateways that change.

        Raises PublishError `publish.no-group`, `publish.name`, `publish.nothing-new`.
        """
        self._approvers(group)
        signed = self._next_group(group)
        serial = max((p.serial for p in self.published()), default=0) + 1
        custom: dict[str, Any] = {
            "serial": serial,
            "rollout": f"{group}-{serial}",
            "steps": terms.steps,
            "until": terms.steps[-1][1] + terms.soak,
        }
        custom |= {"urgent": True} if terms.urgent else {}
        custom |= {"again": True} if terms.again else {}
        changed: dict[str, tuple[bytes, bytes]] = {}
        for gateway, content in sorted(sites.items()):
            _checked_name(gateway)
            path = f"{group}/{gateway}/{SITE}"
            known = signed.targets.get(path)
            target = TargetFile.from_data(path, content, ["sha256"])
            if known is not None and known.hashes == target.hashes and not terms.again:
                continue
            before = self._content(known) if known is not None else b""
            target.unrecognized_fields["custom"] = custom
            signed.targets[path] = target
            changed[gateway] = content, before
        if not changed:
            raise PublishError("publish.nothing-new", f"no site of {group} has changed")
        roles.renew(signed, group, utc)
        self._propose(group, signed, changed)
        return list(changed)

    def published(self) -> list[Published]:
        """What is released, by group and gateway."""
        found = []
        for group in self.groups():
            if self._versions(group):
                targets: Targets = self._latest(group).signed
                found += [_published(group, target) for target in targets.targets.values()]
        return sorted(found, key=lambda p: (p.group, p.gateway))

    def groups(self) -> list[str]:
        """All groups, also those without a configuration."""
        targets: Targets = self._latest("targets").signed
        assert targets.delegations is not None
        return sorted(targets.delegations.roles or {})

    def halted(self) -> list[str]:
        """Roll-outs that were halted, oldest first."""
        if not self._timestamp_file.exists():
            return []
        stamp = roles.read(self._timestamp_file.read_bytes()).signed
        return list(stamp.unrecognized_fields.get(roles.HALTED, []))

    # -- signatures and release --------------------------------------------------------------------

    def waiting(self) -> list[Waiting]:
        """What waits for signatures, root first."""
        names = sorted(f.name for f in self.pending.glob("*") if (f / "role.json").exists())
        order = {"root": 0, "targets": 1}
        return [self._waiting(name) for name in sorted(names, key=lambda n: (order.get(n, 2), n))]

    def release(self, utc: int) -> list[str]:
        """Bring everything that has its signatures into force; returns the roles.

        Raises PublishError `publish.no-pending`, `publish.late`, PublishRefused `publish.unsigned`, `publish.altered`.
        """
        waiting = self.waiting()
        if not waiting:
            raise PublishError("publish.no-pending", "nothing waits")
        unsigned = [w for w in waiting if w.missing]
        ready = [w.role for w in waiting if not w.missing]
        if not ready:
            first = unsigned[0]
            raise PublishRefused(
                "publish.unsigned",
                f"{first.role} needs {first.missing} more of: {', '.join(first.may_sign)}",
            )
        for role in ready:
            self._check_before_release(role, utc)
        for role in ready:
            self._bring_into_force(role)
        self.refresh(utc)
        for role in ready:
            shutil.rmtree(self.pending / role)
        return ready

    def halt(self, rollout: str, utc: int) -> None:
        """Stop a roll-out: nobody else takes it, and who took it goes back while its time lasts.

        Raises PublishError `publish.unknown-rollout`.
        """
        if rollout not in {p.rollout for p in self.published()}:
            raise PublishError("publish.unknown-rollout", f"no gateway is offered {rollout!r}")
        halted = self.halted()
        if rollout not in halted:
            self.refresh(utc, halted=[*halted, rollout][-KEPT_HALTED:])

    def refresh(self, utc: int, *, halted: Sequence[str] | None = None) -> None:
        """Sign snapshot and timestamp anew, with the online key. Raises PublishError `publish.not-initialised`."""
        if not (self._versions("root") and self._versions("targets")):
            raise PublishRefused("publish.unsigned", "root and targets are not signed yet")
        signer = self._online_signer()
        stopped = list(self.halted() if halted is None else halted)
        snapshot, stamp = roles.empty("snapshot"), roles.empty("timestamp")
        assert isinstance(snapshot, Snapshot)
        assert isinstance(stamp, Timestamp)
        for role in ("targets", *self.groups()):
            if versions := self._versions(role):
                snapshot.meta[f"{role}.json"] = MetaFile(versions[-1])
        if self._timestamp_file.exists():
            stamp = roles.read(self._timestamp_file.read_bytes()).signed
            stamp.version += 1
        snapshot.version = max([0, *self._versions("snapshot"), stamp.snapshot_meta.version]) + 1
        roles.renew(snapshot, "snapshot", utc)
        self._write(f"{snapshot.version}.snapshot.json", roles.signed_with(snapshot, signer))
        stamp.snapshot_meta = MetaFile(snapshot.version)
        stamp.unrecognized_fields[roles.HALTED] = stopped
        roles.renew(stamp, "timestamp", utc)
        self._write("timestamp.json", roles.signed_with(stamp, signer))
        for version in self._versions("snapshot")[:-5]:
            (self._metadata / f"{version}.snapshot.json").unlink()

    def ends(self) -> list[tuple[str, int, int]]:
        """Released roles: name, version, UTC ns of their end; empty before the first release."""
        if not self._timestamp_file.exists():
            return []
        found = [(role, self._latest(role).signed) for role in ("root", "targets")]
        found += [(g, self._latest(g).signed) for g in self.groups() if self._versions(g)]
        found.append(("timestamp", roles.read(self._timestamp_file.read_bytes()).signed))
        return [(n, s.version, int(s.expires.timestamp()) * 10**9) for n, s in found]

    # -- within ------------------------------------------------------------------------------------

    def _online_signer(self) -> FileSigner:
        """The online key that the root names. Raises PublishError `publish.damaged`."""
        keyids = self._root().roles["timestamp"].keyids
        for path in reversed(self._online):
            signer = FileSigner.load(path)
            if roles.FileKey(signer).public_key.keyid in keyids:
                return signer
        raise PublishError("publish.damaged", "no online key of the root is in keys/publish-N.pem")

    @property
    def _timestamp_file(self) -> Path:
        return self._metadata / "timestamp.json"

    def _check_before_release(self, role: str, utc: int) -> None:
        signed = self._read_pending(role).signed
        if role in roles.TOP:
            return
        for target in signed.targets.values():
            published = _published(role, target)
            if too_late(published.steps, utc) and self._is_new(role, target):
                raise PublishError("publish.late", f"roll-out {published.rollout}")
            if self._is_new(role, target):
                content = (self.pending / role / "now" / f"{published.gateway}.toml").read_bytes()
                if hashlib.sha256(content).hexdigest() != published.sha256:
                    raise PublishRefused("publish.altered", f"{role}: {published.gateway}")

    def _is_new(self, group: str, target: TargetFile) -> bool:
        if not self._versions(group):
            return True
        known = self._latest(group).signed.targets.get(target.path)
        return known is None or known.to_dict() != target.to_dict()

    def _bring_into_force(self, role: str) -> None:
        metadata = self._read_pending(role)
        if role not in roles.TOP:
            for target in metadata.signed.targets.values():
                if self._is_new(role, target):
                    gateway = target.path.split("/")[1]
                    content = (self.pending / role / "now" / f"{gateway}.toml").read_bytes()
                    place = self._target_file(target)
                    private_folder(place.parent)
                    durable_write(place, content, 0o600)
        private_folder(self._metadata)
        self._write(f"{metadata.signed.version}.{role}.json", roles.write(metadata))

    def _waiting(self, role: str) -> Waiting:
        metadata = self._read_pending(role)
        judges: list[Root | Targets] = []
        if role == "root":
            judges = [metadata.signed, *([self._root()] if self._versions("root") else [])]
        elif role == "targets":
            judges = [self._trusted("root")]
        else:
            judges = [self._trusted("targets")]
        results = [
            judge.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
            for judge in judges
        ]
        signed = {roles.owner(k) for r in results for k in r.signed.values()}
        others = {roles.owner(k) for r in results for k in r.unsigned.values()}
        missing = max(r.threshold - len(r.signed) for r in results)
        return Waiting(
            role,
            metadata.signed.version,
            max(missing, 0),
            tuple(sorted(signed)),
            tuple(sorted(others - signed)),
        )

    def _trusted(self, role: str) -> Root | Targets:
        """The judge of another role: the one in force or, while the first ceremony lasts, the one that waits."""
        first = not self._versions(role) and (self.pending / role / "role.json").exists()
        found: Root | Targets = (self._read_pending(role) if first else self._latest(role)).signed
        return found

    def _propose(
        self, role: str, signed: Any, changed: Mapping[str, tuple[bytes, bytes]] | None = None
    ) -> None:
        folder = self.pending / role
        if folder.exists():
            shutil.rmtree(folder)
        private_folder(folder)
        for gateway, contents in (changed or {}).items():
            for name, content in zip(("now", "before"), contents, strict=True):
                private_folder(folder / name)
                (folder / name / f"{gateway}.toml").write_bytes(content)
        durable_write(folder / "role.json", roles.unsigned(signed), 0o600)

    def _read_pending(self, role: str) -> Metadata[Any]:
        return roles.read((self.pending / role / "role.json").read_bytes())

    def _root(self) -> Root:
        root: Root = self._latest("root").signed
        return root

    def _next_targets(self) -> Targets:
        """Top-level targets to change: those that wait already, else the released ones one version on."""
        if (self.pending / "targets" / "role.json").exists():
            waits: Targets = self._read_pending("targets").signed
            return waits
        targets: Targets = self._latest("targets").signed
        targets.version += 1
        return targets

    def _next_group(self, group: str) -> Targets:
        if not self._versions(group):
            fresh = roles.empty(group)
            assert isinstance(fresh, Targets)
            return fresh
        signed: Targets = self._latest(group).signed
        signed.version += 1
        return signed

    def _approvers(self, group: str) -> None:
        if group not in self.groups():
            raise PublishError("publish.no-group", f"no group {group!r} is in force")

    def _latest(self, role: str) -> Metadata[Any]:
        versions = self._versions(role)
        if not versions:
            code = "publish.unsigned" if (self.pending / role).exists() else ""
            if code:
                raise PublishRefused(code, f"{role} was never released")
            raise PublishError("publish.not-initialised", f"{self.folder} holds no repository")
        return roles.read((self._metadata / f"{versions[-1]}.{role}.json").read_bytes())

    def _versions(self, role: str) -> list[int]:
        """Released versions of a role, oldest first."""
        names = (
            f.name.removesuffix(f".{role}.json") for f in self._metadata.glob(f"*.{role}.json")
        )
        return sorted(int(name) for name in names if name.isdigit())

    def _write(self, name: str, content: bytes) -> None:
        durable_write(self._metadata / name, content, 0o600)

    def _target_file(self, target: TargetFile) -> Path:
        folder, _, name = target.path.rpartition("/")
        return self.released / "targets" / folder / f"{target.hashes['sha256']}.{name}"

    def _content(self, target: TargetFile) -> bytes:
        try:
            return self._target_file(target).read_bytes()
        except OSError as error:
            raise PublishError("publish.damaged", str(error)) from error


def sign(folder: Path, signer: FileSigner) -> Metadata[Any]:
    """Add a signature to a folder of DIR/publish/pending, or a copy of it on another machine.

    Raises PublishRefused `publish.altered` where a site is not the one that would be signed.
    """
    metadata = roles.read((folder / "role.json").read_bytes())
    if isinstance(metadata.signed, Targets):
        for target in metadata.signed.targets.values():
            site = folder / "now" / f"{target.path.split('/')[1]}.toml"
            if site.exists():
                digest = hashlib.sha256(site.read_bytes()).hexdigest()
                if digest != target.hashes["sha256"]:
                    raise PublishRefused("publish.altered", f"{site} is not what was staged")
    metadata.sign(roles.FileKey(signer), append=True)
    durable_write(folder / "role.json", roles.write(metadata), 0o600)
    return metadata


def _ours(key: Key) -> SSlibKey:
    assert isinstance(key, SSlibKey)
    return key


def _three(keys: Mapping[str, PublicKey]) -> list[SSlibKey]:
    if len({key.kid for key in keys.values()}) < roles.ROOT_KEYS:
        raise PublishError("publish.too-few-keys", f"{roles.ROOT_KEYS} different root keys or more")
    return [roles.public(key, name) for name, key in keys.items()]


def _published(group: str, target: TargetFile) -> Published:
    custom = target.unrecognized_fields["custom"]
    return Published(
        group,
        target.path.split("/")[1],
        custom["serial"],
        custom["rollout"],
        custom["steps"],
        custom["until"],
        target.hashes["sha256"],
    )


def _checked_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in roles.TOP:
        raise PublishError("publish.name", f"{name!r} cannot name a group or gateway")
