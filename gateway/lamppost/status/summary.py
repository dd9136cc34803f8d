"""A status in one line: OK and why, or the most important thing that is wrong. For CLI and local page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def went_back(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newest configuration, where its trial failed and the one before runs again; empty otherwise."""
    last: Mapping[str, Any] = (found.get("configuration") or {}).get("last") or {}
    return last if last.get("outcome") == "reverted" else {}


def verdict(found: Mapping[str, Any]) -> str:
    """OK and why, or the most important thing that is wrong and what to type."""
    ring, uplink = found["ring"], found["uplink"]
    if ring["state"] not in ("ok", "salvaged"):
        return f"PROBLEM ring.{ring['state']}; type: lamppost doctor storage buffer"
    if uplink["code"] or uplink["state"] != "connected":
        code = uplink["code"] or f"uplink.{uplink['state']}"
        return f"PROBLEM {code}; type: lamppost doctor net uplink trust"
    if found["clock"] == "behind-floor":
        return "PROBLEM clock.behind-floor; type: lamppost clock show"
    silent = [d for d in found["devices"] if d["state"] not in ("ok", "waiting")]
    if silent:
        first = silent[0]
        others = f" (and {len(silent) - 1} more)" if len(silent) > 1 else ""
        code = (first.get("fault") or {}).get("code") or "link.no-answer"
        return f"PROBLEM {code} {first['name']}{others}; type: lamppost doctor bus"
    if went_back(found):
        return "PROBLEM config.reverted; type: lamppost config history"
    said = "the broker has taken" if uplink.get("mode") == "direct" else "the hub has proved"
    alerts = len(found.get("alerts", ()))
    raised = f", {alerts} alert{'s' if alerts > 1 else ''} raised" if alerts else ""
    return (
        f"OK {len(found['devices'])} devices answer, {said} all but {ring['waiting']} readings"
        + raised
    )
