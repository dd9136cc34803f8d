"""What can be wrong in the field: id, evidence, ranked causes, what tells them apart, one next action.

One data file an area; the one source for CLI, `explain`, docs page, alerts and the hub's console. Opens no device.
"""

from __future__ import annotations

from lamppost.findings.catalogue import AREAS, Cause, Entry, Finding, UnknownFinding, entry, found

__all__ = ["AREAS", "Cause", "Entry", "Finding", "UnknownFinding", "entry", "found"]
