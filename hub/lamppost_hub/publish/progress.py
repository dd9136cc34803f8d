"""How far a roll-out is, and when it must be halted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lamppost_hub.publish.reports import Report
from lamppost_hub.publish.repository import Published
from lamppost_hub.publish.schedule import due

FAILED = ("reverted", "refused")


@dataclass(frozen=True, slots=True)
class Place:
    """One gateway in a roll-out: `confirmed`, `trial`, `failed`, `back` (halted), `due`, `waiting`, and why."""

    gateway: str
    stands: str
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """A roll-out at one moment."""

    rollout: str
    places: tuple[Place, ...]
    halted: bool

    def count(self, stands: str) -> int:
        """How many gateways stand so."""
        return sum(place.stands == stands for place in self.places)

    @property
    def touched(self) -> int:
        """Gateways that have dealt with it in any way."""
        return len(self.places) - self.count("due") - self.count("waiting")

    def too_many_failed(self, percent: float) -> bool:
        """Whether more than `percent` of all gateways of the roll-out, and more than one, failed."""
        return self.count("failed") > max(1.0, len(self.places) * percent / 100)


def progress(
    rollout: str,
    published: Iterable[Published],
    reports: Mapping[str, Report],
    utc: int,
    *,
    halted: bool,
) -> Progress:
    """Where each gateway of a roll-out stands, by its own newest report."""
    mine = [p for p in published if p.rollout == rollout]
    places = tuple(_place(p, reports.get(p.gateway), utc) for p in mine)
    return Progress(rollout, places, halted)


def _place(published: Published, report: Report | None, utc: int) -> Place:
    gateway = published.gateway
    if report is not None:
        if report.tried == published.serial and report.outcome in FAILED:
            return Place(gateway, "failed", report.code, report.reason)
        if report.tried == published.serial and report.outcome in ("withdrawn", "rolled-back"):
            return Place(gateway, "back", report.code, report.reason)
        if report.serial == published.serial:
            return Place(gateway, "trial" if report.state == "trial" else "confirmed")
        if report.fault:
            return Place(gateway, "due", report.fault)
    at = due(published.steps, published.rollout, gateway)
    stands = "due" if at is not None and at <= utc // 10**9 else "waiting"
    return Place(gateway, stands, reason=report.waits if report else "")
