"""Interfaces, routes, names and connections to the hub; and what ModemManager says. Blocking, each with a limit."""

from __future__ import annotations

import errno
import ipaddress
import json
import re
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lamppost.clock import monotonic_ns
from lamppost.diagnosis.facts import Dial, Interface, Modem, Net
from lamppost.diagnosis.gather.machine import ROOT, text

DIAL, NAME = 4.0, 4.0
_WEB = 443
_WWAN = re.compile(r"^(wwan|ppp|usb_modem|cdc-wdm)")
_REFUSED = (errno.ECONNREFUSED,)


def interfaces(root: Path = ROOT) -> list[Interface]:
    """All but loopback, with their addresses."""
    addresses = _addresses()
    found = []
    for folder in sorted((root / "sys/class/net").glob("*")):
        name = folder.name
        if name == "lo" or (folder / "bridge").exists():
            continue
        carrier = text(folder / "carrier") == "1" or text(folder / "operstate") == "up"
        found.append(
            Interface(
                name=name,
                carrier=carrier,
                addresses=addresses.get(name, []),
                wireless_wan=bool(_WWAN.match(name)),
            )
        )
    return found


def _addresses() -> dict[str, list[str]]:
    """By interface, without link-local ones: by `ip`, which every Debian has."""
    try:
        done = subprocess.run(
            ["ip", "-json", "address"], capture_output=True, timeout=3, check=False
        )
        rows = json.loads(done.stdout or b"[]")
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return {
        row["ifname"]: [a["local"] for a in row.get("addr_info", []) if a.get("scope") == "global"]
        for row in rows
        if "ifname" in row
    }


def default_route(root: Path = ROOT) -> str:
    """The interface of the default route, IPv4 before IPv6; empty without one."""
    for line in text(root / "proc/net/route").splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[1] == words[7] == "00000000":
            return words[0]
    for line in text(root / "proc/net/ipv6_route").splitlines():
        words = line.split()
        if len(words) > 9 and words[0] == "0" * 32 and words[1] == "00" and words[9] != "lo":
            return words[9]
    return ""


def dial(host: str, port: int, timeout: float = DIAL) -> Dial:
    """One TCP connection, closed at once."""
    began = monotonic_ns()
    outcome, why = "open", ""
    try:
        socket.create_connection((host, port), timeout).close()
    except TimeoutError:
        outcome, why = "timeout", f"no answer within {timeout:g} s"
    except OSError as error:
        refused = error.errno in _REFUSED
        outcome, why = ("refused" if refused else "unreachable"), error.strerror or str(error)
    ms = round((monotonic_ns() - began) / 1e6, 1)
    return Dial(host=host, port=port, outcome=outcome, ms=ms, why=why)


def names(host: str) -> tuple[list[str], str]:
    """The addresses of a name, or why there are none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return [host], ""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        try:
            rows = asked.result(NAME)
        except TimeoutError:
            return [], f"no answer within {NAME:g} s"
        except OSError as error:
            return [], error.strerror or str(error)
    return sorted({str(row[4][0]) for row in rows}), ""


def net(
    host: str, port: int, *, tries: int = 1, root: Path = ROOT, web: int = _WEB, wait: float = DIAL
) -> Net:
    """The way to the hub. Another port of the same host is tried only where the right one gives no answer."""
    found, fault = names(host) if host else ([], "")
    dials = [dial(host, port, wait) for _ in range(tries)] if host and not fault else []
    other = None
    if dials and all(each.outcome != "open" for each in dials):
        other = dial(host, web, wait)
    return Net(
        interfaces=interfaces(root),
        default_route=default_route(root),
        host=host,
        port=port,
        addresses=found,
        name_fault=fault,
        dials=dials,
        web=other,
    )


def modem(route: str = "") -> Modem | None:
    """What ModemManager says of the first modem; None where there is no ModemManager on this machine."""
    if shutil.which("mmcli") is None:
        return None
    wanted = bool(_WWAN.match(route)) or _has_mobile_profile()
    listed = _mmcli("-L")
    if listed is None:
        return Modem(wanted=wanted)
    rows = listed.get("modem-list") or []
    if not rows:
        return Modem(wanted=wanted, manager=True)
    told = (_mmcli("-m", str(rows[0])) or {}).get("modem", {})
    return _told(told, wanted)


def _told(told: dict[str, Any], wanted: bool) -> Modem:
    generic, mobile = told.get("generic", {}), told.get("3gpp", {})

    def said(table: dict[str, Any], key: str) -> str:
        value = table.get(key) or ""
        return "" if value in ("--", "none") or not isinstance(value, str) else value

    quality = generic.get("signal-quality") or {}
    value = quality.get("value") if isinstance(quality, dict) else None
    technologies = generic.get("access-technologies") or []
    return Modem(
        wanted=wanted,
        manager=True,
        present=True,
        state=said(generic, "state"),
        failed=said(generic, "state-failed-reason"),
        lock=said(generic, "unlock-required"),
        registration=said(mobile, "registration-state"),
        operator=said(mobile, "operator-name"),
        signal=int(str(value)) if str(value).isdigit() else None,
        access=", ".join(technologies) if isinstance(technologies, list) else "",
        connected=said(generic, "state") == "connected",
    )


def _mmcli(*words: str) -> dict[str, Any] | None:
    try:
        done = subprocess.run(["mmcli", *words, "-J"], capture_output=True, timeout=5, check=False)
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return found if isinstance(found, dict) else None


def _has_mobile_profile() -> bool:
    """Whether NetworkManager is told to use a modem."""
    if shutil.which("nmcli") is None:
        return False
    try:
        done = subprocess.run(
            ["nmcli", "-t", "-f", "TYPE", "connection", "show"],
            capture_output=True, timeout=3, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"gsm" in done.stdout.split()
