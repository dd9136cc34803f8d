"""Deliveries for the sinks' tests, made by the gateway's own mapping."""

from __future__ import annotations

from fakes.windows import MINUTE, START, counter, gauge, plan, silent
from lamppost.model import Gap, Span
from lamppost.ngsild.entities import entities_of
from lamppost_hub.delivery import Delivery

POINTS = (
    ("voltage.l1", "V"),
    ("voltage.l2", "V"),
    ("energy.import", "kWh"),
    ("phase_angle", "deg"),
)
READINGS = 60 + 60 + 6 + 60  # of one delivery


def delivery(
    seq: int, *, gateway: str = "gw-1", epoch: str = "e1", gaps: tuple[Gap, ...] = ()
) -> Delivery:
    """One minute of one meter: windows with values, one without."""
    start = START + seq * MINUTE
    windows = [
        gauge("voltage.l1", 230.0 + seq, start=start),
        silent("voltage.l2", start=start),
        counter("energy.import", 100.0 + seq, 1.0, start=start),
        gauge("phase_angle", 5.0, start=start),
    ]
    site = plan(*POINTS)
    entities = [
        {**entity, "id": entity["id"].replace("gw-1", gateway)}
        for entity in entities_of(windows, site, gaps, epoch=epoch)
    ]
    first = seq * READINGS
    return Delivery(gateway, epoch, seq, first, first + READINGS - 1, START, entities)


def gap(first: int, last: int) -> Gap:
    return Gap(Span(first, last), "evicted")
