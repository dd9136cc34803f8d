"""The mobile modem, by the stage at which ModemManager stands."""

from __future__ import annotations

from collections.abc import Iterator

from lamppost.diagnosis.facts import Facts, Modem
from lamppost.findings import Finding, found

_WEAK = 25
_REGISTERED = ("registered", "connecting", "disconnecting")


def check(facts: Facts) -> Iterator[Finding]:
    """The first stage that fails."""
    modem = facts.modem
    if modem is None or not (modem.wanted or modem.present):
        return
    if not modem.present:
        yield found("modem.missing")
        return
    stage = _stage(modem)
    if stage is not None:
        yield stage
    elif modem.signal is not None and modem.signal < _WEAK:
        operator = modem.operator or "an unnamed network"
        yield found("modem.weak-signal", signal=modem.signal, operator=operator)


def _stage(modem: Modem) -> Finding | None:
    state = modem.state
    if state == "failed" and modem.failed == "sim-missing":
        return found("modem.sim-missing", state=state, reason=modem.failed)
    if state == "locked" or modem.lock in ("sim-pin", "sim-puk"):
        return found("modem.sim-locked", state=state, lock=modem.lock or "a code")
    if modem.registration == "denied":
        return found("modem.denied", registration="denied")
    if state == "disabled":
        return found("modem.disabled", state=state)
    if state in ("searching", "enabled") or modem.registration in ("searching", "idle"):
        return found("modem.searching", state=state, signal=modem.signal or 0)
    if state in _REGISTERED and not modem.connected:
        return found("modem.no-data", state=state, operator=modem.operator or "an unnamed network")
    return None
