"""Secrets that the site file only names: files from systemd's credentials, or from `credentials` in the state folder.

`LoadCredential=NAME:PATH` in the unit (systemd.exec(5)) gives a file that no other process can read; without systemd
the same file stands in `<state>/credentials/NAME`.
"""

from __future__ import annotations

import os
from pathlib import Path

from lamppost.errors import SiteError

FOLDER = "credentials"
MAX_SECRET = 16 * 1024


def find(name: str, state: Path) -> Path:
    """The file of a credential. Raises SiteError `credential.missing`; waiting helps, it may be brought."""
    folders = [state / FOLDER]
    if brought := os.environ.get("CREDENTIALS_DIRECTORY"):
        folders.insert(0, Path(brought))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise SiteError(
        f"no credential named {name}",
        code="credential.missing",
        hint=f"put the file at {state / FOLDER / name}, or LoadCredential={name}:PATH into the unit",
        retry=True,
    )


def secret(name: str, state: Path) -> str:
    """The text of a credential, without white space around it.

    Raises SiteError `credential.missing`, `credential.unreadable`, `credential.exposed`.
    """
    path = find(name, state)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(MAX_SECRET + 1)[:MAX_SECRET].decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, type(error).__name__) from None
    if mode & 0o007:
        raise SiteError(
            f"the credential {path} is open to other users (mode {mode & 0o777:o})",
            code="credential.exposed",
            hint=f"chmod 600 {path}; if others had access, have a new one made",
            retry=True,
        )
    if not text:
        raise _unreadable(path, "it is empty")
    return text


def _unreadable(path: Path, why: str) -> SiteError:
    return SiteError(
        f"the credential {path} cannot be used: {why}",
        code="credential.unreadable",
        hint=f"check that this user may read {path} and that it holds one line of text",
        retry=True,
    )
