"""Takes secrets out of texts, and looks again whether any is left. Pure.

Two nets: what looks like a secret (keys, tokens, passwords, credentials in an address), and what *is* one: the contents
of this gateway's own key and credential files, as they are, in hex and in base64.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MARK = "[removed]"
_SHORTEST = 6
"""A known secret shorter than this is found in too many places to mean anything."""

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
_NAMED = re.compile(
    r"(?i)\b(pass(?:word|wd|phrase)?|secret|token|psk|pin|puk|api[-_ ]?key|private[-_ ]?key|"
    r"client[-_ ]?secret|authorization|bearer|credential|apn[-_ ]?user)\b(\"?\s*[:=]\s*|\s+)"
    r"(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;\]}\"']+)"
)
_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s:@]+(?::[^/\s@]*)?@")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?=[0-9A-Fa-f]*[A-Fa-f])[0-9A-Fa-f]{32,}(?![0-9A-Fa-f])")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_-])(?=[A-Za-z0-9+/_-]*\d)(?=[A-Za-z0-9+/_-]*[a-z])"
                     r"(?=[A-Za-z0-9+/_-]*[A-Z])[A-Za-z0-9+/_-]{40,}={0,2}(?![A-Za-z0-9+/=])")  # fmt: skip
_ALWAYS = (_PEM, _JWT, _HEX, _BASE64)
_HARMLESS = frozenset(
    {"boot", "sha256", "heard", "sent", "idle_sample", "extra", "foreign", "proof"}
)
"""Members that hold long hex by right: bytes of a wire, digests of what is public."""
_SECRET_MEMBERS = re.compile(
    r"(?i)^(pass(word|wd|phrase)?|secret|token|psk|pin|puk|private_?key|client_?secret|api_?key)$"
)


def text(given: str, secrets: Iterable[bytes] = ()) -> str:
    """`given` without what looks like a secret or is one."""
    for form in _forms(secrets):
        given = given.replace(form, MARK)
    for pattern in _ALWAYS:
        given = pattern.sub(MARK, given)
    given = _URL.sub(rf"\1{MARK}@", given)
    return _NAMED.sub(_keep_name, given)


def values(given: Any, secrets: tuple[bytes, ...] = (), member: str = "") -> Any:
    """The same for plain JSON values; members that are named like a secret lose whatever they hold."""
    if isinstance(given, Mapping):
        return {
            key: MARK
            if _SECRET_MEMBERS.match(str(key)) and isinstance(value, str) and value
            else values(value, secrets, str(key))
            for key, value in given.items()
        }
    if isinstance(given, list | tuple):
        return [values(each, secrets, member) for each in given]
    if isinstance(given, str) and member not in _HARMLESS:
        return text(given, secrets)
    if isinstance(given, str):
        for form in _forms(secrets):
            given = given.replace(form, MARK)
    return given


def left(content: bytes, secrets: Iterable[bytes]) -> list[str]:
    """What still is a secret in a finished file: kinds, never the secret itself."""
    shown = content.decode("utf-8", "replace")
    found = [f"a key or credential of this gateway ({n + 1})" for n, s in enumerate(secrets)
             if any(form in shown for form in _forms([s])) or (len(s) >= _SHORTEST and s in content)]  # fmt: skip
    if "PRIVATE KEY-----" in shown:
        found.append("a private key")
    if _JWT.search(shown):
        found.append("a token")
    found += [
        f"the value of {m[1]}"
        for m in _NAMED.finditer(shown)
        if MARK not in m[3] and _is_value(m[3])
    ]
    return found


def _keep_name(match: re.Match[str]) -> str:
    return match[0] if not _is_value(match[3]) else f"{match[1]}{match[2]}{MARK}"


def _is_value(shown: str) -> bool:
    """Whether the word after "token" or "pin" is one, and not prose: long, quoted, or with a digit in it."""
    bare = shown.strip("\"'")
    quoted = shown != bare
    return bare not in ("", MARK) and (quoted or len(bare) > 24 or any(c.isdigit() for c in bare))


def _forms(secrets: Iterable[bytes]) -> Iterator[str]:
    """How a secret may stand in a text."""
    for secret in secrets:
        bare = secret.strip()
        if len(bare) < _SHORTEST:
            continue
        yield bare.hex()
        yield bare.hex().upper()
        yield base64.b64encode(bare).decode().rstrip("=")
        yield base64.urlsafe_b64encode(bare).decode().rstrip("=")
        try:
            shown = bare.decode("ascii")
        except UnicodeDecodeError:
            continue
        yield shown
        yield from (line for line in shown.splitlines() if len(line) > 20 and "-----" not in line)
