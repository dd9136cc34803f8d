"""The hub's state folder: where what stands, and the few settings in hub.toml. No cryptography, no database."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lamppost.errors import SiteError
from lamppost_hub.files import durable_write, private_folder

_ID = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
_ADDRESS = re.compile(r"[!#-&(-\[\]-~]{1,1000}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Settings:
    """hub.toml: the hub's id (the `aud` of every batch), and where its broker listens for gateways.

    `database` is the address of a PostgreSQL database without its password, "" for SQLite in the folder.
    """

    id: str
    host: str
    port: int
    database: str = ""


@dataclass(frozen=True, slots=True)
class HubFolder:
    """Paths below one folder. `docs/reference/hub-cli.md` shows them as a tree."""

    root: Path

    @property
    def settings_file(self) -> Path:
        """hub.toml."""
        return self.root / "hub.toml"

    @property
    def ca(self) -> Path:
        """Certificates of the authorities, and the issuing CA's key."""
        return self.root / "ca"

    @property
    def offline(self) -> Path:
        """Keys that a hub in service does not need: where `init` puts them unless told otherwise."""
        return self.root / "offline"

    @property
    def keys(self) -> Path:
        """signing-N.pem and encryption-N.pem; the greatest N is used, all others are still accepted."""
        return self.root / "keys"

    @property
    def tls(self) -> Path:
        """server.pem, server.key; hub.pem, hub.key and those of further receivers."""
        return self.root / "tls"

    @property
    def broker(self) -> Path:
        """mosquitto.conf, acl and the broker's persistence."""
        return self.root / "broker"

    @property
    def database(self) -> Path:
        """Registry and ledger, unless hub.toml names another database."""
        return self.root / "hub.sqlite"

    @property
    def password_file(self) -> Path:
        """Passwords for PostgreSQL in the form of libpq's .pgpass, where there are any."""
        return self.keys / "pgpass"

    @property
    def embedded_sink(self) -> Path:
        """The default sink's database."""
        return self.root / "sink.sqlite"

    @property
    def checkpoints(self) -> Path:
        """Signed notes, one file each: GATEWAY/EPOCH-SIZE.note."""
        return self.root / "checkpoints"

    @property
    def publish(self) -> Path:
        """Signed configuration: what is served, and what waits for signatures."""
        return self.root / "publish"

    def online_keys(self) -> list[Path]:
        """Keys that sign what is current and what is halted, oldest first; the root names the one that counts."""
        return self._numbered("publish")

    @property
    def delivery_lock(self) -> Path:
        """Held by the one receiver process that drains the queue to the sinks."""
        return self.root / "delivery.lock"

    def signing_keys(self) -> list[Path]:
        """Private signing keys, oldest first."""
        return self._numbered("signing")

    def encryption_keys(self) -> list[Path]:
        """Private encryption keys, oldest first."""
        return self._numbered("encryption")

    def retired_keys(self) -> list[Path]:
        """Private encryption keys that are kept, but read nothing any more."""
        return self._numbered("encryption", "retired/")

    def _numbered(self, kind: str, below: str = "") -> list[Path]:
        found = [
            path
            for path in self.keys.glob(f"{below}{kind}-*.pem")
            if path.stem.rpartition("-")[2].isdigit()
        ]
        return sorted(found, key=lambda path: int(path.stem.rpartition("-")[2]))

    def create(self, settings: Settings) -> None:
        """Make the folders and write hub.toml; refuses (`hub.exists`) to touch a hub that is there."""
        _check(settings)
        if self.settings_file.exists():
            raise SiteError(
                f"{self.root} holds a hub already",
                code="hub.exists",
                hint="give another folder; a hub's keys cannot be made twice",
            )
        for folder in (self.root, self.ca, self.keys, self.tls, self.broker):
            private_folder(folder)

    def write_settings(self, settings: Settings) -> None:
        """Write hub.toml. It is the last file of `init`: where it stands, the hub is whole."""
        _check(settings)
        text = f'id = "{settings.id}"\nhost = "{settings.host}"\nport = {settings.port}\n'
        if settings.database:
            text += f"database = '{settings.database}'\n"
        durable_write(self.settings_file, text.encode(), mode=0o644)

    def settings(self) -> Settings:
        """Read hub.toml. Raises SiteError `hub.not-initialised` or `hub.settings`."""
        try:
            values = tomllib.loads(self.settings_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise SiteError(
                f"{self.root} holds no hub",
                code="hub.not-initialised",
                hint=f"lamppost-hub init {self.root} --id hub.example",
            ) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise _bad(f"{self.settings_file}: {error}") from error
        name, host, port = values.get("id"), values.get("host"), values.get("port")
        database = values.pop("database", "")
        if set(values) != {"id", "host", "port"} or not (
            isinstance(name, str)
            and isinstance(host, str)
            and type(port) is int
            and isinstance(database, str)
        ):
            raise _bad(
                f"{self.settings_file}: id (text), host (text) and port (number) belong there, and database (text)"
            )
        settings = Settings(name, host, port, database)
        _check(settings)
        return settings


def _check(settings: Settings) -> None:
    if not _ID.fullmatch(settings.id):
        raise _bad(
            f"hub id {settings.id!r}: lower-case letters, digits, dots and dashes, at most 63"
        )
    if not _HOST.fullmatch(settings.host):
        raise _bad(f"host {settings.host!r} is no host name or address")
    if not 0 < settings.port < 65536:
        raise _bad(f"port {settings.port}: 1 to 65535")
    if settings.database:
        if not _ADDRESS.fullmatch(settings.database):
            raise _bad("database: printable characters without spaces and quotes")
        from lamppost_hub.postgres import check_url  # late: most hubs do without

        check_url(settings.database)


def _bad(message: str) -> SiteError:
    return SiteError(message, code="hub.settings", hint="correct hub.toml or the option")
