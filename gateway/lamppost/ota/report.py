"""What a gateway says of its configuration: to the technician in full, to the hub in a few words. Pure."""

from __future__ import annotations

from typing import Any

from lamppost.errors import LamppostError
from lamppost.ota.state import Entry, Generation, State, said


def report(
    state: State,
    *,
    fault: LamppostError | None = None,
    refused: tuple[str, int, LamppostError] | None = None,
    offered: int = 0,
    waits: str = "",
    turn: int | None = None,
    expires: int = 0,
) -> dict[str, Any]:
    """All of it, as plain values. Times: UTC seconds; 0 or None where there is none."""
    runs = state.trial.generation if state.trial else state.good
    return {
        "state": "trial" if state.trial else "confirmed" if state.good else "local",
        "runs": generation(runs),
        "before": generation(state.before),
        "floor": state.floor,
        "offered": offered,
        "waits": waits,
        "turn": turn,
        "expires": expires // 10**9,
        "fault": _fault(fault),
        "refused": {"serial": refused[1], "sha256": refused[0], **_fault(refused[2])}
        if refused
        else {},
        "last": entry(state.history[-1]) if state.history else {},
    }


def for_hub(found: dict[str, Any]) -> dict[str, Any]:
    """The few words that the hub needs: what runs, what became of the newest one, and what stands in the way."""
    runs, last, refused = found["runs"], found["last"], found["refused"]
    words: dict[str, Any] = {"state": found["state"], "serial": runs.get("serial", 0)}
    if runs:
        words |= {"sha256": runs["sha256"], "rollout": runs["rollout"]}
    newest = refused if refused.get("serial", 0) > last.get("serial", 0) else last
    if newest:
        words["last"] = {
            "serial": newest["serial"],
            "outcome": newest.get("outcome", "refused"),
            "rollout": newest.get("rollout", ""),
            "code": newest["code"],
            "reason": newest["reason"],
        }
    if found["fault"]:
        words["fault"] = found["fault"]["code"]
    if found["waits"]:
        words["waits"] = found["waits"]
    return words


def generation(found: Generation | None) -> dict[str, Any]:
    """One generation; empty for the local site file."""
    if found is None:
        return {}
    return {
        "number": found.number,
        "serial": found.serial,
        "origin": found.origin,
        "rollout": found.rollout,
        "sha256": found.sha256,
    }


def entry(found: Entry) -> dict[str, Any]:
    """One line of history; `at` in UTC seconds as the clock said."""
    return {
        **generation(found.generation),
        "outcome": found.outcome,
        "code": found.code,
        "reason": found.reason,
        "at": found.at // 10**9,
    }


def _fault(fault: LamppostError | None) -> dict[str, str]:
    if fault is None:
        return {}
    code, reason = said(fault)
    return {"code": code, "reason": reason, "hint": fault.hint}
