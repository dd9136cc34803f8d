"""Debian's PostgreSQL as a server of our own: a temporary folder, a free loopback port, a user who may run it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from fakes.mosquitto import free_port

CONFIG = """\
listen_addresses = '127.0.0.1'
max_connections = 60
shared_buffers = 32MB
max_wal_size = 256MB
logging_collector = off
log_min_messages = fatal
autovacuum_naptime = 10min
"""


def folder_of_programs() -> Path:
    """Where initdb and postgres are, or a skip that says what to install."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("Debian's postgresql is not installed (apt-get install postgresql)")


def _user() -> str | None:
    """PostgreSQL does not run as root: whom it runs as instead, None for ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


class Postgres:
    """One server; `start` and `stop` may alternate, port and content stay."""

    def __init__(self) -> None:
        self._programs = folder_of_programs()
        self._user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="lamppost-pg-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-D", self._cluster, "-U", "hub", "-A", "trust", "-E", "UTF8",
                  "--locale", "C", "--no-sync", "--no-instructions")  # fmt: skip
        with (self._cluster / "postgresql.conf").open("a") as file:
            file.write(f"{CONFIG}port = {self.port}\nunix_socket_directories = '{self.folder}'\n")

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster"

    def _run(self, name: str, *words: object, out: Path = Path(os.devnull)) -> None:
        with out.open("wb") as file:
            subprocess.run(
                [str(self._programs / name), *map(str, words)],
                user=self._user,
                cwd=self.folder,
                check=True,
                stdout=file,
            )

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._cluster)],
                user=self._user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def url(self, port: int = 0) -> str:
        """The address of its database, through `port` where something stands before the server."""
        return f"postgresql://hub@127.0.0.1:{port or self.port}/postgres"

    def emptied(self) -> str:
        """The same, once everything of ours in it is gone."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND application_name LIKE 'lamppost%'"
            )
            found = connection.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'lamppost%'"
            ).fetchall()
            for (namespace,) in found:
                connection.execute(
                    sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(namespace))
                )
        return self.url()

    def dump(self, path: Path) -> None:
        """What pg_dump makes of the hub's tables, as SQL."""
        self._run("pg_dump", "-n", "lamppost_hub", self.url(), out=path)

    def restore(self, path: Path) -> None:
        """Bring a dump back into the emptied database."""
        with path.open("rb") as file:
            subprocess.run(
                [str(self._programs / "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1", self.url()],
                stdin=file,
                stdout=subprocess.DEVNULL,
                check=True,
            )

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: the fast shutdown. SIGQUIT: as a power cut, with recovery at the next start. Safe to call twice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
