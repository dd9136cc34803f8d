"""The seed of a gateway: the one small file that an installer puts on a card's boot partition, signed by the batch.

TOML, so that a person can read it; signed as `members` says. It is worthless once its token is spent.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from lamppost.envelope.keys import Signer
from lamppost.envelope.members import check, prove
from lamppost.envelope.public import PublicKey
from lamppost.envelope.refusal import EnvelopeError
from lamppost.envelope.seal import is_name
from lamppost.errors import TrustError

SCHEMA = "lamppost.seed/1"
CONTENT_TYPE = "application/vnd.lamppost.seed+cbor"
MAX_SEED = 1 << 17
_TEXTS = ("schema", "batch", "gateway", "group", "hub", "pin", "token", "root")


@dataclass(frozen=True, slots=True)
class Seed:
    """Who this card is to be, and whom it may believe.

    `hub` is the URL of the enrolment server, `pin` the SHA-256 of its CA's certificate (hexadecimal), `token` the
    one-time token; `group` and `root` (TUF root metadata, JSON text, "" for none) lead to the first configuration.
    """

    batch: str
    gateway: str
    group: str
    hub: str
    pin: str
    token: str
    root: str = ""


def write_seed(seed: Seed, signer: Signer) -> bytes:
    """The seed as a file. Raises ValueError for a member that would not be read back."""
    members = _members(seed)
    proof = prove(members, CONTENT_TYPE, signer)
    lines = ["# Lamppost: read once at the first boot, then removed. Do not edit: it is signed."]
    lines += [f"{name} = {_quoted(value)}" for name, value in members.items()]
    lines.append(f"batch_key = {_quoted(signer.public.pem())}")
    lines.append(f'signature = "{proof}"')
    content = ("\n".join(lines) + "\n").encode()
    if read_seed(content) != (seed, signer.public):
        raise ValueError("a member of the seed is no text that TOML keeps")
    return content


def read_seed(data: bytes, trusted: PublicKey | None = None) -> tuple[Seed, PublicKey]:
    """A verified seed and the batch's key; with `trusted` no other key will do. CRLF and a BOM are passed over.

    Raises TrustError `seed.malformed`, `seed.signature`, `seed.batch-key`.
    """
    found = _parsed(data)
    members = {name: found[name] for name in _TEXTS}
    try:
        key = PublicKey.from_pem(found["batch_key"])
        check(found["signature"], members, CONTENT_TYPE, key)
    except ValueError as error:
        raise _refused("seed.malformed", str(error)) from error
    except EnvelopeError as error:
        raise _refused("seed.signature", str(error)) from error
    if trusted is not None and key != trusted:
        raise _refused(
            "seed.batch-key", f"signed by {key.kid.hex()[:16]}, not by the trusted batch key"
        )
    if members["schema"] != SCHEMA or not is_name(members["gateway"]):
        raise _refused("seed.malformed", "of another version, or its gateway is no id")
    del members["schema"]
    return Seed(**members), key


def _members(seed: Seed) -> dict[str, str]:
    return {
        "schema": SCHEMA,
        "batch": seed.batch,
        "gateway": seed.gateway,
        "group": seed.group,
        "hub": seed.hub,
        "pin": seed.pin,
        "token": seed.token,
        "root": seed.root,
    }


def _parsed(data: bytes) -> dict[str, str]:
    if len(data) > MAX_SEED:
        raise _refused("seed.malformed", f"larger than {MAX_SEED} bytes")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        found: dict[str, Any] = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise _refused("seed.malformed", str(error)) from error
    if found.keys() != {*_TEXTS, "batch_key", "signature"}:
        raise _refused("seed.malformed", "members are missing or unknown")
    if not all(type(value) is str for value in found.values()):
        raise _refused("seed.malformed", "a member is no text")
    return found


def _quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, "String")."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'


def _refused(code: str, why: str) -> TrustError:
    return TrustError(
        f"the seed is refused: {why}",
        code=code,
        hint="write it again on the installer's machine: lamppost-kit seed",
    )
