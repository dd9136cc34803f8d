"""Signed notes of C2SP (signed-note): a text, a blank line, signature lines. Pure.

A hub key signs as its kind allows: Ed25519 is signature type 0x01, P-256 is 0x02 (ECDSA over SHA-256, in DER). The
text begins with the hub's id and so with an ASCII letter or digit; what the same key signs as COSE begins with 0x84.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256

from lamppost.envelope.keys import Signer
from lamppost.envelope.public import P256_ORDER, PublicKey
from lamppost.errors import TrustError

MAX_NOTE = 64 << 10
MAX_SIGNATURES = 64
_DASH = "\u2014 "
_ED25519, _ECDSA = b"\x01", b"\x02"


def sign_note(text: str, name: str, signer: Signer) -> bytes:
    """`text` (which ends in a newline) signed under the key name `name`."""
    signature = signer.sign(text.encode())
    if signer.public.kind == "p256":
        signature = _der(signature)
    line = base64.b64encode(key_id(name, signer.public) + signature).decode("ascii")
    return f"{text}\n{_DASH}{name} {line}\n".encode()


def open_note(note: bytes, name: str, keys: Iterable[PublicKey]) -> str:
    """The verified text of a note that one of `keys` signed under `name`; lines of other keys are passed over.

    Raises TrustError `checkpoint.malformed`, `.unknown-key`, `.signature`.
    """
    text, lines = split_note(note)
    known = {key_id(name, key): key for key in keys}
    verified = False
    for signed_as, blob in lines:
        key = known.get(blob[:4])
        if signed_as != name or key is None:
            continue
        signature = blob[4:] if key.kind == "ed25519" else _raw(blob[4:])
        if not key.verify(signature, text.encode()):
            raise TrustError(
                f"the signature of {name} does not verify",
                code="checkpoint.signature",
                hint="the note was altered, or is not this hub's: fetch it again from where it was kept",
            )
        verified = True
    if not verified:
        raise TrustError(
            f"no known key signed the note of {name}",
            code="checkpoint.unknown-key",
            hint="give the hub's public signing key with --hub-key",
        )
    return text


def split_note(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """Text and signature lines (name, key id and signature), nothing verified; TrustError `checkpoint.malformed`."""
    try:
        whole = note.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed("not UTF-8") from error
    body, blank, tail = whole.rpartition("\n\n")
    if len(note) > MAX_NOTE or not blank or not body or not tail.endswith("\n"):
        raise malformed("no text, blank line and signature lines")
    if any(character < " " and character != "\n" for character in whole):
        raise malformed("control characters")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise malformed(f"more than {MAX_SIGNATURES} signatures")
    return body + "\n", [_signature_line(line) for line in lines]


def key_id(name: str, key: PublicKey) -> bytes:
    """Four bytes that tell keys of one name apart, as signed-note defines them for each type."""
    if key.kind == "ed25519":
        return sha256(name.encode() + b"\n" + _ED25519 + _encoded(key)).digest()[:4]
    return sha256(_encoded(key)).digest()[:4]


def verifier_line(name: str, key: PublicKey) -> str:
    """The key as other programs take it: name, key id in hex, base64 of type and key, with `+` between."""
    kind = _ED25519 if key.kind == "ed25519" else _ECDSA
    return f"{name}+{key_id(name, key).hex()}+{base64.b64encode(kind + _encoded(key)).decode()}"


def malformed(why: str) -> TrustError:
    """The refusal of what is no note, or no checkpoint."""
    return TrustError(
        f"not a checkpoint: {why}",
        code="checkpoint.malformed",
        hint="fetch the note again from where it was kept; docs/formats/checkpoint.md shows one",
    )


def _signature_line(line: str) -> tuple[str, bytes]:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not name or "+" in name:
        raise malformed("a line after the text is no signature")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed("a signature is no base64") from error
    if len(blob) < 5:
        raise malformed("a signature is too short")
    return name, blob


def _encoded(key: PublicKey) -> bytes:
    """32 bytes of Ed25519, or the DER of a P-256 SubjectPublicKeyInfo."""
    der = base64.b64decode("".join(key.pem().splitlines()[1:-1]))
    return der[-32:] if key.kind == "ed25519" else der


def _der(raw: bytes) -> bytes:
    """ECDSA-Sig-Value of RFC 3279 §2.2.3 from r and s; of the two possible s the lower, as everywhere here."""
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    content = b"".join(_der_integer(number) for number in (r, min(s, P256_ORDER - s)))
    return b"\x30" + bytes((len(content),)) + content


def _der_integer(number: int) -> bytes:
    size = number.bit_length() // 8 + 1
    return b"\x02" + bytes((size,)) + number.to_bytes(size, "big")


def _raw(der: bytes) -> bytes:
    """r and s of 32 bytes each from the one DER form; b"" (which verifies nowhere) for anything else."""
    try:
        size = der[3]
        r, s = int.from_bytes(der[4 : 4 + size], "big"), int.from_bytes(der[6 + size :], "big")
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return raw if _der(raw) == der else b""
    except (IndexError, OverflowError):
        return b""
