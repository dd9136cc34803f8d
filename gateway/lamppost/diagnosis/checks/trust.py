"""Keys and certificates; dates are judged only by a clock that may judge."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.checks.clock import is_sound, utc_text
from lamppost.diagnosis.facts import Clock, Facts, Trust
from lamppost.findings import Finding, found

_SOON_DAYS = 21
_DAY = 86400 * 10**9


def check(facts: Facts) -> Iterator[Finding]:
    """Is there an identity, is it whole and ours alone, and in its dates?"""
    trust = facts.trust
    if trust is None:
        return
    if trust.code:
        yield _broken(trust)
    elif trust.until:
        yield from _dates(trust, facts.clock)


def _broken(trust: Trust) -> Finding:
    which = {
        "trust.not-enrolled": "trust.not-enrolled",
        "trust.key-exposed": "trust.key-exposed",
    }.get(trust.code, "trust.identity-damaged")
    return found(which, why=trust.why, hint=trust.hint)


def _dates(trust: Trust, clock: Clock | None) -> Iterator[Finding]:
    if clock is None:
        return
    until = utc_text(trust.until)
    past = clock.now > trust.until
    if not is_sound(clock):
        # A clock that only goes too slow cannot make a certificate expire: behind the floor, only the future is open.
        if past or clock.state == "behind-floor":
            yield found("trust.dates-unsure", clock=clock.state, until=until)
    elif past:
        yield found(
            "trust.certificate-expired", until=until, now=utc_text(clock.now), clock=clock.state
        )
    elif trust.since and clock.now < trust.since:
        yield found(
            "trust.certificate-not-yet",
            since=utc_text(trust.since),
            now=utc_text(clock.now),
            clock=clock.state,
        )
    elif trust.until - clock.now < _SOON_DAYS * _DAY:
        days = (trust.until - clock.now) // _DAY
        yield found("trust.certificate-expires", until=until, days=days)
