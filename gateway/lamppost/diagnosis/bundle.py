"""A support bundle: facts, status, site, logs and findings of a gateway in one file, without its secrets.

Collected, redacted, looked through again, judged. A gzipped tar of texts, so that anybody can read it anywhere.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import subprocess
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lamppost import __version__
from lamppost.diagnosis import redact
from lamppost.diagnosis.facts import Facts, decode, encode
from lamppost.errors import TrustError
from lamppost.findings import Finding

LIMIT = 16 * 1024 * 1024
_LOG_LINES = 800
_SECRET_FILES = ("identity/*.key", "identity/*.pem", "*.key", "credentials/*", "identity/token*")


def secrets_of(state: Path) -> tuple[bytes, ...]:
    """The contents of this gateway's own key and credential files, to look for them. Never shown."""
    found = []
    for pattern in _SECRET_FILES:
        for path in sorted(state.glob(pattern)):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            if b"CERTIFICATE" in content and b"PRIVATE" not in content:
                continue
            found.append(content[:65536])
    return tuple(found)


def files(
    facts: Facts, findings: Sequence[Finding], site: Path, state: Path, log: str, kernel: str
) -> dict[str, bytes]:
    """The bundle's files by name, redacted."""
    secrets = secrets_of(state)
    plain = redact.values(msgspec.to_builtins(_discreet(facts, site)), secrets)
    told = "\n".join(f"{f.id} {f.subject} ({f.sure}): {f.evidence}" for f in findings)
    return {
        "README.txt": (
            f"Support bundle of Lamppost {__version__}. Read it with: lamppost bundle inspect FILE\n"
            "facts.json: what was seen; findings.txt: what it means; site.json: the site file;\n"
            "log.txt, kernel.txt: the last lines. Keys, tokens, passwords and personal readings\n"
            "were taken out.\n"
        ).encode(),
        "facts.json": msgspec.json.format(msgspec.json.encode(plain), indent=1),
        "findings.txt": redact.text(told + "\n", secrets).encode(),
        "site.json": msgspec.json.format(
            msgspec.json.encode(redact.values(_site(site), secrets)), indent=1
        ),
        "log.txt": redact.text(log, secrets).encode(),
        "kernel.txt": redact.text(kernel, secrets).encode(),
    }


def pack(content: Mapping[str, bytes], at: int, secrets: Sequence[bytes]) -> bytes:
    """The tar, after another look at every file. Raises TrustError `bundle.secret`; nothing is written then."""
    for name, data in content.items():
        if found := redact.left(data, secrets):
            raise TrustError(
                f"{name} would still hold {found[0]}",
                code="bundle.secret",
                hint="nothing was written; report this without the bundle",
            )
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=at) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, data in content.items():
            entry = tarfile.TarInfo(f"lamppost-bundle/{name}")
            entry.size, entry.mtime, entry.mode = len(data), at, 0o640
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a bundle. Raises ValueError where it is none; unpacks nothing to the disk."""
    found: dict[str, bytes] = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
            for entry in tar:
                size += entry.size
                if size > LIMIT:
                    raise ValueError("larger than any bundle is")
                opened = tar.extractfile(entry) if entry.isreg() else None
                if opened is not None:
                    found[Path(entry.name).name] = opened.read()
    except (tarfile.TarError, OSError, EOFError) as wrong:
        raise ValueError(f"no bundle: {wrong}") from None
    if "facts.json" not in found:
        raise ValueError("no bundle: facts.json is not in it")
    return found


def facts_of(content: Mapping[str, bytes]) -> Facts:
    """The facts of a bundle. Raises ValueError."""
    return msgspec.structs.replace(decode(content["facts.json"]), via="bundle")


def code_of(data: bytes) -> str:
    """Eight characters to read over the phone: whoever has the same file has the same code."""
    shown = base64.b32encode(hashlib.sha256(data).digest()).decode()[:8]
    return f"{shown[:4]}-{shown[4:]}"


def journal() -> str:
    """The gateway program's last words; empty where there is no journal."""
    return _said("journalctl", "-u", "lamppost", "-n", str(_LOG_LINES), "--no-pager", "--quiet")


def kernel() -> str:
    """The kernel's last words."""
    return "\n".join(_said("dmesg").splitlines()[-_LOG_LINES:])


def _said(*words: str) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _site(file: Path) -> dict[str, Any]:
    """The site file as values: its comments stay here."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as wrong:
        return {"unreadable": type(wrong).__name__}


def _discreet(facts: Facts, site: Path) -> Facts:
    """Without the readings of devices that the site marks personal."""
    devices = _site(site).get("device") or []
    personal = {d.get("name") for d in devices if isinstance(d, dict) and d.get("personal")}
    if not personal or facts.status is None:
        return decode(encode(facts))
    kept = [
        {**d, "readings": {}} if d.get("name") in personal else d
        for d in facts.status.get("devices", [])
    ]
    return msgspec.structs.replace(facts, status={**facts.status, "devices": kept})
