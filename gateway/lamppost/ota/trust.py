"""What is genuine: The Update Framework, by python-tuf. The only file that imports it, and blocking: for a thread.

Roles: root (2 of 3, offline) names everybody; targets (2, offline) gives each group of gateways a terminating role of
its own, `<group>/*`, which two approvers sign; snapshot and timestamp are signed by the hub's online key.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Signed, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from lamppost.errors import LamppostError
from lamppost.ota.refusal import ConfigRefused, not_stored, unreachable
from lamppost.ota.rollout import Terms, read_terms
from lamppost.ota.sources import Absent, Source

logging.getLogger("tuf").setLevel(logging.CRITICAL)  # whatever it says leaves here as an error

MAX_CONFIGURATION = 1024 * 1024
ISSUED, HALTED = "x-lamppost-issued", "x-lamppost-halted"
LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=4,
    root_max_length=64 * 1024,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=128 * 1024,
    targets_max_length=1024 * 1024,
)
_TOP = ("root", "timestamp", "snapshot", "targets")


@dataclass(frozen=True, slots=True)
class Offer:
    """What the hub has for this gateway, verified but for its bytes."""

    terms: Terms
    sha256: str
    length: int
    halted: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """A verified look at the repository. `floor`: UTC ns that have passed for certain; `expires`: UTC ns of the role
    that ends first; `halted`: roll-outs that the hub has stopped.
    """

    offer: Offer | None
    floor: int
    expires: int
    halted: frozenset[str]


class Fetcher(FetcherInterface):
    """python-tuf's way to a Source; it remembers the newest file of each role, to say who signed it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.fault: LamppostError | None = None
        self.newest: tuple[str, bytes] = ("", b"")

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._pieces(url)

    def _pieces(self, path: str) -> Iterator[bytes]:
        got = bytearray()
        try:
            for piece in self._source.read(path):
                if len(got) <= LIMITS.targets_max_length:
                    got += piece
                    self.newest = (path, bytes(got)) if path.startswith("metadata/") else ("", b"")
                yield piece
        except Absent as absent:
            raise DownloadHTTPError(f"{path}: {absent}", absent.status) from None
        except LamppostError as fault:
            self.fault = fault
            raise DownloadError(str(fault)) from fault
        except OSError as error:
            raise DownloadError(str(error)) from error


