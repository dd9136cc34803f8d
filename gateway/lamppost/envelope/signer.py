"""Who signs for this gateway: a key file, a systemd credential, or a token. `signer.json` in the identity says which.

    {"schema": "lamppost.signer/1", "kind": "credential", "name": "envelope-key"}
    {"schema": "lamppost.signer/1", "kind": "pkcs11", "module": "/usr/lib/….so", "token": "…", "key": "…", "pin": "…"}

Without it the key is `envelope.key` beside it, or the credential of that name. `pin` is the name of a credential. This
is no part of the site file: a configuration that comes over the air must not choose who the gateway is.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from lamppost import credentials
from lamppost.envelope.keys import FileSigner, PublicKey, Signer
from lamppost.envelope.token import TokenKey, TokenSigner
from lamppost.errors import SiteError, TrustError
from lamppost.files import durable_write

SCHEMA = "lamppost.signer/1"
FILE = "signer.json"
KEY = "envelope.key"

# A token knows one login a process: whoever loads the identity again gets the same signer.
_in_tokens: dict[TokenKey, TokenSigner] = {}


def load(folder: Path) -> Signer:
    """The gateway's signer. Raises TrustError `trust.token`, `trust.signer-damaged`, or as FileSigner.load."""
    said = choice(folder)
    if said is None:
        return FileSigner.load(_plain(folder))
    if said["kind"] == "credential":
        return FileSigner.load(_credential(said["name"], folder))
    place = TokenKey(said["module"], said["token"], said["key"])
    if place not in _in_tokens:
        _in_tokens[place] = TokenSigner(place, lambda: _pin(said["pin"], folder))
    return _in_tokens[place]


def choice(folder: Path) -> dict[str, str] | None:
    """What `signer.json` says, None without it. Raises TrustError `trust.signer-damaged`."""
    path = folder / FILE
    try:
        found: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    wanted = {"credential": {"name"}, "pkcs11": {"module", "token", "key", "pin"}}
    kind = found.get("kind") if isinstance(found, dict) else None
    names = wanted.get(kind) if isinstance(kind, str) else None
    if names is None or found.get("schema") != SCHEMA or found.keys() != {"schema", "kind", *names}:
        raise _damaged(path, "not of this version")
    if not all(isinstance(value, str) and value for value in found.values()):
        raise _damaged(path, "an empty member")
    return dict(found)


def is_there(folder: Path) -> bool:
    """Whether this identity has a key, wherever it is; a token is not asked."""
    return choice(folder) is not None or _plain(folder).exists()


def _plain(folder: Path) -> Path:
    """The key file, or without it the credential of the same name, which the unit asks systemd for."""
    if not (folder / KEY).exists():
        with contextlib.suppress(SiteError):
            return credentials.find(KEY, folder.parent)
    return folder / KEY


def choose(folder: Path, **members: str) -> None:
    """Write `signer.json`; whoever calls has seen that the key is there."""
    content = {"schema": SCHEMA, **members}
    durable_write(folder / FILE, (json.dumps(content, indent=1) + "\n").encode(), 0o640)


def move_to_credential(folder: Path, name: str) -> PublicKey:
    """Let a credential take the place of the key file, if both hold the same key.

    Raises TrustError `trust.key-missing`, `trust.identity-exists` where they differ, or as FileSigner.load.
    """
    brought = FileSigner.load(_credential(name, folder)).public
    if load(folder).public != brought:
        raise TrustError(
            f"the credential {name} is another key than this gateway's",
            code="trust.identity-exists",
            hint=f"make the credential from {folder / KEY}",
        )
    choose(folder, kind="credential", name=name)
    return brought


def pin_of(name: str, folder: Path) -> str:
    """The PIN that a credential holds. Raises TrustError `trust.token`."""
    return _pin(name, folder)


def _pin(name: str, folder: Path) -> str:
    try:
        return credentials.secret(name, folder.parent)
    except SiteError as missing:
        raise _token(missing) from missing


def _credential(name: str, folder: Path) -> Path:
    try:
        return credentials.find(name, folder.parent)
    except SiteError as missing:
        raise TrustError(
            str(missing), code="trust.key-missing", hint=missing.hint, retry=True
        ) from missing


def _token(missing: SiteError) -> TrustError:
    return TrustError(
        f"the PIN of the token: {missing}", code="trust.token", hint=missing.hint, retry=True
    )


def _damaged(path: Path, why: str) -> TrustError:
    return TrustError(
        f"{path}: {why}",
        code="trust.signer-damaged",
        hint="restore the file, or remove it where the key is a file beside it",
    )
