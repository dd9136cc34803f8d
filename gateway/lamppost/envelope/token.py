"""A signing key in a PKCS#11 token (a TPM 2.0, an ATECC608, a smart card, a HSM): made there, never taken out.

The only file that speaks PKCS#11 (OASIS PKCS #11 v2.40), through `python-pkcs11`, the extra `pkcs11`. P-256 only: that
is what the tokens of small boards have. Calls block; a session serves one thread at a time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from lamppost.envelope.public import PublicKey
from lamppost.errors import TrustError

R = TypeVar("R")

_P256_POINT = 65  # 04, x, y (SEC 1 §2.3.3)
_OCTETS = 0x04  # DER tag around it in CKA_EC_POINT


@dataclass(frozen=True, slots=True)
class TokenKey:
    """Where a key is: the maker's PKCS#11 module (a shared library), the token's label, the key's label."""

    module: str
    token: str
    label: str


class TokenSigner:
    """`keys.Signer` for a key in a token. A token that was pulled and is back is opened again by itself."""

    def __init__(self, place: TokenKey, pin: Callable[[], str]) -> None:
        self._place = place
        self._pin = pin
        self._lock = threading.Lock()
        self._session: Any = None
        self._key: Any = None
        self.public = self._do(lambda: _public(self._session, place))

    @property
    def kid(self) -> bytes:
        """The thumbprint of the public key."""
        return self.public.kid

    def sign(self, data: bytes) -> bytes:
        """r and s of ES256 over `data`, 64 bytes; hashed here, signed there. Raises TrustError `trust.token`."""
        digest = hashlib.sha256(data).digest()
        return bytes(self._do(lambda: self._key.sign(digest, mechanism=_pkcs11().Mechanism.ECDSA)))

    def close(self) -> None:
        """Log out; the next signature logs in again."""
        with self._lock:
            self._close()

    def _do(self, step: Callable[[], R]) -> R:
        with self._lock:
            try:
                if self._session is None:
                    self._open()
                return step()
            except _pkcs11().exceptions.PKCS11Error:
                self._close()  # a session that broke is no session; once more with a new one
                try:
                    self._open()
                    return step()
                except _pkcs11().exceptions.PKCS11Error as error:
                    self._close()
                    raise _trouble(self._place, error) from error

    def _open(self) -> None:
        self._session = _session(self._place, self._pin(), rw=False)
        self._key = _find(self._session, self._place, private=True)

    def _close(self) -> None:
        session, self._session, self._key = self._session, None, None
        if session is not None:
            _quietly(session.close)


def create(place: TokenKey, pin: Callable[[], str]) -> PublicKey:
    """Make a P-256 key under this label, not extractable, unless there is one; give its public half.

    Raises TrustError `trust.token`.
    """
    pkcs11 = _pkcs11()
    try:
        session = _session(place, pin(), rw=True)
        try:
            try:
                return _public(session, place)
            except pkcs11.exceptions.NoSuchKey:
                _generate(session, place)
                return _public(session, place)
        finally:
            _quietly(session.close)
    except pkcs11.exceptions.PKCS11Error as error:
        raise _trouble(place, error) from error


def _generate(session: Any, place: TokenKey) -> None:
    pkcs11 = _pkcs11()
    from pkcs11.util.ec import encode_named_curve_parameters

    curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
    parameters.generate_keypair(
        store=True,
        label=place.label,
        id=hashlib.sha256(place.label.encode()).digest()[:16],
        capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
        private_template={pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
    )


def _public(session: Any, place: TokenKey) -> PublicKey:
    pkcs11 = _pkcs11()
    point = bytes(_find(session, place, private=False)[pkcs11.Attribute.EC_POINT])
    if point[:1] == bytes([_OCTETS]) and len(point) == _P256_POINT + 2:
        point = point[2:]
    try:
        return PublicKey.of_point(point)
    except ValueError as error:
        raise TrustError(
            f"the key {place.label} of token {place.token} is not P-256",
            code="trust.token",
            hint="name another key label, and a P-256 key is made under it",
        ) from error


def _find(session: Any, place: TokenKey, *, private: bool) -> Any:
    pkcs11 = _pkcs11()
    kind = pkcs11.ObjectClass.PRIVATE_KEY if private else pkcs11.ObjectClass.PUBLIC_KEY
    return session.get_key(object_class=kind, key_type=pkcs11.KeyType.EC, label=place.label)


def _session(place: TokenKey, pin: str, *, rw: bool) -> Any:
    pkcs11 = _pkcs11()
    try:
        module = pkcs11.lib(place.module)
    except (RuntimeError, OSError) as error:  # what python-pkcs11 makes of dlopen's refusal
        raise _trouble(place, error) from error
    token = module.get_token(token_label=place.token)
    try:
        return token.open(user_pin=pin, rw=rw)
    except (
        pkcs11.exceptions.UserAlreadyLoggedIn
    ):  # by another session of this process: that counts for all
        return token.open(rw=rw)


def _quietly(step: Callable[[], object]) -> None:
    try:
        step()
    except _pkcs11().exceptions.PKCS11Error:
        return


def _pkcs11() -> Any:
    try:
        import pkcs11
        import pkcs11.exceptions
    except ImportError as error:
        raise TrustError(
            "the key of this gateway is in a PKCS#11 token, and python-pkcs11 is not installed",
            code="trust.token",
            hint='pip install "lamppost[pkcs11]"',
            retry=True,
        ) from error
    return pkcs11


_SAID = {
    "PinIncorrect": "the PIN is wrong; do not try often, tokens lock themselves",
    "PinLocked": "the PIN is locked; the token's administrator sets a new one",
    "NoSuchToken": "is the token plugged in? list labels with: pkcs11-tool --module MODULE -L",
    "NoSuchKey": "enrol with --pkcs11 to make the key in the token",
}


def _trouble(place: TokenKey, error: Exception) -> TrustError:
    kind = type(error).__name__
    hint = _SAID.get(
        kind, f"check the token and its module: pkcs11-tool --module {place.module} -L"
    )
    return TrustError(
        f"token {place.token}, key {place.label}: {kind} {error}".rstrip(),
        code="trust.token",
        hint=hint,
        retry=True,
    )