class Repository:
    """One look at a repository. `now` (UTC ns) is what expiry is judged by: the clock, or the time floor above it."""

    def __init__(self, folder: Path, root: bytes, source: Source, now: int) -> None:
        self._fetcher = Fetcher(source)
        self._where = source.where
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._said("root"):
            self._updater = Updater(
                str(folder), "metadata/", None, "targets/", self._fetcher, LIMITS, bootstrap=root
            )
        self._set = self._updater._trusted_set
        self._set.reference_time = dt.datetime.fromtimestamp(now // 10**9, dt.UTC)
        self._info: TargetFile | None = None

    def look(self, target: str) -> Findings:
        """Refresh, and what there is for `target`. Raises ConfigRefused, HubError, StoreError `ota.not-stored`."""
        with self._said(""):
            self._updater.refresh()
            if self._has(target.partition("/")[0]):
                self._info = self._updater.get_targetinfo(target)
        roles: list[Signed] = list(self._set)  # this mapping iterates over its values
        halted = frozenset(_names(self._set.timestamp.unrecognized_fields.get(HALTED)))
        return Findings(
            offer=self._offer(halted) if self._info else None,
            floor=self._passed(roles),
            expires=min(_ns(signed.expires) for signed in roles),
            halted=halted,
        )

    def _has(self, group: str) -> bool:
        """Whether the group has ever published; before that its role is delegated, and nothing else."""
        targets = self._set.targets
        known = targets.delegations.roles if targets.delegations else None
        delegated = known is not None and group in known
        return not delegated or f"{group}.json" in self._set.snapshot.meta

    def fetch(self, offer: Offer) -> bytes:
        """The offered bytes, verified. Raises as `look`."""
        assert self._info is not None
        content = b""
        with self._said(""):
            content = self._fetcher.download_bytes(self._url(), offer.length)
            self._info.verify_length_and_hashes(content)
        return content

    def _url(self) -> str:
        assert self._info is not None
        folder, _, name = self._info.path.rpartition("/")
        return f"targets/{folder}/{self._info.hashes['sha256']}.{name}"

    def _offer(self, halted: frozenset[str]) -> Offer:
        assert self._info is not None
        terms = read_terms(self._info.unrecognized_fields.get("custom"))
        digest = self._info.hashes.get("sha256")
        if digest is None:
            raise ConfigRefused("ota.malformed", "a target without SHA-256")
        if self._info.length > MAX_CONFIGURATION:
            raise ConfigRefused("ota.too-big", f"a configuration of {self._info.length} bytes")
        return Offer(terms, digest, self._info.length, terms.rollout in halted)

    def _passed(self, roles: list[Signed]) -> int:
        """When the newest role was signed. The online key may not lead the floor beyond what approvers have bounded."""
        offline = [s for s in roles if isinstance(s, (Root, Targets))]
        signed = max((_issued(s) for s in offline), default=0)
        bound = min(_ns(s.expires) for s in offline)
        return max(signed, min(_issued(self._set.timestamp), bound))

    def _said(self, role: str) -> _Said:
        return _Said(self, role)

    def refusal(self, error: Exception, role: str) -> LamppostError:
        """What an exception of python-tuf means here."""
        role = role or self._role()
        if isinstance(error, ExpiredMetadataError):
            return ConfigRefused("ota.expired", f"{self._where}: {error}")
        if isinstance(error, UnsignedMetadataError):
            return self._unsigned(role, str(error))
        if isinstance(error, LengthOrHashMismatchError):
            return ConfigRefused("ota.altered", f"{self._where}: {error}")
        if isinstance(error, DownloadLengthMismatchError):
            return ConfigRefused("ota.too-big", f"{self._where}: {error}")
        if isinstance(error, BadVersionNumberError):
            code = "ota.root" if role == "root" else "ota.rollback"
            return ConfigRefused(code, f"{self._where}: {error}")
        if isinstance(error, DownloadError):
            if self._fetcher.fault is not None:
                return self._fetcher.fault
            return unreachable(self._where, error)
        return ConfigRefused("ota.malformed", f"{self._where}: {role or 'metadata'}: {error}")

    def _role(self) -> str:
        """The role of the file that came last: `3.harbour.json` → harbour."""
        name = self._fetcher.newest[0].rpartition("/")[2].removesuffix(".json")
        version, _, role = name.partition(".")
        return role if version.isdigit() else name

    def _unsigned(self, role: str, why: str) -> ConfigRefused:
        """Too few signatures: who did sign?"""
        message = f"{self._where}: {role}: {why}"
        if role == "root":
            return ConfigRefused("ota.root", message)
        delegator: Any = self._set.root if role in _TOP else self._set.get("targets")
        try:
            found: Metadata[Any] = Metadata.from_bytes(self._fetcher.newest[1])
            verified = delegator.get_verification_result(role, found.signed_bytes, found.signatures)
        except (RepositoryError, ValueError, AttributeError):
            return ConfigRefused("ota.unknown-signer", message)
        if verified.signed:
            return ConfigRefused("ota.one-approver", message)
        signers = set(found.signatures)
        if signers & set(verified.unsigned):
            return ConfigRefused("ota.altered", message)
        if signers & set(self._set.root.roles["timestamp"].keyids):
            return ConfigRefused("ota.online-key", message)
        targets = self._set.get("targets")
        known = set(targets.delegations.keys) if targets and targets.delegations else set()
        if signers & known:
            return ConfigRefused("ota.wrong-group", message)
        return ConfigRefused("ota.unknown-signer", message)


class _Said:
    """Converts everything that python-tuf raises; `with` so that the call itself stays readable."""

    def __init__(self, repository: Repository, role: str) -> None:
        self._repository, self._role = repository, role

    def __enter__(self) -> None:
        self._repository._fetcher.fault = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (RepositoryError, DownloadError)):
            raise self._repository.refusal(error, self._role) from error
        if isinstance(error, OSError):
            raise not_stored(error) from error
        if isinstance(error, (ValueError, TypeError, KeyError, AttributeError, RecursionError)):
            # Metadata that its reader does not see through is no metadata.
            raise ConfigRefused("ota.malformed", f"{type(error).__name__}: {error}") from error


def _names(value: object) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _issued(signed: Signed) -> int:
    """UTC ns at which a role says it was signed; 0 where it does not."""
    found = signed.unrecognized_fields.get(ISSUED)
    return found * 10**9 if type(found) is int and 0 < found < 2**33 else 0


def _ns(moment: dt.datetime) -> int:
    return int(moment.timestamp()) * 10**9
