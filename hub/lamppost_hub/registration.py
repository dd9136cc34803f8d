"""Letting gateways in and renewing their certificates: what the EST server decides, without HTTP.

A first enrolment needs a token. After that the envelope key vouches for its gateway: a request that it signed is
answered again after a lost answer, and after the certificate has expired. A renewal needs the running certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamppost.envelope.enrolment import EnrolmentRequest
from lamppost.errors import TrustError
from lamppost_hub import founding
from lamppost_hub.ca import Authority, Issued, requested_name
from lamppost_hub.clock import Clock
from lamppost_hub.database import Database
from lamppost_hub.folder import HubFolder
from lamppost_hub.registry import REVOKED, Registry
from lamppost_hub.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Proof:
    """What a caller has shown of himself: user and token of HTTP Basic, or a certificate that TLS has verified."""

    user: str = ""
    token: str = ""
    serial: str = ""


class Registration:
    """The registration authority of one hub. All calls block (disk, cryptography)."""

    def __init__(self, folder: HubFolder, database: Database, clock: Clock) -> None:
        self._folder = folder
        self._database = database
        self._clock = clock
        self._registry = Registry(database)
        self._tokens = Tokens(database)

    def authorities(self) -> list[bytes]:
        """The certificates that a gateway may have to know (PEM): server CA, device root, issuing CA."""
        names = (founding.SERVER_CA, founding.DEVICE_ROOT, founding.DEVICE_CA)
        return [(self._folder.ca / f"{name}.pem").read_bytes() for name in names]

    def enrol(self, request: EnrolmentRequest, proof: Proof) -> bytes:
        """The bundle for a verified request.

        Raises TrustError `enrolment.token`, `enrolment.gateway`, `registry.*`, `ca.request`; a refused request leaves
        the token unspent.
        """
        if proof.user and proof.user != request.gateway:
            raise _other_gateway(proof.user, request.gateway)
        utc = self._clock.utc()
        with self._database.transaction():
            spent = None
            if proof.token:
                spent = self._tokens.spend(request.gateway, proof.token, utc)
            if spent is None:
                self._must_be_vouched(request)
            replace = spent is not None and spent.replace
            _, bundle = founding.approve(
                self._folder, self._database, request, self._clock, replace=replace
            )
        return bundle

    def certify(self, csr_pem: bytes, proof: Proof) -> Issued:
        """A certificate for the key in a plain PKCS#10 request, for a gateway whose envelope key is known.

        Raises TrustError `enrolment.token`, `enrolment.certificate`, `enrolment.gateway`, `registry.*`, `ca.request`.
        """
        utc = self._clock.utc()
        with self._database.transaction():
            gateway = self._proved(proof, utc)
            if requested_name(csr_pem) != gateway:
                raise _other_gateway(gateway, requested_name(csr_pem))
            authority = Authority.load(self._folder.ca, founding.DEVICE_CA)
            issued = authority.issue_gateway(gateway, csr_pem, utc)
            self._registry.certified(gateway, issued, utc)
        return issued

    def _must_be_vouched(self, request: EnrolmentRequest) -> None:
        """The key that signed the request is the gateway's own, known and in force."""
        kid = request.envelope_key.kid
        if self._registry.current_key(request.gateway) == kid:
            return
        known = self._registry.signer_of(kid)
        code = self._registry.refusal_of(kid)
        if known is not None and known.gateway == request.gateway and code is not None:
            raise _locked_out(request.gateway, code)
        if self._registry.current_key(request.gateway) is not None:
            raise _claimed(request.gateway)
        raise _no_token(request.gateway)

    def _proved(self, proof: Proof, utc: int) -> str:
        """The gateway that the caller is."""
        if proof.token:
            if self._tokens.spend(proof.user, proof.token, utc) is None:
                raise _no_token(proof.user)
            return proof.user
        gateway = self._registry.holder_of(proof.serial) if proof.serial else None
        if gateway is None:
            raise TrustError(
                "no certificate of an enrolled gateway was shown",
                code="enrolment.certificate",
                hint="connect with the gateway's certificate, or enrol with a token",
            )
        if self._registry.state_of(gateway) == REVOKED:
            raise _locked_out(gateway, "registry.revoked")
        return gateway


def _no_token(gateway: str) -> TrustError:
    return TrustError(
        f"the token for {gateway} is wrong, used or expired",
        code="enrolment.token",
        hint=f"make another one: lamppost-hub enrol token DIR {gateway}",
    )


def _claimed(gateway: str) -> TrustError:
    return TrustError(
        f"{gateway} is already claimed by another key",
        code="registry.claimed",
        hint="a second card with this label? if it shall take over: lamppost-hub enrol token DIR … --replace",
    )


def _locked_out(gateway: str, code: str) -> TrustError:
    return TrustError(
        f"{gateway} is revoked, or has another key now",
        code=code,
        hint=f"if it may come back: lamppost-hub enrol token DIR {gateway} --replace",
    )


def _other_gateway(proved: str, named: str) -> TrustError:
    return TrustError(
        f"the request is for {named or 'nobody'}, the caller is {proved}",
        code="enrolment.gateway",
        hint="a gateway asks only for itself; check the id on the label",
    )
