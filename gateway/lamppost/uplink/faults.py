"""Every failure of the way to the hub: its stable code, who must act, and what to check next."""

from __future__ import annotations

from lamppost.errors import HubError, LamppostError, TrustError

HINTS: dict[str, str] = {
    "uplink.unreachable": "check the cable or modem, then the broker's host and port under [uplink]",
    "uplink.refused-certificate": "this gateway's client certificate is not accepted: compare its dates and issuer "
    "with the hub's registry, then enrol again",
    "uplink.wrong-server": "something else answers at this address, or the hub changed its server CA: do not accept "
    "it; ask the operator for a new enrolment bundle if the change is theirs",
    "uplink.clock": "the server's certificate is outside its dates: check this gateway's clock first, then the "
    "certificate at the broker",
    "uplink.tls-version": "the broker does not speak TLS 1.3: set `tls_version tlsv1.3` there",
    "uplink.certificate-files": "enrol this gateway again, or restore the files named here",
    "uplink.not-authorised": "the broker's access list forbids this topic to this certificate: compare the "
    "certificate's common name with the gateway's id, then write the broker's files again at the hub",
    "uplink.too-big": "the broker's max_packet_size is smaller than a batch: raise it to 1 MiB",
    "uplink.lost": "nothing to do: the uplink reconnects by itself",
    "uplink.slow": "the line is up but nothing moves: check signal strength and the broker's load",
    "uplink.taken-over": "another client uses this gateway's identity: look for a cloned card",
    "uplink.no-receipt": "the broker takes batches but the hub sends no receipts: check that `lamppost-hub receive` "
    "runs",
    "uplink.no-receiver": "nobody is subscribed at the broker: start `lamppost-hub receive`",
    "uplink.hub-behind": "the hub asks for batches that it has already receipted: it was probably restored from an "
    "old backup; the operator must tell it so",
}

# Where the hub's own refusals lead; they reach this gateway as codes in signed statements.
HUB_HINTS: dict[str, str] = {
    "envelope.unknown-signer": "the hub does not know this gateway: the operator runs `lamppost-hub enrol approve`",
    "envelope.unknown-hub-key": "batches are sealed for a retired hub key: install a new bundle",
    "envelope.audience": "the site names another hub than this one: compare [site] hub with the operator's",
    "ledger.epoch-pending": "the ring was begun anew; the operator runs `lamppost-hub enrol approve-epoch`",
    "ledger.epoch-closed": "the operator has approved a newer ring: is this an old card?",
    "ledger.equivocation": "the hub holds another batch of this number: look for a cloned or restored card",
    "ledger.quarantined": "the hub stopped trusting this ring: look for a cloned or restored card",
    "registry.revoked": "this gateway was revoked: ask the operator",
}

_TRUST = frozenset(
    {
        "uplink.refused-certificate",
        "uplink.wrong-server",
        "uplink.clock",
        "uplink.tls-version",
        "uplink.certificate-files",
        "uplink.taken-over",
    }
)


def fault(code: str, message: str) -> LamppostError:
    """The error for `code`; all of them may heal by waiting, so all have retry set."""
    kind = TrustError if code in _TRUST else HubError
    return kind(message, code=code, hint=HINTS[code], retry=True)


def hint_for(code: str | None) -> str:
    """What to check next, for our codes and for the hub's."""
    if code is None:
        return ""
    unknown = f"the hub refuses with {code}: look at `lamppost-hub fleet show` there"
    return HINTS.get(code) or HUB_HINTS.get(code, unknown)


def needs_a_person(code: str) -> bool:
    """Whether waiting alone will hardly help, so that status says "refused" instead of "waiting"."""
    return code in _TRUST or code in ("uplink.not-authorised", "uplink.too-big")
