"""The gateway program and its files: socket, site file, identity, clock, ring. Works whether the daemon runs or not."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lamppost import RELEASED_NS
from lamppost.acquire import site_file
from lamppost.acquire.registry import Registry
from lamppost.clock import Clock as Time
from lamppost.clock import monotonic_ns
from lamppost.config.problems import SiteInvalid
from lamppost.config.schema import Site, UplinkSettings
from lamppost.diagnosis.facts import Clock, Config, Daemon, Tls, Trust
from lamppost.errors import LamppostError
from lamppost.ota.generations import Generations
from lamppost.status.control import ask

SITE = Path("/etc/lamppost/site.toml")
PATIENCE = 3.0
_STATES = {
    "daemon.not-running": "down",
    "daemon.no-answer": "hung",
    "daemon.no-permission": "denied",
}
_SLACK = 3600 * 10**9


def daemon(socket: Path, patience: float = PATIENCE) -> tuple[Daemon, dict[str, Any] | None]:
    """Whether it answers, and its status."""
    began = monotonic_ns()
    try:
        status = ask(socket, {"do": "status"}, patience)
    except LamppostError as error:
        seconds = round((monotonic_ns() - began) / 1e9, 1)
        state = _STATES.get(error.code, "hung")
        unit = _unit_state() if state != "denied" else ""
        found = Daemon(
            socket=str(socket), state=state, group=_group(socket), unit=unit, seconds=seconds
        )
        return found, None
    return Daemon(socket=str(socket), state="answers"), status


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return ""


def _unit_state() -> str:
    """What systemd says of the unit; empty where there is none."""
    if shutil.which("systemctl") is None:
        return ""
    try:
        done = subprocess.run(
            ["systemctl", "show", "lamppost", "-p", "LoadState,ActiveState,SubState,Result"],
            capture_output=True, text=True, timeout=3, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if told.get("LoadState") != "loaded":
        return ""
    return f"{told.get('ActiveState', '')} ({told.get('SubState', '')})"


def config(file: Path, state: Path) -> tuple[Config, Site | None, Registry | None]:
    """The configuration that runs: a signed one of `state`, else the site file; its problems, and its drivers."""
    try:
        site, registry = _running(file, state)
    except SiteInvalid as refused:
        return Config(file=str(file), problems=[str(p) for p in refused.problems]), None, None
    except OSError as error:
        return Config(file=str(file), why=error.strerror or str(error)), None, None
    host, port = _hub_of(site)
    name, hub = site.site.gateway, site.site.hub or ""
    found = Config(
        file=str(file),
        gateway=name,
        hub=hub,
        host=host,
        port=port,
        unsynced=site.time.unsynced,
    )
    return found, site, registry


def _running(file: Path, state: Path) -> tuple[Site, Registry]:
    generations = Generations(state / "ota")
    now = generations.state
    chosen = now.trial.generation if now.trial else now.good
    if chosen is not None:
        with contextlib.suppress(LamppostError):
            return site_file.parse(generations.content(chosen), file)
    return site_file.read(file)


def _hub_of(site: Site) -> tuple[str, int]:
    """Host and port that the uplink connects to: the hub's broker, or a context broker's address."""
    if isinstance(site.uplink, UplinkSettings):
        return site.uplink.host, site.uplink.port
    found = urlsplit(site.uplink.url)
    return found.hostname or "", found.port or (443 if found.scheme == "https" else 80)


def clock(state: Path, time: Time, told: str = "") -> Clock:
    """The clock against the time floor that the daemon keeps; `told`: its own word, where it runs."""
    floor = RELEASED_NS
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        floor = max(floor, int(json.loads((state / "boots.json").read_bytes())["floor"]))
    now = time.utc()
    if now < floor - _SLACK:
        return Clock(state="behind-floor", now=now, floor=floor)
    here = "synced" if time.synced() else "unsynced"
    return Clock(state=told if told and told != "behind-floor" else here, now=now, floor=floor)


def trust(state: Path) -> Trust | None:
    """The identity, and fingerprints to read over the phone. None where this user may not look."""
    from lamppost.envelope import identity

    try:
        found = identity.load(state / "identity")
    except LamppostError as error:
        return Trust(code=error.code, why=str(error), hint=error.hint)
    except PermissionError:
        return None
    return Trust(
        gateway=found.gateway,
        hub=found.hub,
        since=found.tls_not_before_ns,
        until=found.tls_not_after_ns,
        ours=fingerprint(found.signer.kid),
        theirs=fingerprint(found.hub_encryption.kid),
    )


def fingerprint(kid: bytes) -> str:
    """The first eight bytes of a key's thumbprint in groups, as it is read over the phone."""
    shown = kid[:8].hex()
    return " ".join(shown[at : at + 4] for at in range(0, len(shown), 4))


def tls(state: Path, host: str, port: int, timeout: float = 6.0) -> Tls | None:
    """A handshake with the broker, as the uplink does it. None where there is no identity to show."""
    from lamppost.envelope import identity
    from lamppost.uplink import tls as handshake

    folder = state / "identity"
    try:
        who = identity.load(folder)
    except (LamppostError, OSError):
        return None
    files = handshake.TlsFiles(who.tls_certificate, who.tls_key, who.server_ca)
    try:
        handshake.dial(host, port, files, timeout, timeout).close()
    except LamppostError as error:
        if error.code == "uplink.certificate-files":
            return None
        issuer = str(error).partition("issuer ")[2].partition(" (")[0].rstrip(")")
        return Tls(code=error.code, why=str(error), issuer=issuer)
    return Tls()
