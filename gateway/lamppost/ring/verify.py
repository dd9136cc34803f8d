"""Reading every byte of a ring that is in use, and saying what is wrong with it."""

from __future__ import annotations

from lamppost.ring.format import Hole, Kind
from lamppost.ring.records import Verification
from lamppost.ring.store import Store


def verify(store: Store) -> Verification:
    """Check every block of every segment in use; changes nothing."""
    blocks = readings = size = 0
    damaged: list[str] = []
    segments = [(s, lane) for lane in store.lanes.values() for s in lane.segments]
    for segment, lane in segments:
        for found in segment.scan(patient=True):
            if isinstance(found, Hole):
                place = f"{segment.path.name} at {found.offset}: {found.end - found.offset} bytes"
                damaged.append(place)
                continue
            blocks += 1
            readings += found.readings if found.kind is Kind.RECORDS else 0
        size += segment.end
        if segment is not lane.open_segment:
            segment.rest()
    return Verification(len(segments), blocks, readings, size, tuple(damaged))
