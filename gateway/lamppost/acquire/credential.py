"""Keys of devices, by name: from systemd's credentials, or from the folder `credentials` of the gateway's state."""

from __future__ import annotations

import os
from pathlib import Path

from lamppost.links.faults import no_key


class Credential:
    """A key that the site file names. It is read when it is first asked for, and again until it is there."""

    def __init__(self, name: str, state: Path) -> None:
        self._name = name
        self._folders = [state / "credentials"]
        if brought := os.environ.get("CREDENTIALS_DIRECTORY"):  # systemd.exec(5), LoadCredential=
            self._folders.insert(0, Path(brought))
        self._key = b""

    def read(self) -> bytes:
        """The key: hexadecimal digits in the file, as makers print them. Raises LinkError `link.no-key`."""
        if not self._key:
            self._key = self._load()
        return self._key

    def _load(self) -> bytes:
        for folder in self._folders:
            try:
                text = (folder / self._name).read_text(encoding="ascii")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as why:
                raise no_key(self._name, f"cannot be read ({type(why).__name__})") from None
            try:
                key = bytes.fromhex(text.strip())
            except ValueError:
                raise no_key(self._name, "not hexadecimal digits") from None
            if key:
                return key
        raise no_key(self._name, "not there")
