"""Hub and broker, once the network is there: what a handshake showed, and what the daemon's uplink says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamppost.diagnosis.checks.clock import is_sound
from lamppost.diagnosis.facts import Facts, Tls
from lamppost.findings import Finding, found

_KEYS = (
    "envelope.unknown-signer",
    "envelope.unknown-hub-key",
    "registry.unknown-gateway",
    "registry.key-differs",
    "receipt.unknown-hub-key",
)
_RING = (
    "ledger.equivocation", "ledger.quarantined", "ledger.epoch-closed", "ledger.epoch-pending",
    "ledger.chain-broken", "ledger.reading-overlap",
)  # fmt: skip
_REACH = ("uplink.unreachable", "uplink.lost", "uplink.slow")
_NO_RECEIPTS = ("uplink.no-receipt", "uplink.no-receiver")


def check(facts: Facts) -> Iterator[Finding]:
    """A handshake proves more than a status; what the network explains is left to it."""
    shaken = _shaken(facts, facts.tls) if facts.tls is not None else None
    if shaken is not None:
        yield shaken
    uplink = (facts.status or {}).get("uplink")
    if uplink:
        yield from _told(facts, uplink, shaken is not None)


def _shaken(facts: Facts, tls: Tls) -> Finding | None:
    if not tls.code:
        return None
    if tls.code == "uplink.wrong-server":
        host, port = (facts.net.host, facts.net.port) if facts.net else ("the hub", "8883")
        return found("uplink.intercepted", host=host, port=port, issuer=tls.issuer or "unknown")
    if tls.code == "uplink.clock":
        # Dates say nothing while the clock is wrong: then the clock is the finding.
        return found("uplink.server-certificate", why=tls.why) if _clock_counts(facts) else None
    if tls.code == "uplink.refused-certificate":
        return found("uplink.refused", why=tls.why)
    if tls.code == "uplink.tls-version":
        return found("uplink.not-tls", why=tls.why)
    if "does not speak TLS" in tls.why:
        return found("uplink.not-tls", why=tls.why)
    return None


def _clock_counts(facts: Facts) -> bool:
    return facts.clock is None or is_sound(facts.clock)


def _told(facts: Facts, uplink: dict[str, Any], shaken: bool) -> Iterator[Finding]:
    code = uplink.get("code") or ""
    refusal = _code_in(str(uplink.get("last_refusal") or "")) or code
    why = f"{uplink.get('message') or code}"
    trust = facts.trust
    if refusal in _KEYS:
        yield found(
            "uplink.hub-key",
            code=refusal,
            ours=trust.ours if trust else "?",
            theirs=trust.theirs if trust else "?",
        )
    elif refusal in _RING:
        gateway = (facts.status or {}).get("gateway", "this gateway")
        yield found("uplink.quarantined", code=refusal, gateway=gateway)
    elif code == "uplink.taken-over":
        yield found("uplink.taken-over", why=why)
    elif code == "uplink.not-authorised":
        yield found("uplink.forbidden", why=why)
    elif code in _NO_RECEIPTS:
        yield _no_receipts(uplink)
    elif not shaken and code and not _explained(facts, code):
        yield found("uplink.down", state=uplink.get("state", "down"), why=why)


def _code_in(text: str) -> str:
    return next((word for word in text.replace(":", " ").split() if word in _KEYS + _RING), "")


def _no_receipts(uplink: dict[str, Any]) -> Finding:
    age = uplink.get("last_receipt_seconds_ago")
    last = "none yet" if age is None else f"{age:.0f} s ago"
    return found(
        "uplink.no-receipts",
        sent=uplink.get("batches_sent", 0),
        held=uplink.get("held", 0),
        last=last,
    )


def _explained(facts: Facts, code: str) -> bool:
    """Whether another area says it better: no network, no identity, a wrong clock."""
    if code.startswith("trust."):
        return True
    if code in _REACH:
        return facts.net is not None and bool(facts.net.dials or facts.net.name_fault)
    return code == "uplink.clock"
